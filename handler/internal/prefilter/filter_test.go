package prefilter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestContains(t *testing.T) {
	deletion := New([]Literal{{Text: "delete", Whole: true}, {Text: "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"}})
	for _, test := range []struct {
		name, text string
		want       bool
	}{
		{"nothing", ``, false},
		{"other text", `{"verb":"get","name":"pods"}`, false},
		{"a whole string", `{"verb":"delete"}`, true},
		{"in another case", `{"verb":"DeLeTe"}`, true},
		{"quoted once more", `"{\"verb\":\"delete\"}"`, true},
		{"quoted often", `\\\\\\\"verb\\\\\\\":\\\\\\\"delete\\\\\\\"`, true},
		{"quotes as escapes", `\u0022verb\u0022:\u0022delete\u0022`, true},
		{"quotes as escapes, quoted once more", `\\u0022delete\\u0022`, true},
		{"a part of a word", `{"verb":"deletecollection"}`, false},
		{"the end of a word", `{"name":"undelete"}`, false},
		{"a part of a path", `{"requestURI":"/pods/delete/log"}`, false},
		{"a name with a hyphen", `{"namespace":"delete-tests"}`, false},
		{"a name after a hyphen", `{"namespace":"do-delete"}`, false},
		{"single quotes, which are mended", `{'verb':'delete'}`, true},
		{"no quotes, which is mended", `{verb: delete}`, true},
		{"no quotes, right after the colon", `{verb:delete}`, true},
		{"no quotes, the last on a line", `{verb:delete\n}`, true},
		{"the end of an account's name", `{"groups":["system:delete"]}`, false},
		{"the end of an account's name, quoted", `{\"groups\":[\"system:delete\"]}`, false},
		{"the middle of an account's name", `{"groups":["system:delete:shop"]}`, false},
		{"no quotes, on a line of its own", `{verb:\ndelete\n}`, true},
		{"cut behind it", `{"verb":"delete`, true},
		{"cut within it", `{"verb":"delet`, false},
		{"an operation", `"operationName":"Microsoft.Kubernetes/connectedClusters/pods/delete"`, true},
		{"slashes with backslashes", `Microsoft.Kubernetes\/connectedClusters\\/pods\\\/delete`, true},
		{"slashes as escapes", `Microsoft.Kubernetes\u002fconnectedClusters\\u002Fpods/delete`, true},
		{"another operation", `"operationName":"Microsoft.Kubernetes/connectedClusters/pods/write"`, false},
		{"a longer operation", `"operationName":"Microsoft.Kubernetes/connectedClusters/pods/delete/action"`, true},
		{"another separator", `Microsoft.Kubernetes.connectedClusters.pods.delete`, false},
		{"a word of a URL", `%7B%22verb%22%3A%22delete%22%7D`, true},
		{"a word of a URL in a URL", `%257B%2522verb%2522%253A%2522delete%2522`, true},
		{"a word of HTML", `{&quot;verb&quot;:&quot;delete&quot;}`, true},
		{"a word of HTML as Go escapes it", `{\u0026#34;verb\u0026#34;:\u0026#34;delete\u0026#34;}`, true},
		{"a part of a word of a URL", `%22undelete%22 %22delete-me%22 %2Fdelete%2F`, false},
		{"a word of logfmt", `verb=delete user=dana`, true},
		{"a word of MessagePack as text", "\uFFFDverb\uFFFDdelete\uFFFDobjectRef", true},
		{"slashes of a URL", `Microsoft.Kubernetes%2fconnectedClusters%252Fpods%2Fdelete`, true},
		{"slashes of HTML", `Microsoft.Kubernetes&#47;connectedClusters&#x2F;pods&#x2f;delete`, true},
		{"gzip as text", "\"\\u001f\uFFFD\\b\"", true},
		{"zlib as text", "\"x\uFFFD\uFFFDA", true},
		{"zstd as text", "\"(\uFFFD/\uFFFD\u0004", true},
		{"what was no UTF-8", "na\uFFFDve, x\uFFFD (\uFFFD)", false},
		{"a hidden letter", `{"verb":"\u0064elete"}`, true},
		{"a hidden letter, far from anything", `{"verb":"get","x":"\u0064"}`, true},
		{"a hidden letter at a depth", `\\\\\\\u004c`, true},
		{"a hidden backslash", `\u005cu0064`, true},
		{"what Go escapes", `"a\u003cb\u003e\u0026\u2028\u2019 \\u0026"`, false},
		{"no escape", `u0064 ru0064`, false},
		{"half an escape", `\u006`, false},
		{"the Kelvin sign", "micro\u212A", true},
		{"the long s", "\u017F", true},
		{"as escapes", `\u212A`, true},
		{"as escapes", `\u017f`, true},
		{"other characters", "zürich – 東京 \U0001F600", false},
		{"UTF-16", "{\x00\"\x00d\x00", true},
		{"UTF-16 in text", `{\u0000\"\u0000`, true},
		{"more backslashes than anybody reads", `MICROSOFT.KUBERNETES` + strings.Repeat(`\`, 5000) + `/CONNECTEDCLUSTERS/PODS/DELETE`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, before := range []int{0, 1, 2, 3, 5, 31, 64, 97} {
				for _, after := range []int{0, 1, 29, 64} {
					text := strings.Repeat(" ", before) + test.text + strings.Repeat(" ", after)
					if test.text == `\u006` && after > 0 {
						continue
					}
					if got := deletion.Contains([]byte(text)); got != test.want {
						t.Fatalf("%q: got %t, want %t", text, got, test.want)
					}
				}
			}
		})
	}
}

// A literal that begins with a quote is what a string begins with, at every depth and
// beside any number of other literals.
func TestLiteralsThatBeginWithAQuote(t *testing.T) {
	t.Parallel()
	start := Literal{Text: `"eyJ`}
	for name, others := range sets() {
		filter := New(append(slices.Clone(others), start))
		for text, want := range map[string]bool{
			`{"data":"eyJyZWNvcmRz"}`: true, `\\\"data\\\":\\\"eyJyZWNvcmRz`: true, `{"data":"xeyJyZWNvcmRz"}`: false,
			`{"data":" eyJyZWNvcmRz"}`: false, `{"data":"ey"}`: false, `{"eyJ":1}`: true, `"EYJ`: true,
		} {
			for _, before := range []int{0, 1, 27, 28, 29, 30, 31, 64} {
				if got := filter.Contains([]byte(strings.Repeat(" ", before) + text)); got != want {
					t.Errorf("%s, %d before %s: got %t, want %t", name, before, text, got, want)
				}
			}
		}
	}
}

func TestTheNilFilterAndShortLiteralsHitEverything(t *testing.T) {
	var none *Filter
	if !none.Contains(nil) || !New([]Literal{{Text: "ab"}}).Contains([]byte("x")) || !New([]Literal{{Text: "a/b/c"}}).Contains(nil) {
		t.Error("not a hit")
	}
	if New(nil).Contains([]byte("anything at all")) {
		t.Error("nothing to look for is found")
	}
}

// sets are literals for all the ways of looking for them.
func sets() map[string][]Literal {
	long := func(n int) (lits []Literal) {
		r := rand.New(rand.NewPCG(7, 8))
		for range n {
			name := make([]byte, 12)
			for i := range name {
				name[i] = "AEIOUBCDFGHKLMNPRSTVWXYZ"[r.IntN(24)]
			}
			lits = append(lits, Literal{Text: "MICROSOFT." + string(name[:6]) + "/" + string(name) + "/WRITE"})
		}
		return lits
	}
	words := []Literal{
		{"delete", true, false}, {"deletecollection", true, false}, {"eviction", true, false}, {"get", true, false},
		{"patch", false, false}, {"exec", true, false}, {"kube-hunter", false, false}, {"attach", true, false},
		{"secrets", true, false}, {"abc+b<c>d&e'f", false, false}, {"pods/exec", true, false}, {"x:y z", false, false},
	}
	var short []Literal
	for i := range 30 {
		short = append(short, Literal{Text: fmt.Sprintf("%c%c%cverb", 'f'+i%8, 'k'+i/8, 'j'+i%13), Whole: i%2 == 0})
	}
	return map[string][]Literal{
		"one": long(1), "few": words[:4], "words": words, "seven": long(7), "many": long(65),
		"short": short, "both": append(long(65), words...), "more": append(long(400), words...),
	}
}

// spell writes text as it may stand in a JSON string: any of the spellings of
// each character, hidden only if told so.
func spell(r *rand.Rand, text string, hide bool) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		hex := fmt.Sprintf([]string{`\u%04x`, `\u%04X`}[r.IntN(2)], c)
		switch {
		case c == '"' && r.IntN(3) > 0, c == '\\', c == '/' && r.IntN(3) == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '"', hide && r.IntN(4) == 0, !plain(c) && c >= ' ' && r.IntN(3) == 0, c < ' ':
			b.WriteString(hex)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func swapCase(r *rand.Rand, s string) string {
	b := []byte(s)
	for i, c := range b {
		if c|0x20 >= 'a' && c|0x20 <= 'z' && r.IntN(2) == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

var bare = strings.NewReplacer(`\`, "", "patch", "", "get", "", "secrets", "").Replace(noise)

func filler(r *rand.Rand, n int) string {
	const letters = "abcdefgthplDELTKMICROS0123456789./:-_ {}[],\"\"uéß"
	escapes := []string{`\u0026`, `\u003c`, `\u003e`, `\u003d`, `\u003C`, `\u00e9`, `\u2028`, `\u0`, `\`}
	var b strings.Builder
	for range n {
		if r.IntN(16) == 0 {
			b.WriteString(escapes[r.IntN(len(escapes))])
		} else if r.IntN(4) == 0 {
			at := r.IntN(len(bare) - 40)
			b.WriteString(bare[at : at+r.IntN(40)])
		} else {
			b.WriteByte(letters[r.IntN(len(letters)-4)])
		}
	}
	return b.String()
}

// A literal is found however it is spelled at however many depths, whole or as
// the text arrives.
func TestNoSpellingOfALiteralIsMissed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, lits := range sets() {
		t.Run(name, func(t *testing.T) {
			s := New(lits)
			rounds := 4000
			for range rounds {
				lit := lits[r.IntN(len(lits))]
				text := swapCase(r, lit.Text)
				if lit.Whole {
					text = `"` + text + `"`
				}
				text = filler(r, r.IntN(60)) + text + filler(r, r.IntN(60))
				for range r.IntN(5) {
					text = spell(r, text, r.IntN(10) == 0)
				}
				if !s.Contains([]byte(text)) {
					t.Fatalf("missed %q in %q", lit.Text, text)
				}
				x := s.Search(0)
				for n := 0; n < len(text); {
					n = min(len(text), n+1+r.IntN(100))
					x.More([]byte(text)[:n:n], n == len(text))
				}
				if len(x.Hits()) == 0 {
					t.Fatalf("missed %q in %q, arriving in pieces", lit.Text, text)
				}
			}
		})
	}
}

func TestASearchInPiecesFindsWhatASearchInOneDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, lits := range sets() {
		s := New(lits)
		hits := 0
		for range 3000 {
			text := []byte(filler(r, r.IntN(150)))
			if r.IntN(2) == 0 {
				text = []byte(spell(r, string(text), false))
			}
			whole := s.Search(0)
			whole.More(text, true)
			want := whole.Hits()
			x := s.Search(0)
			for n := 0; n < len(text); {
				n = min(len(text), n+1+r.IntN(60))
				x.More(text[:n:n], false)
			}
			x.More(text, true)
			if got := x.Hits(); !slices.Equal(got, want) || s.Contains(text) != (len(want) > 0) {
				t.Fatalf("%s: %q: got %v in pieces, %v in one", name, text, got, want)
			}
			if len(want) > 0 {
				hits++
			}
		}
		if hits > 2000 {
			t.Errorf("%s: %d hits: too many to mean something", name, hits)
		}
	}
}

func TestHitsAreWhereTheLiteralsAre(t *testing.T) {
	filter := New([]Literal{{Text: "delete", Whole: true}, {Text: "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"}, {Text: "kube-audit", Most: true}})
	const record, other = `{"verb":"delete","x":"deletion"}`, `{"verb":"get"}`
	tests := []struct {
		name string
		text string
		want []string // what surrounds the hits; nil: the whole text
	}{
		{"none", strings.Repeat(other, 50), []string{}},
		{"one behind the other", strings.Repeat(other, 9) + record + strings.Repeat(other, 9) + record, []string{`delete`, `delete`}},
		{"two in one block", `"delete","delete"`, []string{`delete`, `delete`}},
		{"a hidden letter", strings.Repeat(other, 9) + `\u0064elete` + other, []string{`\u0064`}},
		{"the Kelvin sign before a block", strings.Repeat(" ", 31) + "\u212A" + strings.Repeat(" ", 40), []string{"\u212A"}},
		{"the long s before a block", strings.Repeat(" ", 62) + "\u017F" + strings.Repeat(" ", 40), []string{"\u017F"}},
		{"UTF-16 among other text", other + "{\x00" + other, []string{"\x00"}},
		{"a literal that most records have", record + `{"category":"kube-audit"}` + other, nil},
		{"very many", strings.Repeat(record, maxHits+1), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			search := filter.Search(0)
			search.More([]byte(tt.text), true)
			hits := search.Hits()
			if tt.want == nil {
				if !slices.Equal(hits, []Hit{{End: len(tt.text)}}) {
					t.Fatalf("%d hits, want one over the whole text", len(hits))
				}
				return
			}
			if len(hits) != len(tt.want) {
				t.Fatalf("hits %v, want %d", hits, len(tt.want))
			}
			end := 0
			for i, hit := range hits {
				at := end + strings.Index(tt.text[end:], tt.want[i])
				end = at + len(tt.want[i])
				if hit.Pos < at || hit.End > end || hit.End <= hit.Pos {
					t.Errorf("hit %v, want it in %d to %d", hit, at, end)
				}
			}
		})
	}
}

// The vector instructions find what plain Go finds.
func TestSiftIsWhatItIsInGo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, lits := range sets() {
		s := New(lits)
		for range 3000 {
			n := r.IntN(12)
			text := make([]byte, n*blockSize+lookahead)
			copy(text, filler(r, len(text)))
			if r.IntN(4) == 0 {
				text[r.IntN(len(text))] = byte(r.Uint32())
			}
			block, mask, found := s.sieve.sift(text, n)
			wantBlock, wantMask, wantFound := s.sieve.siftGo(text, n)
			if block != wantBlock || mask != wantMask || found != wantFound {
				t.Fatalf("%s: %q: got %d %b %d, want %d %b %d", name, text, block, mask, found, wantBlock, wantMask, wantFound)
			}
		}
	}
}

func TestManyLongLiteralsAreSearchedByWords(t *testing.T) {
	for name, want := range map[string]bool{"one": false, "few": false, "seven": false, "short": true, "many": true, "both": true, "more": true} {
		if got := New(sets()[name]).sieve.words; got != want {
			t.Errorf("%s: searched by words %t, want %t", name, got, want)
		}
	}
}

func TestCommonTextIsSeldomACandidate(t *testing.T) {
	text := bytes.Repeat([]byte(noise), 3)
	for name, lits := range sets() {
		if name == "words" || name == "both" || name == "few" || name == "more" {
			continue // they look for "patch" and "get", which stand there
		}
		s := New(lits)
		candidates := 0
		for at := 0; at+blockSize+lookahead <= len(text); at += blockSize {
			if block, _, _ := s.sieve.sift(text[at:], 1); block == 0 {
				candidates++
			}
		}
		if limit := len(text) / blockSize / 8; candidates > limit {
			t.Errorf("%s: %d of %d blocks are looked at closely, more than %d", name, candidates, len(text)/blockSize, limit)
		}
	}
}

// lowerASCII leaves what is not ASCII, of which some folds to a letter.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b)
}

// FuzzContains looks for a contradiction: text that holds a literal after some
// unquotings must be a hit before them.
func FuzzContains(f *testing.F) {
	f.Add([]byte(`{"verb":"delete"}`), uint64(1))
	f.Add([]byte(`"Microsoft.Kind0X\/ThingsA/write"`), uint64(2))
	for name := range sets() {
		f.Add([]byte(name+noise[:100]), uint64(len(name)))
	}
	all, filters := sets(), map[string]*Filter{}
	for name, lits := range all {
		filters[name] = New(lits)
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		for name, lits := range all {
			s := filters[name]
			holds := false
			for _, lit := range lits {
				want := strings.ToLower(lit.Text)
				if lit.Whole {
					want = `"` + want + `"`
				}
				holds = holds || strings.Contains(lowerASCII(string(text)), want)
			}
			spelled := string(text)
			for range r.IntN(4) {
				spelled = spell(r, spelled, r.IntN(4) == 0)
			}
			if hit := s.Contains([]byte(spelled)); holds && !hit {
				t.Errorf("%s: %q is missed as %q", name, text, spelled)
			}
		}
	})
}
