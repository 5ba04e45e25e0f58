package export_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWholeRecordsSurviveAMangledNeighbour does to real records what breaks
// them in the field, and worse, and expects those around them untouched.
func TestWholeRecordsSurviveAMangledNeighbour(t *testing.T) {
	bare, err := os.ReadFile(filepath.Join("..", "..", "testdata", "records", "body-bare-record.json"))
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, bare); err != nil {
		t.Fatal(err)
	}
	kube := pieces(kubeAudit(1)).Records[0].JSON
	whole := []string{compact.String(), string(kube), recB, recC}
	const marks = "\"\\{}[],:'\n\x00\xffx0 "
	r := rand.New(rand.NewPCG(5, 6))
	mangle := func(s string) string {
		b := []byte(s)
		for range 1 + r.IntN(3) {
			if len(b) == 0 {
				break
			}
			i := r.IntN(len(b))
			if r.IntN(2) == 0 { // where it hurts
				if k := bytes.IndexAny(b[i:], marks[:8]); k >= 0 {
					i += k
				}
			}
			switch r.IntN(6) {
			case 0:
				b = b[:i]
			case 1:
				b = b[i:]
			case 2:
				b = append(b[:i:i], b[i+1:]...)
			case 3:
				b[i] = marks[r.IntN(len(marks))]
			case 4:
				b = append(b[:i:i], append([]byte{marks[r.IntN(len(marks))]}, b[i:]...)...)
			case 5:
				j := min(len(b), i+r.IntN(40))
				b = append(b[:i:i], b[j:]...)
			}
		}
		return string(b)
	}
	malformed, mended := 0, 0
	for range 20000 {
		before, after := whole[r.IntN(len(whole))], whole[r.IntN(len(whole))]
		bad := mangle(whole[r.IntN(len(whole))])
		var body string
		switch r.IntN(4) {
		case 0:
			body = `{"records":[` + before + "," + bad + "," + after + `]}`
		case 1:
			body = `[` + before + ", " + bad + ", " + after + `]`
		case 2:
			if strings.Contains(bad, "\n") {
				continue
			}
			body = before + "\n" + bad + "\n" + after
		case 3:
			body = `{"records":[` + before + `]}` + "\n" + `{"records":[` + bad + `]}` + "\n" + `{"records":[` + after + `]}`
		}
		if wellFormed([]byte(body)) {
			continue
		}
		malformed++
		got := checkResult(t, []byte(body))
		for _, want := range []string{before, after} {
			found := false
			for _, rec := range got.Records {
				found = found || string(rec.JSON) == want
			}
			if !found {
				t.Fatalf("lost %s\nof %q\ngot %v\nunreadable %v", want, body, got.Records, got.Unreadable)
			}
		}
		// One record may fall into two that look whole, but not into splinters.
		if len(got.Records) > 5 {
			t.Fatalf("got %d records of %q: %v", len(got.Records), body, got.Records)
		}
		if len(got.Records) >= 3 {
			mended++
		}
	}
	if malformed < 10000 || mended < 1000 {
		t.Errorf("%d bodies were malformed and in %d the third record was mended: too few to tell", malformed, mended)
	}
	t.Logf("%d malformed bodies, the third record mended in %d", malformed, mended)
}
