package outbound

import (
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
)

// An Endpoint is the address of a service or of a webhook. Since a webhook's
// address is its credential, an Endpoint prints as scheme and host in every
// format; only [Endpoint.URL] returns the rest. The zero value is no endpoint.
type Endpoint struct{ url url.URL }

// ParseEndpoint reads an address: https anywhere, plain http on a loopback
// address only (local run and tests). An error names the mistake and never the
// address.
func ParseEndpoint(raw string) (Endpoint, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return Endpoint{}, errors.New("the address is not a URL") // the parser's error repeats the address
	}
	e := Endpoint{url: *u}
	e.url.Fragment, e.url.RawFragment = "", ""
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return Endpoint{}, errors.New("the address does not begin with https://")
	case u.Hostname() == "":
		return Endpoint{}, errors.New("the address names no host")
	case u.User != nil:
		return Endpoint{}, errors.New("the address carries a user name or password, which is not supported")
	case u.Scheme == "http" && !e.Loopback():
		return Endpoint{}, errors.New("plain http is allowed on a loopback address only; use https")
	}
	return e, nil
}

// ParseService reads the address of a service: scheme and host, without a path.
func ParseService(raw string) (Endpoint, error) {
	e, err := ParseEndpoint(raw)
	if err == nil && (strings.Trim(e.url.Path, "/") != "" || e.url.RawQuery != "") {
		return Endpoint{}, errors.New("the address has a path or a query; give scheme and host only")
	}
	return e, err
}

// Loopback reports whether the endpoint is on this machine, by address or as
// "localhost".
func (e Endpoint) Loopback() bool {
	ip, err := netip.ParseAddr(e.Host())
	return e.Host() == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Within reports whether the host is one of hosts or below one: "example.com"
// includes x.example.com, not badexample.com.
func (e Endpoint) Within(hosts ...string) bool {
	if _, err := netip.ParseAddr(e.Host()); err == nil {
		return false
	}
	for _, h := range hosts {
		h = strings.ToLower(strings.Trim(h, ". "))
		if h != "" && (e.Host() == h || strings.HasSuffix(e.Host(), "."+h)) {
			return true
		}
	}
	return false
}

// Host returns the host without port in lower case.
func (e Endpoint) Host() string {
	return strings.ToLower(strings.TrimSuffix(e.url.Hostname(), "."))
}

// Query returns the query of the address as written.
func (e Endpoint) Query() string { return e.url.RawQuery }

// URL returns the address of an escaped path below the endpoint; without path
// and query the endpoint's own address, unchanged.
func (e Endpoint) URL(path string, query url.Values) string {
	if path == "" && query == nil {
		return e.url.String()
	}
	text := strings.TrimRight(e.url.Scheme+"://"+e.url.Host+e.url.EscapedPath(), "/") + "/" + strings.TrimLeft(path, "/")
	if len(query) > 0 {
		// Azure reads "+" in a filter as a plus sign.
		text += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	}
	return text
}

// owns reports whether u has the endpoint's scheme, host and port. A missing port
// is the scheme's own.
func (e Endpoint) owns(u *url.URL) bool {
	return u.User == nil && u.Scheme == e.url.Scheme && strings.EqualFold(u.Hostname(), e.url.Hostname()) && port(u) == port(&e.url)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// IsZero reports whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e.url.Host == "" }

// String returns scheme and host.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return e.url.Scheme + "://" + e.url.Host
}

// GoString is String for %#v.
func (e Endpoint) GoString() string { return e.String() }

// MarshalText is String for encoders.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// LogValue is String for log/slog.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }
