package state_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/internal/state"
)

// names lists the documents below a prefix.
func names(t *testing.T, c *container.Client, prefix string) []string {
	t.Helper()
	var names []string
	pages := c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Segment.BlobItems {
			names = append(names, *item.Name)
		}
	}
	return names
}

// damage overwrites the only document below a prefix and returns its name.
func damage(t *testing.T, c *container.Client, prefix, content string) string {
	t.Helper()
	found := names(t, c, prefix)
	if len(found) != 1 {
		t.Fatalf("documents below %s are %q, want one", prefix, found)
	}
	body := streaming.NopCloser(strings.NewReader(content))
	if _, err := c.NewBlockBlobClient(found[0]).Upload(t.Context(), body, nil); err != nil {
		t.Fatal(err)
	}
	return found[0]
}

// wantAside checks that the only unreadable document is the one named, unchanged,
// and that it was logged once.
func wantAside(t *testing.T, c *container.Client, log *bytes.Buffer, name, content string) {
	t.Helper()
	if got := names(t, c, "unreadable/"); !slices.Equal(got, []string{"unreadable/" + name}) {
		t.Fatalf("kept aside are %q, want %q", got, name)
	}
	if left := names(t, c, name); len(left) > 0 {
		t.Errorf("the document is still at its place: %q", left)
	}
	answer, err := c.NewBlobClient("unreadable/"+name).DownloadStream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var kept bytes.Buffer
	if _, err := kept.ReadFrom(answer.Body); err != nil || kept.String() != content {
		t.Errorf("kept is %q (%v), want %q", &kept, err, content)
	}
	if n := strings.Count(log.String(), "unreadable/"+name); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, log)
	}
}

func TestWindowsWithUnreadableDocuments(t *testing.T) {
	fresh := containers(t)
	for name, content := range map[string]string{
		"not JSON": "<html>", "empty": "", "cut off": `{"Until":"2026-11-09T08`,
		"another shape": `["a"]`, "another type": `{"Until":7}`,
	} {
		t.Run("a window has ended when its document is "+name, func(t *testing.T) {
			clock, c, log := newClock(), fresh(t), new(bytes.Buffer)
			w := state.NewWindows(c, clock.now, slog.New(slog.NewTextHandler(log, nil)))
			admit(t, w, true, alertOf("1", "dana"))
			hold(t, w, alertOf("2", "dana"))
			document := damage(t, c, "windows/", content)
			wantSummaries(t, w, "2")
			wantSummaries(t, w)
			wantAside(t, c, log, document, content)
			admit(t, w, true, alertOf("3", "dana"))
		})
	}
	t.Run("an unreadable document of held alerts does not hold the others", func(t *testing.T) {
		clock, c, log := newClock(), fresh(t), new(bytes.Buffer)
		w := state.NewWindows(c, clock.now, slog.New(slog.NewTextHandler(log, nil)))
		admit(t, w, true, alertOf("1", "dana"))
		hold(t, w, alertOf("2", "dana"))
		document := damage(t, c, "held/", "[{")
		hold(t, w, alertOf("3", "dana"))
		clock.advance(state.WindowLength)
		wantSummaries(t, w, "3")
		wantSummaries(t, w)
		wantAside(t, c, log, document, "[{")
	})
}
