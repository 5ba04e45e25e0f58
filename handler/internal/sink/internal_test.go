package sink

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

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
	r := newRedactor(forms(t))
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
