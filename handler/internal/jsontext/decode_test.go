package jsontext_test

import (
	"encoding/base64"
	"testing"

	"podwatch/handler/internal/jsontext"
)

func TestDecoded(t *testing.T) {
	t.Parallel()
	const object = `{"verb":"delete","at":"10:00+01 /~"}`
	coded := base64.StdEncoding.EncodeToString([]byte(object))
	for text, want := range map[string][2]string{
		object: {}, "": {}, "plain text": {}, "deadbeefdeadbeefdeadbeef": {}, "a &amp; b, and %22 more": {}, "aHR0cHM6Ly9leGFtcGxlLmNvbQ==": {},
		coded: {object, "base64"}, coded[:len(coded)-3]: {object[:len(object)-3], "base64"},
		base64.RawURLEncoding.EncodeToString([]byte(object)):           {object, "base64"},
		coded[:20] + "\r\n" + coded[20:]:                               {object, "base64"},
		"%7B%22verb%22:%22get+it%22%7D":                                {`{"verb":"get it"}`, "URL-encoded"},
		"%7B%22verb%22%3A%22a+b%22%2C%22c%22%3A%20%22%22%7D":           {`{"verb":"a+b","c": ""}`, "URL-encoded"},
		"{&quot;a&quot;:&#34;&amp;&#x22;}":                             {`{"a":"&"}`, "HTML-encoded"},
		base64.StdEncoding.EncodeToString([]byte("{&quot;a&quot;:1}")): {`{"a":1}`, "base64, HTML-encoded"},
	} {
		got, how, err := jsontext.Decoded([]byte(text), 1<<10)
		if err != nil || string(got) != want[0] || how != want[1] {
			t.Errorf("%s: %q, %q, %v; want %q", text, got, how, err, want)
		}
	}
}
