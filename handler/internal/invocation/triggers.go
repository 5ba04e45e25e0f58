package invocation

import (
	"errors"
	"fmt"
	"io"

	"podwatch/handler/internal/jsontext"
)

// maxTrigger bounds the invocation of one queue message or timer. A message has
// at most 64 KiB; the host quotes it twice and repeats its members, quoted, in
// the metadata.
const maxTrigger = 2 << 20

// ReadQueue reads an invocation of Redeliver to its end and returns the text of
// the queue message. Its metadata is not read: the host merges the members of a
// message into it, so that a message can forge it.
func ReadQueue(body io.Reader) ([]byte, error) {
	value, err := readBinding(body)
	if err != nil {
		return nil, err
	}
	if value.Kind != jsontext.String {
		return nil, errors.New("read invocation: the queue message is not text")
	}
	content, err := value.Content().Plain(nil)
	if err != nil {
		return nil, fmt.Errorf("read invocation: queue message: %w", err)
	}
	// Text is quoted once more. What is not one string is the message itself.
	text := jsontext.Text{Raw: content}
	message := text.Value(0)
	if message.Kind != jsontext.String || message.Truncated || text.Space(message.End) != len(content) {
		return content, nil
	}
	plain, err := message.Content().Plain(nil)
	if err != nil {
		return nil, fmt.Errorf("read invocation: queue message: %w", err)
	}
	return plain, nil
}

// ReadTimer reads an invocation of Heartbeat to its end and reports whether it
// comes late, after the app was down.
func ReadTimer(body io.Reader) (pastDue bool, err error) {
	value, err := readBinding(body)
	if err != nil {
		return false, err
	}
	if value.Kind != jsontext.Object {
		return false, errors.New("read invocation: the timer is not an object")
	}
	return memberText(value, "IsPastDue") == "true", nil
}

// readBinding reads an invocation with one input binding, whatever its name.
func readBinding(body io.Reader) (value jsontext.Value, err error) {
	text, err := io.ReadAll(io.LimitReader(body, maxTrigger+1))
	switch {
	case err != nil:
		return value, fmt.Errorf("read request: %w", broken(len(text), err))
	case len(text) > maxTrigger:
		return value, fmt.Errorf("read request: %w", ErrTooLarge)
	}
	data, err := member(text, "Data")
	if err != nil {
		return value, fmt.Errorf("read invocation: %w", err)
	}
	n := 0
	for _, value = range data.Members(0) {
		n++
	}
	if n != 1 {
		return value, fmt.Errorf("read invocation: member Data has %d bindings, not one", n)
	}
	return value, nil
}
