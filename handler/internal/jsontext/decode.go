package jsontext

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"unicode/utf8"
)

// maxEncodings is how many encodings around each other are removed.
const maxEncodings = 3

// Decoded returns the text with an object in it that b encodes: in base64 with either
// alphabet, compressed by gzip or zlib in base64, or in the encodings of URLs or HTML.
// how names what was removed, "" if b is not encoded. Of what is compressed it returns at
// most limit bytes, and an error if there is more; text is then what there is, as it is
// where the bytes are damaged.
func Decoded(b []byte, limit int) (text []byte, how string, err error) {
	for range maxEncodings {
		plain, name, err := decoded(b, limit)
		if name == "" {
			break
		}
		if how != "" {
			name = how + ", " + name
		}
		text, how, b = plain, name, plain
		if err != nil {
			return text, how, err
		}
	}
	if how != "" && bytes.IndexByte(text, '{') < 0 {
		return nil, "", nil
	}
	return text, how, nil
}

// decoded removes one encoding.
func decoded(b []byte, limit int) (text []byte, how string, err error) {
	switch contains := func(s string) bool { return bytes.Contains(b, []byte(s)) }; {
	case len(b) == 0 || bytes.IndexByte(b, '"') >= 0:
	case contains("%22"), contains("%2522"):
		unescape := url.PathUnescape
		if !contains("%20") {
			unescape = url.QueryUnescape // with + for a space
		}
		if text, err := unescape(string(b)); err == nil {
			return []byte(text), "URL-encoded", nil
		}
	case contains("&quot;"), contains("&#34;"), contains("&#x22;"), contains("&amp;"):
		return []byte(html.UnescapeString(string(b))), "HTML-encoded", nil
	default:
		return fromBase64(b, limit)
	}
	return nil, "", nil
}

// fromBase64 decodes text or what is compressed. A last character without others to its
// group, where b was cut, is left out.
func fromBase64(b []byte, limit int) (text []byte, how string, err error) {
	const least = 16
	if b = bytes.TrimRight(bytes.TrimSpace(b), "="); len(b) < least || !isBase64(b[:least]) {
		return nil, "", nil
	}
	coding := base64.RawStdEncoding
	if bytes.ContainsAny(b, "-_") {
		coding = base64.RawURLEncoding
	}
	if !bytes.ContainsAny(b, "\r\n") && len(b)%4 == 1 {
		b = b[:len(b)-1]
	}
	plain := make([]byte, coding.DecodedLen(len(b)))
	n, err := coding.Decode(plain, b)
	if err != nil {
		return nil, "", nil
	}
	switch plain = plain[:n]; {
	case bytes.HasPrefix(plain, []byte("\x1f\x8b\b")):
		r, err := gzip.NewReader(bytes.NewReader(plain))
		return unpacked(r, err, limit, "gzip in base64")
	case bytes.HasPrefix(plain, []byte("\x28\xb5\x2f\xfd")):
		return nil, "zstd in base64", errors.New("it cannot be unpacked")
	case plain[0] == 'x':
		r, err := zlib.NewReader(bytes.NewReader(plain))
		if text, how, err := unpacked(r, err, limit, "zlib in base64"); err == nil || len(text) > 0 {
			return text, how, err
		}
	case utf8.Valid(plain):
		return plain, "base64", nil
	}
	return nil, "", nil
}

func isBase64(b []byte) bool {
	for _, c := range b {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && bytes.IndexByte([]byte("+/-_=\r\n"), c) < 0 {
			return false
		}
	}
	return true
}

// unpacked reads at most limit bytes of r, which was opened with an error.
func unpacked(r io.Reader, err error, limit int, how string) ([]byte, string, error) {
	if err != nil {
		return nil, how, err
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if len(text) > limit {
		return text[:limit], how, fmt.Errorf("it unpacks to more than %d bytes", limit)
	}
	return text, how, err
}
