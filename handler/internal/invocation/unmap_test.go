//go:build unmap && linux

package invocation

import (
	"runtime/debug"
	"strings"
	"testing"
)

// TestCloseUnmaps: in this build a text that is used after Close crashes.
func TestCloseUnmaps(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	b, err := NewReader(1<<20, 1<<20).Read(t.Context(), strings.NewReader(`{"Data":{"events":"[]"}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	text := b.Text()
	if text.Raw[0] != '[' {
		t.Fatalf("the text is %q", text.Raw)
	}
	b.Close()
	defer func() {
		if recover() == nil {
			t.Error("the text was readable after Close")
		}
	}()
	t.Log(text.Raw[0])
}
