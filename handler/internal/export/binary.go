package export

import "bytes"

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
