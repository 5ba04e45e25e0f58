package azurite_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/azurite"
)

// TestStart: all three services answer, two instances do not meet, and none
// outlives its test.
func TestStart(t *testing.T) {
	var first []string
	t.Run("running", func(t *testing.T) {
		first = endpoints(t, azurite.Start(t))
		second := endpoints(t, azurite.Start(t))
		if len(first) != 3 || len(second) != 3 || first[0] == second[0] {
			t.Fatalf("endpoints %q and %q, want three each, all different", first, second)
		}
		for _, endpoint := range append(first, second...) {
			// Without a signature it refuses, and so shows that it is there.
			resp, err := http.Get(endpoint + "?comp=list")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode/100 != 4 {
				t.Errorf("%s answered %s, want a refusal", endpoint, resp.Status)
			}
		}
	})
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, endpoint := range first {
		if resp, err := client.Get(endpoint); err == nil {
			resp.Body.Close()
			t.Errorf("%s still answers after the test", endpoint)
		}
	}
}

func endpoints(t *testing.T, connection string) []string {
	t.Helper()
	var found []string
	for pair := range strings.SplitSeq(connection, ";") {
		if name, value, _ := strings.Cut(pair, "="); strings.HasSuffix(name, "Endpoint") {
			found = append(found, value)
		}
	}
	return found
}
