package jsontext

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
)

func TestMasks(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		var block [64]byte
		var wantQuotes, wantSlashes uint64
		for i := range block {
			block[i] = []byte{'"', '\\', '#', ']', 'a', 0xa2, 0xdc, byte(random.Uint32())}[random.IntN(8)]
			switch block[i] {
			case '"':
				wantQuotes |= 1 << i
			case '\\':
				wantSlashes |= 1 << i
			}
		}
		for name, f := range map[string]func(*[64]byte) (uint64, uint64){"masks": masks, "masksGo": masksGo} {
			if quotes, slashes := f(&block); quotes != wantQuotes || slashes != wantSlashes {
				t.Fatalf("%s(%q) = %x, %x, want %x, %x", name, block, quotes, slashes, wantQuotes, wantSlashes)
			}
		}
	}
}

// TestCheckStrings: of text in which no string ends, it finds what encoding/json does.
func TestCheckStrings(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	malformed := 0
	for i := range 100_000 {
		text := []byte(`"`)
		for len(text) < random.IntN(300) {
			text = append(text, []string{`\\`, `\"`, `\n`, `\/`, `\u00e9`, `\u12`, `\x`, `a`, `bc`, `n`, ` `, "é", "\t", `\\\\\\\\\\\\\\\\`}[random.IntN(14-i%4)]...)
		}
		text = append(text, `x"`...)
		escapes, control := CheckStrings(text)
		if _, fault := CheckString(text, 0); (fault == "") != (escapes && !control) || (fault == "") != json.Valid(text) {
			t.Fatalf("CheckStrings(%q) = %t, %t, CheckString %q", text, escapes, control, fault)
		}
		if !escapes {
			malformed++
		}
	}
	if escapes, _ := CheckStrings([]byte(`{"a":"b\`)); escapes || malformed < 1000 || malformed > 99_000 {
		t.Errorf("an escape that is cut: %t; %d malformed of 100,000", escapes, malformed)
	}
}
