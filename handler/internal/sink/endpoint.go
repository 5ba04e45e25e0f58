package sink

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// ParseEndpoint reads the address of a sink: https anywhere, plain http on a
// loopback address only (local run and tests). Since an address may be a
// secret, an error names the mistake and never the address.
func ParseEndpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the address does not begin with https://")
	case u.Hostname() == "":
		return nil, errors.New("the address names no host")
	case u.User != nil:
		return nil, errors.New("the address carries a user name or password, which is not supported")
	case u.Scheme == "http" && !Loopback(u):
		return nil, errors.New("plain http is allowed on a loopback address only; use https")
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// Loopback reports whether the URL leads to this machine by address or as
// "localhost".
func Loopback(u *url.URL) bool {
	host := u.Hostname()
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// HostAllowed reports whether the URL's host is one of suffixes or below it:
// "example.com" allows example.com and x.example.com, not badexample.com.
func HostAllowed(u *url.URL, suffixes []string) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if net.ParseIP(host) != nil {
		return false
	}
	for _, suffix := range suffixes {
		suffix = strings.ToLower(strings.Trim(suffix, ". "))
		if suffix != "" && (host == suffix || strings.HasSuffix(host, "."+suffix)) {
			return true
		}
	}
	return false
}
