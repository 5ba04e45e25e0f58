package logtest

import (
	"encoding/json"
	"os"
	"testing"
)

// Records returns the records of the message body in a file, which may be one
// record without a wrapper.
func Records(t testing.TB, file string) []json.RawMessage {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var wrapper struct{ Records []json.RawMessage }
	if err := json.Unmarshal(body, &wrapper); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if wrapper.Records == nil {
		return []json.RawMessage{body}
	}
	return wrapper.Records
}
