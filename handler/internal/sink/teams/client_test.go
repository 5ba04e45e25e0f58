package teams

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"podwatch/handler/internal/alert"
)

// judge returns what clients would make of messages besides plain cards, see
// infra/local/cards.mjs.
func judge(t *testing.T, messages map[string]json.RawMessage) string {
	t.Helper()
	input, err := json.Marshal(messages)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("..", "..", "..", "..", "infra", "local", "cards.mjs"))
	var complaints, trouble bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &complaints, &trouble
	if err := cmd.Run(); err != nil {
		t.Fatalf("judging cards needs Node.js and the node packages (make deps): %v\n%s", err, trouble.String())
	}
	return complaints.String()
}

// posted posts groups to a loopback double of the workflow and returns the messages
// that it received. Like Teams, the workflow answers 202 and refuses a message that is
// too large in its run.
func posted(t *testing.T, groups map[string]alert.Group) map[string]json.RawMessage {
	t.Helper()
	var received []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		received = body
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	s := newSink(t, server.URL+"/workflows/1?sig=1")
	s.cards = testCards()
	messages, largest := map[string]json.RawMessage{}, ""
	for name, g := range groups {
		if _, err := s.Post(t.Context(), g); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if size := len(quote(string(received))) + 1<<10; size > 28<<10 {
			t.Errorf("%s: Teams counts %d bytes and refuses the card in the run", name, size)
		}
		messages[name] = received
		if largest == "" || len(quote(string(received))) > len(quote(string(messages[largest]))) {
			largest = name
		}
	}
	t.Logf("the largest of %d cards is %q: %d bytes, which Teams counts as %d of 28,672", len(messages), largest, len(messages[largest]), messageSize(messages[largest]))
	return messages
}

// TestClientsShowPlainCards: each sample, each golden card and alerts of random
// Markdown make a card that Microsoft's library accepts as version 1.2, and whose
// values are plain text for a Markdown parser.
func TestClientsShowPlainCards(t *testing.T) {
	t.Parallel()
	groups := cases()
	for name, a := range samples(t) {
		groups[name] = all(a)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		groups[fmt.Sprintf("random %d", i)] = all(every(randomMarkdown(random)))
	}
	if complaints := judge(t, posted(t, groups)); complaints != "" {
		t.Error(complaints)
	}
}

// randomMarkdown joins pieces of Markdown, URLs and what is around them.
func randomMarkdown(random *rand.Rand) string {
	pieces := []string{
		"[", "]", "(", ")", "[x](https://evil.example)", "![x](y)", "[x]: y", "[x]", ":", "*", "**", "_", "__", "***", "~~", "`", "```", "\\", "#", "## ",
		"-", "- ", "+ ", "> ", "1", "1. ", "2) ", ".", ",", "=", "---", "|", "<", ">", "&#42;", "&amp;", "<https://evil.example>", "<a@evil.example>",
		"https://evil.example/", "HTTP://evil.example", "ftp://evil.example", "//evil.example", "www.evil.example", "WWW.evil.example", "mailto:a@evil.example",
		"a", "b c", " ", "\n", "\t", "\u200b", "\u2060", "é", "𝕏", "{{", "…",
	}
	var text strings.Builder
	for range 1 + random.IntN(12) {
		text.WriteString(pieces[random.IntN(len(pieces))])
	}
	return text.String()
}

// TestJudgeFindsWhatClientsInterpret: without it the test above could pass because
// nothing is found.
func TestJudgeFindsWhatClientsInterpret(t *testing.T) {
	t.Parallel()
	text := string(testCards().message(all(user())))
	messages := map[string]json.RawMessage{}
	for _, markdown := range []string{
		"[Sign in](https://evil.example)", "**not a threat**", "_i_", "`c`", "- a", "+ a", "# a", "> a", "1. a", "1)", "https://evil.example", "www.evil.example",
		"<https://evil.example>", "~~a~~", "[a]: b",
	} {
		messages[markdown] = json.RawMessage(strings.Replace(text, `"text":"arc-plant-07"`, `"text":"`+markdown+`"`, 1))
	}
	messages["an element of 1.5"] = json.RawMessage(strings.Replace(text, `"type":"ColumnSet"`, `"type":"Table"`, 1))
	messages["a toast"] = json.RawMessage(strings.Replace(text, `"summary":"Azure`, `"summary":"**Azure**`, 1))
	complaints := judge(t, messages)
	for name := range messages {
		if !strings.Contains(complaints, name+": ") {
			t.Errorf("no complaint about %q in\n%s", name, complaints)
		}
	}
}
