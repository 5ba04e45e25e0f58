package prefilter

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// LongStrings finds the long strings of a text alone, for the benchmark.
func LongStrings(text []byte, depth int) int {
	s := stretches{quote: 1<<depth - 1}
	return len(s.more(text))
}

// quoted returns text as it is inside of depth JSON strings.
func quoted(text string, depth int) string {
	for range depth {
		b, _ := json.Marshal(text)
		text = string(b[1 : len(b)-1])
	}
	return text
}

// TestALongStringIsAHit, whatever it contains, and no text of short strings is.
func TestALongStringIsAHit(t *testing.T) {
	record := func(log string) string {
		text, _ := json.Marshal(log)
		return `{"time":"t","category":"kube-audit","properties":{"log":` + string(text) + `,"stream":"stdout","pod":"p"},"resourceId":"r"},`
	}
	const short = `{"verb":"get","user":"x","list":["a","b","c"]}`
	many := strings.Repeat(record(short), 400)
	for name, tt := range map[string]struct {
		log  string
		hits int
	}{
		"short strings":                   {short, 0},
		"a long text":                     {strings.Repeat("A", 16_400), 1},
		"a long list of short texts":      {`["` + strings.Repeat(`203.0.113.9","`, 1300), 1},
		"marks that are quoted":           {strings.Repeat(`","`, 6000), 1},
		"marks with backslashes":          {strings.Repeat(`\",\"`, 4000) + strings.Repeat(`\\\",\\\"`, 4000), -1},
		"backslashes":                     {strings.Repeat(`\`, 17_000), -1},
		"commas and quotes without marks": {strings.Repeat(`,",,""`, 4000), -1},
	} {
		t.Run(name, func(t *testing.T) {
			for depth := range 3 {
				for _, before := range []string{"", many, many + `{"a":"b"},`} {
					text := []byte(quoted(before+record(tt.log)+many, depth))
					start := len(quoted(before, depth))
					end := start + len(quoted(record(tt.log), depth))
					search := New(nil).Search(depth)
					for n := 0; n < len(text); n += 5000 {
						search.More(text[:n:n], false)
					}
					search.More(text, true)
					hits := search.Hits()
					if tt.hits >= 0 && len(hits) != tt.hits && depth == 0 || (len(hits) == 0) != (tt.hits == 0) {
						t.Fatalf("depth %d: %d hits", depth, len(hits))
					}
					for _, hit := range hits {
						if hit.Pos < start || hit.End > end {
							t.Fatalf("depth %d: a hit at %d, which is not within %d to %d", depth, hit.Pos, start, end)
						}
					}
					whole := New(nil).Search(depth)
					whole.More(text, true)
					if !slices.Equal(whole.Hits(), hits) {
						t.Fatalf("depth %d: %v in one, %v in pieces", depth, whole.Hits(), hits)
					}
				}
			}
		})
	}
}
