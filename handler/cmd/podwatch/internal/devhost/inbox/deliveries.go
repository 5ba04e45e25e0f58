package inbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Limits of the real services.
const (
	maxCard    = 28 << 10 // a message in Teams
	maxCall    = 1 << 20  // one ingestion call, compressed as well as not
	maxColumn  = 64 << 10 // a value in a row; longer ones are cut in silence
	maxWebhook = 4 << 20  // more than any card: refused outright
)

const (
	cardType    = "application/vnd.microsoft.card.adaptive"
	lastVersion = "1.5" // of Adaptive Cards, in Teams
)

// takeCard answers as the trigger of a Workflows flow: it looks at the URL and
// the headers, answers 202, and only then reads the message. What is wrong with
// the message shows in the flow's run history alone.
func (b *Inbox) takeCard(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
	if err != nil {
		b.refuseCard(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the message is larger than the trigger takes", nil)
		return
	}
	take := func(w http.ResponseWriter) { b.answerCard(w, r, body) }
	b.answer(w, r, Request{Sink: Teams, Header: r.Header, Body: body}, take)
}

func (b *Inbox) answerCard(w http.ResponseWriter, r *http.Request, body []byte) {
	query := r.URL.Query()
	switch {
	case query.Get("api-version") == "":
		b.refuseCard(w, http.StatusBadRequest, "MissingApiVersionParameter", "the query string lacks api-version: the URL was cut", body)
	case query.Get("sig") == "":
		b.refuseCard(w, http.StatusUnauthorized, "DirectApiAuthorizationRequired", "the query string lacks sig, the secret", body)
	case r.Header.Get("Authorization") != "":
		b.refuseCard(w, http.StatusBadRequest, "DirectApiRequestHasMoreThanOneAuthorization", "an Authorization header besides sig", body)
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		b.refuseCard(w, http.StatusBadRequest, "InvalidContentType", "the content type is not application/json", body)
	case !json.Valid(body):
		b.refuseCard(w, http.StatusBadRequest, "InvalidRequestContent", "the body is not JSON", nil)
	default:
		b.add(Entry{Sink: Teams, Status: http.StatusAccepted, Refused: flowFailure(body), Size: len(body), Data: body})
		w.WriteHeader(http.StatusAccepted)
	}
}

// refuseCard answers with an error as the trigger writes it.
func (b *Inbox) refuseCard(w http.ResponseWriter, status int, code, reason string, body []byte) {
	e := Entry{Sink: Teams, Status: status, Refused: code + ": " + reason, Size: len(body)}
	if json.Valid(body) {
		e.Data = body
	}
	b.add(e)
	writeError(w, status, code, reason)
}

func writeError(w http.ResponseWriter, status int, code, reason string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": code, "message": reason}})
}

// flowFailure returns why a flow that was started would post no card, or not the
// card that was meant; empty when it would.
func flowFailure(body []byte) string {
	var message struct {
		Attachments []struct {
			ContentType string
			Content     *struct {
				Type, Version string
				Body          []json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(body, &message); err != nil {
		return "the flow failed: the message does not have the form of one: " + err.Error()
	}
	if len(message.Attachments) == 0 {
		return "the flow failed: attachments is missing or empty, and it posts one card for each"
	}
	for _, a := range message.Attachments {
		switch {
		case a.ContentType != cardType:
			return fmt.Sprintf("the flow failed: content type %q of an attachment is not %s", a.ContentType, cardType)
		case a.Content == nil || a.Content.Type != "AdaptiveCard":
			return "the flow failed: the content of an attachment is not an AdaptiveCard"
		case len(a.Content.Body) == 0:
			return "the card is empty"
		case !knownVersion.MatchString(a.Content.Version):
			return fmt.Sprintf("Teams shows no card of version %q: %s is the last one it knows", a.Content.Version, lastVersion)
		}
	}
	// Teams counts the message quoted once more as a JSON string, and what the flow adds.
	const flow = 1 << 10
	if size := len(body) + bytes.Count(body, []byte(`"`)) + bytes.Count(body, []byte(`\`)) + len(`""`) + flow; size > maxCard {
		return fmt.Sprintf("the flow failed: Request Entity too large: %d bytes quoted, more than 28 KB", size)
	}
	return ""
}

var knownVersion = regexp.MustCompile(`^1\.[0-5]$`)

// takeRows answers as the Logs Ingestion API.
func (b *Inbox) takeRows(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, reason string) {
		b.add(Entry{Sink: LogAnalytics, Status: status, Refused: reason})
		writeError(w, status, code, reason)
	}
	tooLarge := func() {
		refuse(http.StatusRequestEntityTooLarge, "ContentLengthLimitExceeded", "more than 1 MB in one call")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
	if err != nil {
		tooLarge()
		return
	}
	body, err := decompress(r.Header.Get("Content-Encoding"), raw)
	if err != nil {
		refuse(http.StatusBadRequest, "InvalidPayload", "the body is not "+r.Header.Get("Content-Encoding"))
		return
	}
	take := func(w http.ResponseWriter) {
		switch {
		case len(body) > maxCall:
			tooLarge()
		case r.URL.Query().Get("api-version") == "":
			refuse(http.StatusBadRequest, "MissingApiVersionParameter", "the query string lacks api-version")
		case r.PathValue("rule") != RuleID:
			refuse(http.StatusNotFound, "NotFound", fmt.Sprintf("no data collection rule %q", r.PathValue("rule")))
		case r.PathValue("stream") != Stream:
			refuse(http.StatusNotFound, "InvalidStream", fmt.Sprintf("no stream %q in the rule", r.PathValue("stream")))
		case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
			refuse(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the content type is not application/json")
		case !json.Valid(body):
			refuse(http.StatusBadRequest, "InvalidPayload", "the body is not JSON")
		default:
			b.add(rows(body)...)
			w.WriteHeader(http.StatusNoContent)
		}
	}
	b.answer(w, r, Request{Sink: LogAnalytics, Header: r.Header, Body: body}, take)
}

func decompress(encoding string, raw []byte) ([]byte, error) {
	if !strings.EqualFold(encoding, "gzip") {
		return raw, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxCall+1)) // one more than allowed shows
}

// rows turns a call that is answered 204 into what the table gets of it.
func rows(body []byte) []Entry {
	refused := func(reason string, data []byte) Entry {
		return Entry{Sink: LogAnalytics, Status: http.StatusNoContent, Refused: reason, Size: len(data), Data: data}
	}
	var items []json.RawMessage
	if json.Unmarshal(body, &items) != nil || items == nil {
		return []Entry{refused("answered 204, but there is no row: the body must be an array of objects", body)}
	}
	var all []Entry
	for _, item := range items {
		var row map[string]json.RawMessage
		if json.Unmarshal(item, &row) != nil || row == nil {
			all = append(all, refused("answered 204, but there is no row: an element is not an object", item))
			continue
		}
		e := Entry{Sink: LogAnalytics, Status: http.StatusNoContent, Size: len(item), Data: item}
		e.Warnings = cutColumns(row)
		if e.Warnings != nil {
			e.Data, _ = json.Marshal(row) // it was JSON a moment ago
		}
		all = append(all, e)
	}
	return all
}

// reserved are column names that a table cannot have.
var reserved = []string{"_ResourceId", "id", "_SubscriptionId", "TenantId", "Type", "UniqueId", "Title"}

// cutColumns cuts a row silently, as the service does, and reports it.
func cutColumns(row map[string]json.RawMessage) (warnings []string) {
	for _, name := range slices.Sorted(maps.Keys(row)) {
		if slices.Contains(reserved, name) {
			warnings = append(warnings, fmt.Sprintf("column %s is reserved and was dropped", name))
			delete(row, name)
			continue
		}
		value := row[name]
		if len(value) <= maxColumn {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("column %s was cut at 64 KB", name))
		text := string(value)
		_ = json.Unmarshal(value, &text) // not a string: the JSON text is cut
		row[name], _ = json.Marshal(strings.ToValidUTF8(text[:min(len(text), maxColumn)], ""))
	}
	return warnings
}

// answer gives the answer of a test if there is one, else the ordinary one.
func (b *Inbox) answer(w http.ResponseWriter, r *http.Request, request Request, take func(http.ResponseWriter)) {
	var a *Answer
	if b.o.Answer != nil {
		a = b.o.Answer(request)
	}
	if a == nil {
		take(w)
		return
	}
	if a.Delay > 0 {
		select {
		case <-time.After(a.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if a.Status == 0 && !a.Cut {
		take(w)
		return
	}
	if a.Accept {
		take(discard{http.Header{}})
	}
	if a.Cut {
		panic(http.ErrAbortHandler) // net/http's way to cut the connection
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	if a.Status >= 400 {
		writeError(w, a.Status, "Scripted", http.StatusText(a.Status))
		return
	}
	w.WriteHeader(a.Status)
}

// discard is an answer that is sent nowhere.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
