package jsontext

import (
	"bytes"
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

// TestSkipStringInBlocks: long strings with runs of backslashes end where a reading
// character by character ends them.
func TestSkipStringInBlocks(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	early := 0
	for range 50_000 {
		depth := random.IntN(4)
		unit := 1 << depth
		text := bytes.Repeat([]byte{'\\'}, unit-1)
		for text = append(text, '"'); len(text) < 100+random.IntN(200); {
			run := 2*unit - 1
			if random.IntN(30) == 0 {
				run = random.IntN(6 * unit)
			}
			text = append(append(append(text, "value"[:random.IntN(6)]...), bytes.Repeat([]byte{'\\'}, run)...), '"')
		}
		want, wantOK, run := len(text), false, 0
		for i := unit; i < len(text); i++ {
			if text[i] == '\\' {
				run++
				continue
			}
			if text[i] == '"' && ((run+1)%unit != 0 || run/unit%2 == 0) {
				if want, wantOK = i-run, false; (run+1)%unit == 0 {
					want, wantOK = i+1, true
				}
				break
			}
			run = 0
		}
		if end, ok := (Text{text, depth}).skipString(0); end != want || ok != wantOK {
			t.Fatalf("depth %d, %s: %d, %t, want %d, %t", depth, text, end, ok, want, wantOK)
		}
		if want < len(text) {
			early++
		}
	}
	if early < 10_000 || early > 45_000 {
		t.Errorf("%d of 50,000 strings end early", early)
	}
}
