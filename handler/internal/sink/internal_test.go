package sink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
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
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

const webhook = "https://default0123.45.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/0f1e2d3c4b5a69788796a5b4c3d2e1f0/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=aB3-x_Y9%2Bq%2Fz%3D"

// forms are the ways in which a URL's secrets come back from servers, proxies
// and libraries.
func forms(t *testing.T) []string {
	t.Helper()
	u, err := url.Parse(webhook)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		webhook, u.RequestURI(), u.RawQuery, u.Query().Get("sig"), "aB3-x_Y9%2Bq%2Fz%3D", "aB3-x_Y9%2bq%2fz%3d",
		url.QueryEscape(webhook), url.QueryEscape("aB3-x_Y9%2Bq%2Fz%3D"),
		strings.ReplaceAll(webhook, "&", `\u0026`), strings.ReplaceAll(webhook, "&", "&amp;"),
		"0f1e2d3c4b5a69788796a5b4c3d2e1f0", u.Path,
	}
}

// TestNoSecretIsTold plants the secrets in every kind of error and greps what
// comes out, down the whole chain and in every way of printing.
func TestNoSecretIsTold(t *testing.T) {
	u, err := url.Parse(webhook)
	if err != nil {
		t.Fatal(err)
	}
	r := newRedactor(URLSecrets(u))
	for _, secret := range forms(t) {
		errs := []error{
			errors.New("dial " + secret + ": refused"),
			&url.Error{Op: "Post", URL: secret, Err: errors.New("connection reset")},
			&url.Error{Op: "Post", URL: secret, Err: &url.Error{Op: "Get", URL: secret, Err: errors.New(secret)}},
			fmt.Errorf("wrapped: %w", &url.Error{Op: "Post", URL: secret, Err: context.DeadlineExceeded}),
			fmt.Errorf("proxy said %s: %w", secret, context.Canceled),
			errors.Join(errors.New("one"), fmt.Errorf("two %w", &url.Error{Op: "Post", URL: secret, Err: errors.New("x")})),
		}
		for _, planted := range errs {
			for e := r.err(planted); e != nil; e = errors.Unwrap(e) {
				for _, format := range []string{"%v", "%+v", "%#v"} {
					grep(t, fmt.Sprintf(format, e))
				}
			}
		}
		grep(t, reason([]byte(`{"error":{"code":"No","message":"`+secret+`"}}`), r))
		grep(t, reason([]byte("<a href='"+secret+"'>"), r))
		// Cut by the limit of bytes read, where half of it is left.
		for cut := range len(secret) {
			grep(t, reason([]byte(strings.Repeat(" ", maxScan-cut)+secret), r))
		}
	}
}

func grep(t *testing.T, text string) {
	t.Helper()
	for _, piece := range []string{"aB3-x_Y9", "0f1e2d3c4b5a", "%2Ftriggers", "workflows/"} {
		if strings.Contains(text, piece) {
			t.Errorf("%q is told: %s", piece, text)
		}
	}
}

// TestUnknownCredentialsAreNotToldEither: what the client was not told of, such
// as the token of a request that a server repeats.
func TestUnknownCredentialsAreNotToldEither(t *testing.T) {
	r := newRedactor(nil)
	for in, want := range map[string]string{
		"Authorization:[Bearer eyJ0eXAiOi.JKV1Q-x_y.abc==]": "Authorization:[Bearer [redacted]]",
		"bearer t0ken!": "bearer [redacted]!",
		"with Bearer aLongTokenThatHasNoDigitEarly (request 1)": "with Bearer [redacted] (request 1)",
		"GET /x?sv=1&sig=a1%2Bb failed":                         "GET /x?sv=1&sig=[redacted] failed",
		"AccountKey=abcd0efgh/ij+k==;x":                         "AccountKey=[redacted];x",
		"Bearer authentication is required":                     "Bearer authentication is required",
		"the signature sig= is missing":                         "the signature sig= is missing",
		"2 bearers of 1000 tokens":                              "2 bearers of 1000 tokens",
	} {
		if got := r.text(in); got != want {
			t.Errorf("text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRedactionKeepsTheContextError(t *testing.T) {
	r := newRedactor([]string{"hunter2"})
	err := r.err(&url.Error{Op: "Post", URL: "x", Err: fmt.Errorf("hunter2: %w", context.DeadlineExceeded)})
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
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
		u, err := ParseEndpoint(raw)
		switch {
		case want == "" && err != nil:
			t.Errorf("ParseEndpoint(%q): %v", raw, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("ParseEndpoint(%q) = %v, %v; want an error with %q", raw, u, err, want)
		case err != nil && strings.Contains(err.Error(), "SECRET"):
			t.Errorf("ParseEndpoint(%q) tells the address: %v", raw, err)
		}
	}
}

func TestHostAllowed(t *testing.T) {
	suffixes := []string{"logic.azure.com", ".Example.COM", "", "127.0.0.1"}
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
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := HostAllowed(u, suffixes); got != want {
			t.Errorf("HostAllowed(%s) = %t, want %t", raw, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\n\tb":           "a b",
		"\x1b[31mred\u0085x": "[31mred x",
		"long enough to cut": "long enoug...",
		"äöüäöü":             "äöüäö...",
		"bad \xff utf":       "bad ? utf",
	} {
		got := oneLine(in, 10)
		if got != want && !(len(in) <= 10 && got == want) {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
		if !utf8.ValidString(got) {
			t.Errorf("oneLine(%q) is not UTF-8", in)
		}
	}
}
