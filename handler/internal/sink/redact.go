package sink

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// maxReason is the most bytes of a text from elsewhere that get into an error.
const maxReason = 300

// A redactor takes secrets out of texts and errors.
type redactor struct {
	replacer *strings.Replacer
	longest  int // bytes of the longest form
}

// newRedactor knows each secret as given, decoded, and encoded as URLs and JSON
// write it.
func newRedactor(secrets []string) *redactor {
	var forms []string
	for _, s := range secrets {
		if s == "" {
			continue
		}
		forms = append(forms, s, lowerHex(s), url.QueryEscape(s), url.PathEscape(s), lowerHex(url.QueryEscape(s)),
			strings.ReplaceAll(s, "&", `\u0026`), strings.ReplaceAll(s, "&", "&amp;"), strings.ReplaceAll(s, "/", `\/`))
		if plain, err := url.QueryUnescape(s); err == nil {
			forms = append(forms, plain)
		}
		if plain, err := url.PathUnescape(s); err == nil {
			forms = append(forms, plain)
		}
	}
	// Longest first: of two forms that begin at the same place the first wins.
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	forms = slices.Compact(forms)
	r := &redactor{}
	var pairs []string
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
		r.longest = max(r.longest, len(form))
	}
	r.replacer = strings.NewReplacer(pairs...)
	return r
}

// lowerHex writes percent encoding with small letters, as some servers echo it.
func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// text takes out the known secrets, and what looks like a token or a signature
// wherever it comes from.
func (r *redactor) text(s string) string {
	return credential.ReplaceAllString(r.replacer.Replace(s), "${1}"+redacted)
}

// credential finds what follows a word that announces a secret. A token is long,
// or has a digit within its first dozen characters; "bearer authentication" is
// neither.
var credential = regexp.MustCompile(`(?i)(\bbearer[ :\[]+|[?&]sig=|\bsharedaccesssignature[ =]+|\baccountkey=)(?:[\w.~+/%-]{0,12}?[0-9][\w.~+/%=-]+|[\w.~+/%=-]{20,})`)

// err returns an error that says the same without URL and secrets. net/http
// wraps every failure in a *url.Error, which prints the whole URL; that wrapper
// is taken off. Where a secret stands deeper, only the text is kept.
func (r *redactor) err(err error) error {
	for {
		var u *url.Error
		if !errors.As(err, &u) || u.Err == nil {
			break
		}
		err = u.Err
	}
	plain := err.Error()
	text := oneLine(r.text(plain), 2*maxReason)
	if text == plain {
		return err
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return &redactedError{text, known}
		}
	}
	return errors.New(text)
}

// A redactedError has lost its chain but for a context error, which callers
// tell apart.
type redactedError struct {
	text  string
	known error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.known }
