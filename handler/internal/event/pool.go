package event

import (
	"encoding/json"
	"hash/maphash"
	"strings"
	"unicode/utf8"
)

// A pool has the values that were read last, because records repeat most of
// theirs: accounts, verbs, names of members. A value that is in it is not
// allocated again. The zero value is ready; a nil pool allocates each value.
type pool struct{ texts, numbers [512]any }

const maxPooled = 128 // bytes; longer values hardly repeat

var seed = maphash.MakeSeed()

// text returns b as a string. Bytes that are not UTF-8 become U+FFFD, as
// whenever JSON is decoded.
func (p *pool) text(b []byte) any {
	if p == nil || len(b) > maxPooled {
		return validText(b)
	}
	slot := &p.texts[maphash.Bytes(seed, b)%uint64(len(p.texts))]
	if s, ok := (*slot).(string); !ok || s != string(b) {
		*slot = validText(b)
	}
	return *slot
}

func validText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// number returns the JSON number that is spelt b.
func (p *pool) number(b []byte) any {
	if p == nil || len(b) > maxPooled {
		return json.Number(b)
	}
	slot := &p.numbers[maphash.Bytes(seed, b)%uint64(len(p.numbers))]
	if n, ok := (*slot).(json.Number); !ok || string(n) != string(b) {
		*slot = json.Number(b)
	}
	return *slot
}
