package devhost

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"strings"
	"time"
)

// A reply is what the host takes from the handler's answer.
type reply struct {
	Outputs map[string]json.RawMessage
	Logs    []string
}

// maxDepth is how deep the host's JSON reader follows an answer.
const maxDepth = 256

// errNeverCompletes is an answer that leaves the real host without a result: the
// invocation then hangs until functionTimeout, and the host kills the handler
// and with it everything else in flight. The stand-in fails it at once.
var errNeverCompletes = errors.New(`the answer has no JSON object: in Azure this invocation would never complete and the host would kill the handler at functionTimeout; answer at least {}`)

// parseReply judges an answer as the host does. Whatever it refuses is a failed
// invocation, whose logs and outputs the host does not look at.
func parseReply(status int, contentType string, body []byte) (*reply, error) {
	if status < 200 || status > 299 {
		return nil, fmt.Errorf("the handler answered %d", status)
	}
	if len(body) == 0 {
		return nil, errNeverCompletes
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" && media != "text/json" {
		return nil, fmt.Errorf("the handler answered with content type %q: the host reads application/json only", contentType)
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if depth(body) > maxDepth {
		return nil, fmt.Errorf("the answer is nested deeper than %d", maxDepth)
	}
	var r *reply
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("parse the answer: %w", err)
	}
	if r == nil {
		return nil, errNeverCompletes
	}
	return r, nil
}

// depth returns how deep the brackets of a JSON text nest.
func depth(src []byte) int {
	deepest, now := 0, 0
	inString := false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// queueMessages turns one output value into the texts that the host enqueues.
func queueMessages(b Binding, raw json.RawMessage) ([][]byte, error) {
	if text, ok := jsonString(raw); ok {
		data, decoded := undoBase64(b, text)
		if decoded {
			return [][]byte{data}, nil
		}
		trimmed := strings.TrimSpace(text)
		if !looksLikeJSON(trimmed) {
			return [][]byte{[]byte(text)}, nil
		}
		if !json.Valid([]byte(trimmed)) {
			return nil, errors.New("the text begins and ends like JSON but is not: the host fails the invocation")
		}
		raw = json.RawMessage(trimmed) // the host parses it once more
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		items = []json.RawMessage{raw}
	}
	var messages [][]byte
	for _, item := range items {
		if text, ok := hostText(item); ok {
			messages = append(messages, []byte(text))
			continue
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, item, "", "  "); err != nil {
			return nil, err
		}
		messages = append(messages, indented.Bytes())
	}
	return messages, nil
}

func looksLikeJSON(s string) bool {
	return strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") || strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]")
}

// blobContent turns one output value into the bytes that the host writes.
func blobContent(b Binding, raw json.RawMessage) ([]byte, error) {
	if text, ok := jsonString(raw); ok {
		if isoTime.MatchString(text) {
			return nil, errors.New("the host takes a text that looks like a time for one and cannot write it to a blob: send JSON text")
		}
		data, _ := undoBase64(b, text)
		return data, nil
	}
	if raw[0] != '{' && raw[0] != '[' {
		return nil, errors.New("the host writes numbers and booleans to a blob in binary form: send text")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// undoBase64 decodes text that happens to be valid base64, which the host does
// to every single string unless the binding says binary. The empty text counts.
func undoBase64(b Binding, text string) (data []byte, decoded bool) {
	if strings.EqualFold(b.DataType, "binary") {
		return []byte(text), false
	}
	compact := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(text)
	if data, err := base64.StdEncoding.DecodeString(compact); err == nil {
		return data, true
	}
	return []byte(text), false
}

// isoTime matches what the host's JSON reader takes for a time.
var isoTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$`)

// hostText returns what the host makes of an element that is no object and no array:
// a text, but for times byte by byte.
func hostText(raw json.RawMessage) (string, bool) {
	switch string(raw) {
	case "null":
		return "", true
	case "true":
		return "True", true
	case "false":
		return "False", true
	}
	text, ok := jsonString(raw)
	if ok && isoTime.MatchString(text) {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			text = at.UTC().Format("01/02/2006 15:04:05")
		}
	}
	return text, ok
}

func jsonString(raw json.RawMessage) (string, bool) {
	var text string
	if len(raw) == 0 || bytes.TrimSpace(raw)[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}
