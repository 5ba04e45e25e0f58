package version

import "testing"

func TestOlder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, least string
		want        bool
	}{
		{"go1.26.8", "1.26", false}, {"go1.25.9", "1.26", true}, {"devel go1.27-abc", "1.26", false},
		{"v20.20.2", "20", false}, {"v18.0.0", "20", true}, {"9", "9", false}, {"11.19.1", "9", false},
		{"2.54.0", "2.54", false}, {"2.9.0", "2.54", true}, {"0.36.0", "0.36.1", true}, {"0.36", "0.36.1", true}, {"", "9", true}, {"unknown", "9", true},
	} {
		if got := Older(c.text, c.least); got != c.want {
			t.Errorf("Older(%q, %q) = %v", c.text, c.least, got)
		}
	}
}
