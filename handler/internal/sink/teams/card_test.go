package teams

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCards(t *testing.T) {
	t.Parallel()
	for name, g := range cases() {
		t.Run(name, func(t *testing.T) {
			text := testCards().message(g)
			if err := validate(text); err != nil {
				t.Error(err)
			}
			got := render(t, text)
			golden := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, string(want)); diff != "" {
				t.Errorf("the card is not that of %s; if it should be, run with -update (-got +want):\n%s", golden, diff)
			}
		})
	}
}

// TestEveryCardFits: whatever the alerts contain, the card is valid and within
// its size as Teams counts it, and names what it left out.
func TestEveryCardFits(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var mixed strings.Builder
	for range 400 {
		mixed.WriteString([]string{`"`, `\`, "𝕏"}[random.IntN(3)])
	}
	values := map[string]string{ // of 1 KiB, as long as values of alerts are
		"latin": strings.Repeat("long value ", 100), "quotes": strings.Repeat(`"`, 1024), "backslashes": strings.Repeat(`\`, 1024),
		"four bytes": strings.Repeat("𝕏", 256), "mixed": mixed.String(), "braces": strings.Repeat("{", 1024),
		"hostile": strings.Repeat(hostile, 4), "marks": strings.Repeat("e\u0301\u0302\u0303", 150), "empty": "", "blank": " \u200b ",
	}
	groups, sizes := map[string]alert.Group{}, map[string]int{}
	for name, v := range values {
		alerts, ns := huge(300, v), []int{1, 2, 3, 5, 8, 9, 13, 24, 25, 26, 40, 300}
		if name == "mixed" {
			for n := range 40 {
				ns = append(ns, n+1)
			}
		}
		for _, n := range ns {
			of := fmt.Sprintf("%d alerts of %s", n, name)
			groups[of], sizes[of] = all(alerts[:n]...), n
		}
	}
	for name, text := range posted(t, groups) {
		if err := validate(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if quoted := quote(string(text)); messageSize(text) != len(quoted)+1024 {
			t.Errorf("%s: counted as %d bytes, quoted it has %d", name, messageSize(text), len(quoted))
		}
		if sizes[name] > 25 && !bytes.Contains(text, []byte("By namespace")) {
			t.Errorf("%s: the list is cut without a count", name)
		}
		if !bytes.Contains(text, []byte(`"advice"`)) && !bytes.Contains(text, []byte("Shortened to fit")) {
			t.Errorf("%s: something is left out without a word", name)
		}
	}
}

// quote is a JSON string in UTF-8.
func quote(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// TestUntrustedTextIsInert looks for the traces of a hostile value in every text
// of a card: it may be in runs only, in one line, with nothing invisible.
func TestUntrustedTextIsInert(t *testing.T) {
	t.Parallel()
	text := testCards().message(all(every(hostile), every(hostile+"2")))
	runs := 0
	walk(t, text, func(kind, name, s string) {
		for _, r := range s {
			if r != gap && r != '\r' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == '\u3164') {
				t.Errorf("%U is in %s: %q", r, name, s)
			}
		}
		trace := strings.Contains(s, "evil") || strings.Contains(s, "gnp")
		if trace && kind == "TextRun" {
			runs++
		}
		if trace && kind != "TextRun" && name != "summary" && name != "fallbackText" {
			t.Errorf("a value is in %s of a %v: %q", name, kind, s)
		}
		if kind != "TextBlock" && strings.Contains(s, "{{") {
			t.Errorf("braces are in %s: %q", name, s)
		}
	})
	if runs < 20 {
		t.Errorf("the value is in %d runs: is it shown at all?", runs)
	}
	if bytes.Contains(text, []byte("Action.OpenUrl")) {
		t.Error("a hostile link became a button")
	}
}

// walk calls f for each text of a message.
func walk(t testing.TB, text []byte, f func(kind, name, text string)) {
	t.Helper()
	var m any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				visit(e)
			}
		case map[string]any:
			kind, _ := v["type"].(string)
			for name, e := range v {
				if s, ok := e.(string); ok {
					f(kind, name, s)
				}
				visit(e)
			}
		}
	}
	visit(m)
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	for pod, want := range map[string]string{
		"cart-7c9d5b6f48-q8w2z": "cart",
		"scanner-6f9c7d8b54-00": "scanner",
		"redis-0":               "redis",
		"kube-proxy-x7k2p":      "kube-proxy",
		"backup-29381234-k8xz4": "backup",
		"web-cache":             "web-cache",
		"nginx":                 "nginx",
		"-":                     "",
	} {
		if got := workload(&alert.Alert{Pod: pod}); got != want {
			t.Errorf("workload of %q is %q, want %q", pod, got, want)
		}
	}
}

// TestNothingIsKnown: a record that was cut early names neither caller nor operation.
func TestNothingIsKnown(t *testing.T) {
	t.Parallel()
	card := string(testCards().message(all(&alert.Alert{ResourceId: "/subscriptions/1/x/AKS-1"})))
	for _, want := range []string{`"An unknown caller"`, `": an unknown operation"`, `"AKS-1"`} {
		if !strings.Contains(card, want) {
			t.Errorf("the card does not say %s: %s", want, card)
		}
	}
}

func TestLinksLeadToThePortalOnly(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://portal.azure.com/#resource/x":                    true,
		"http://portal.azure.com/":                                false,
		"https://portal.azure.com.evil.com/":                      false,
		"https://evil.com/portal.azure.com":                       false,
		"https://portal.azure.com@evil.com/":                      false,
		"https://u@portal.azure.com/":                             false,
		"https://portal.azure.com:8443/":                          false,
		"https://Portal.azure.com/":                               false,
		"javascript:alert(1)":                                     false,
		"//portal.azure.com/":                                     false,
		"https://portal.azure.com/ x":                             false,
		"https://portal.azure.com/\u202e":                         false,
		"https://portal.azure.com/{{DATE(x)}}":                    false,
		"":                                                        false,
		"https://portal.azure.com/" + strings.Repeat("x", maxURL): false,
	} {
		if got := portalURL(address); got != want {
			t.Errorf("portalURL(%.60q) = %t, want %t", address, got, want)
		}
	}
}

// FuzzCard: any alert and any guide make a card that is valid.
func FuzzCard(f *testing.F) {
	f.Add(hostile, "pod", "delete", testGuide, 2)
	f.Add("", "", "", "", 1)
	f.Add("{{", "{", "deletecollection", "# \n- \n```\n{{\n", 30)
	f.Add("\u200b", "\u2028", "eviction", "[{{](https://{{)", 3)
	f.Fuzz(func(t *testing.T, v, pod, kind, note string, n int) {
		alerts := make([]*alert.Alert, min(max(n, 1), 60))
		for i := range alerts {
			alerts[i] = every(v)
			alerts[i].Pod, alerts[i].DeletionKind = pod, kind
		}
		c := cards{advice: func(string) Advice {
			return Advice{Guide: note, FalsePositives: []string{note}, References: []string{note}, Highlighted: []string{note}}
		}}
		if err := validate(c.message(all(alerts...))); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCard(b *testing.B) {
	for name, g := range map[string]alert.Group{"one": all(user()), "seven": all(seven()...), "huge": all(huge(40, strings.Repeat("long value ", 100))...)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c := testCards()
			for b.Loop() {
				c.message(g)
			}
		})
	}
}
