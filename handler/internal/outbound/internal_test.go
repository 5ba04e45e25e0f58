package outbound

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		header map[string]string
		want   time.Duration
	}{
		"absent":                                 {nil, 0},
		"seconds":                                {map[string]string{"Retry-After": "120"}, 2 * time.Minute},
		"seconds with blanks":                    {map[string]string{"Retry-After": " 5 "}, 5 * time.Second},
		"a date":                                 {map[string]string{"Retry-After": date(time.Minute)}, time.Minute},
		"a date in the past":                     {map[string]string{"Retry-After": date(-time.Minute)}, 0},
		"a date by a server whose clock is late": {map[string]string{"Retry-After": date(-50 * time.Second), "Date": date(-time.Minute)}, 10 * time.Second},
		"milliseconds go first":                  {map[string]string{"Retry-After": "120", "retry-after-ms": "1500"}, 1500 * time.Millisecond},
		"Azure's milliseconds":                   {map[string]string{"x-ms-retry-after-ms": "250"}, 250 * time.Millisecond},
		"zero":                                   {map[string]string{"Retry-After": "0"}, 0},
		"negative":                               {map[string]string{"Retry-After": "-1"}, 0},
		"words":                                  {map[string]string{"Retry-After": "later"}, 0},
		"not a number":                           {map[string]string{"Retry-After": "NaN"}, 0},
		"beyond belief":                          {map[string]string{"Retry-After": "1e300"}, longestRetryAfter},
		"a date beyond belief":                   {map[string]string{"Retry-After": date(1000 * time.Hour)}, longestRetryAfter},
	} {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		if got := RetryAfter(h, now); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	for raw, want := range map[string]string{
		"https://example.com/x?sig=a%2Bb":   "",
		" https://example.com\n":            "",
		"http://127.0.0.1:8080/x":           "",
		"http://localhost/x":                "",
		"http://[::1]:80/x":                 "",
		"http://127.8.9.1":                  "",
		"http://[::ffff:127.0.0.1]/":        "",
		"http://example.com/?sig=SECRET":    "plain http",
		"http://127.0.0.1.example.com/":     "plain http",
		"http://localhost.example.com/":     "plain http",
		"http://0.0.0.0/":                   "plain http",
		"http://10.0.0.1/":                  "plain http",
		"ftp://example.com/SECRET":          "https://",
		"example.com/SECRET":                "https://",
		"":                                  "https://",
		"https:///SECRET":                   "no host",
		"https://user:SECRET@example.com/x": "user name",
		"https://exa mple.com/SECRET":       "not a URL",
		"https://example.com/%zzSECRET":     "not a URL",
	} {
		e, err := ParseEndpoint(raw)
		switch {
		case want == "" && (err != nil || e.URL("", nil) != strings.TrimSpace(raw)):
			t.Errorf("ParseEndpoint(%q) = %s, %v", raw, e.URL("", nil), err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("ParseEndpoint(%q) = %v, %v; want an error with %q", raw, e, err, want)
		case err != nil && strings.Contains(err.Error(), "SECRET"):
			t.Errorf("ParseEndpoint(%q) tells the address: %v", raw, err)
		}
	}
	for raw, ok := range map[string]bool{"https://x.com": true, "https://x.com/": true, "https://x.com/v1.0": false, "https://x.com?a=b": false, "x": false} {
		if _, err := ParseService(raw); (err == nil) != ok {
			t.Errorf("ParseService(%q): %v", raw, err)
		}
	}
}

func TestEndpointPrintsNoSecret(t *testing.T) {
	e, err := ParseEndpoint("https://host.example.com/SECRET?sig=SECRET")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(e)
	holder := struct{ E Endpoint }{e}
	for _, shown := range []string{string(text), fmt.Sprint(e, holder), fmt.Sprintf("%+v %#v %q", holder, holder, holder), e.LogValue().String()} {
		if strings.Contains(shown, "SECRET") || !strings.Contains(shown, "host.example.com") {
			t.Errorf("an endpoint prints as %s", shown)
		}
	}
	if !(Endpoint{}).IsZero() || e.IsZero() || (Endpoint{}).String() != "" {
		t.Error("the zero value is not the only one that is no endpoint")
	}
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		endpoint, path string
		query          url.Values
		want           string
	}{
		{"https://x.com/", "a/b%2Fc", nil, "https://x.com/a/b%2Fc"},
		{"https://x.com", "/a", url.Values{"$filter": {"a ge '1+2'"}}, "https://x.com/a?%24filter=a%20ge%20%271%2B2%27"},
		{"https://x.com/p%2F?b=2&a=%2b", "", nil, "https://x.com/p%2F?b=2&a=%2b"},
	} {
		e, err := ParseEndpoint(c.endpoint)
		if got := e.URL(c.path, c.query); err != nil || got != c.want {
			t.Errorf("URL(%q) of %s = %s (%v), want %s", c.path, c.endpoint, got, err, c.want)
		}
	}
}

func TestWithin(t *testing.T) {
	hosts := []string{"logic.azure.com", ".Example.COM", "", "127.0.0.1"}
	for raw, want := range map[string]bool{
		"https://prod-1.westeurope.logic.azure.com:443/x": true,
		"https://logic.azure.com/":                        true,
		"https://LOGIC.azure.com./":                       true,
		"https://x.example.com/":                          true,
		"https://badlogic.azure.com/":                     false,
		"https://logic.azure.com.evil.example/":           false,
		"https://127.0.0.1/":                              false,
		"https://evil.example/logic.azure.com":            false,
	} {
		e, err := ParseEndpoint(raw)
		if got := e.Within(hosts...); err != nil || got != want {
			t.Errorf("%s is within: %t (%v), want %t", raw, got, err, want)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	tr := newTransport()
	tr.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if _, err := (&http.Client{Transport: tr}).Get(s.URL); err == nil {
		t.Error("a server with TLS 1.1 was talked to")
	}
}
