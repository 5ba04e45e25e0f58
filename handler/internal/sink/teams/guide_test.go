package teams

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGuide(t *testing.T) {
	var got []string
	for _, e := range guide("# One\nwrapped\nlines `code`\n\n- a\n  goes on\n* b ![p](https://x/p.png) [evil](http://x) [ok](https://x/y \"t\")\n\n## \n1. c\ntext {{DATE(x)}} {[{x](y)\n```sh\nrm {{x}}\n\n```\r\nend\x00") {
		switch {
		case e.Type == "RichTextBlock":
			got = append(got, "code: "+e.Inlines[0].Text)
		case e.Weight != "":
			got = append(got, "heading: "+e.Text)
		default:
			got = append(got, e.Text)
		}
	}
	want := []string{
		"heading: One", "wrapped lines code", "- a goes on\r- b p evil [ok](https://x/y)", "1. c", "text { {DATE(x)}} { {x", "code: rm { {x}}", "end",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("guide (-got +want):\n%s", diff)
	}
}

func TestLongGuideSaysSo(t *testing.T) {
	elements := guide(strings.Repeat("A paragraph of the guide.\n\n", 1000))
	size := 0
	for _, e := range elements {
		size += len(e.Text)
	}
	if last := elements[len(elements)-1]; size > maxGuide+100 || !strings.Contains(last.Text, "The rest") {
		t.Errorf("%d bytes, ending in %q", size, last.Text)
	}
}
