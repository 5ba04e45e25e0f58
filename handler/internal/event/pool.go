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
type pool struct{ texts, numbers values }

// values has two places for each hash, so that values rarely displace each other.
type values [512][2]any

const maxPooled = 128 // bytes; longer values hardly repeat

var seed = maphash.MakeSeed()

// text returns b as a string in memory of its own. Bytes that are not UTF-8 become
// U+FFFD, as whenever JSON is decoded.
func (p *pool) text(b []byte) any {
	if p == nil || len(b) > maxPooled {
		return validText(b)
	}
	places := &p.texts[maphash.Bytes(seed, b)%uint64(len(p.texts))]
	for _, v := range places {
		if s, ok := v.(string); ok && s == string(b) {
			return v
		}
	}
	places[1], places[0] = places[0], validText(b)
	return places[0]
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
	places := &p.numbers[maphash.Bytes(seed, b)%uint64(len(p.numbers))]
	for _, v := range places {
		if n, ok := v.(json.Number); ok && string(n) == string(b) {
			return v
		}
	}
	places[1], places[0] = places[0], json.Number(b)
	return places[0]
}
