package export

import (
	"bytes"

	"golang.org/x/text/encoding/unicode"
)

// binaryForms are the first bytes of what is compressed or has a format of its own.
// A byte that is no UTF-8 becomes U+FFFD where a message passed as text.
var binaryForms = []struct{ start, name string }{
	{"\x1f\x8b", "gzip"}, {"\x1f\ufffd\b", "gzip"},
	{"\x28\xb5\x2f\xfd", "zstd"}, {"(\ufffd/\ufffd", "zstd"},
	{"x\x01", "zlib"}, {"x\x5e", "zlib"}, {"x\x9c", "zlib"}, {"x\xda", "zlib"}, {"x\ufffd", "zlib"},
	{"Obj\x01", "Avro"}, {"PAR1", "Parquet"}, {"PK\x03\x04", "zip"},
}

// binaryForm names the form of a body that cannot be JSON text, "" for none.
func binaryForm(body []byte) string {
	for _, f := range binaryForms {
		if bytes.HasPrefix(body, []byte(f.start)) {
			return f.name
		}
	}
	return ""
}

// fromUTF16 returns a body in UTF-16, which has a byte order mark or a NUL beside its
// first bracket, as UTF-8.
func fromUTF16(b []byte) (text []byte, ok bool) {
	order := unicode.BigEndian
	switch {
	case len(b) < 2:
		return nil, false
	case b[0] == 0xff && b[1] == 0xfe, b[1] == 0 && (b[0] == '{' || b[0] == '['):
		order = unicode.LittleEndian
	case b[0] == 0xfe && b[1] == 0xff, b[0] == 0 && (b[1] == '{' || b[1] == '['):
	default:
		return nil, false
	}
	text, err := unicode.UTF16(order, unicode.UseBOM).NewDecoder().Bytes(b) // what is malformed becomes U+FFFD
	return text, err == nil
}
