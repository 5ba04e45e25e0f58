package invocation

import (
	"fmt"
	"strconv"
	"time"
)

// A QueueMessage is one message of a storage queue.
//
// The host merges the members of a message that is a JSON object into the
// metadata, over its own. What the message could have replaced is given as
// unknown.
type QueueMessage struct {
	Text          string    // exactly as it was enqueued
	ID            string    // "" when unknown
	DequeueCount  int       // 1 on the first try; 0 when unknown
	InsertionTime time.Time // UTC; zero when unknown
}

// ParseQueue reads an invocation of a queueTrigger function.
func ParseQueue(body []byte) (*QueueMessage, error) {
	value, meta, err := single(body)
	if err != nil {
		return nil, fmt.Errorf("parse invocation: %w", err)
	}
	text := value
	switch value[0] {
	case '"':
		text = content(value)
		if text == nil && len(value) > 2 {
			return nil, fmt.Errorf("parse invocation: the message is badly quoted")
		}
		// Normally a second layer of quotes is left. Text that is not wholly one
		// string lacks it and is the message.
		if i := skipSpace(text, 0); i < len(text) && text[i] == '"' {
			if end, err := skipString(text, i); err == nil && skipSpace(text, end) == len(text) {
				inner := text[i+1 : end-1]
				n, err := unquoteInPlace(inner)
				if err != nil {
					return nil, fmt.Errorf("parse invocation: message: %w", err)
				}
				text = inner[:n]
			}
		}
	case '{', '[':
	default:
		return nil, fmt.Errorf("parse invocation: the message is neither text nor an object nor an array")
	}
	msg := &QueueMessage{Text: string(text)}
	for key, value := range meta {
		if replaces(text, key) {
			continue
		}
		switch key {
		case "Id":
			msg.ID = scalar(value)
		case "DequeueCount":
			if n, err := strconv.Atoi(scalar(value)); err == nil && n > 0 {
				msg.DequeueCount = n
			}
		case "InsertionTime":
			msg.InsertionTime = hostTime(scalar(value))
		}
	}
	return msg, nil
}

// A Timer is one tick of a timer.
type Timer struct {
	IsPastDue  bool      // the tick comes late, after the app was down
	Last, Next time.Time // of the schedule; zero when the host does not track it
}

// ParseTimer reads an invocation of a timerTrigger function.
func ParseTimer(body []byte) (*Timer, error) {
	value, _, err := single(body)
	if err != nil {
		return nil, fmt.Errorf("parse invocation: %w", err)
	}
	text := content(value)
	var t Timer
	_, err = members(text, skipSpace(text, 0), func(name []byte, i int) (int, error) {
		end, err := skipValue(text, i)
		if err != nil {
			return 0, err
		}
		switch string(name) {
		case "IsPastDue":
			switch string(text[i:end]) {
			case "true":
				t.IsPastDue = true
			case "false", "null":
			default:
				return 0, errAt(i, "IsPastDue is no bool")
			}
		case "ScheduleStatus":
			if text[i] != '{' {
				break // null when the host does not track the schedule
			}
			_, err = members(text[:end], i, func(name []byte, i int) (int, error) {
				end, err := skipValue(text, i)
				if err != nil {
					return 0, err
				}
				switch string(name) {
				case "Last":
					t.Last = hostTime(scalar(text[i:end]))
				case "Next":
					t.Next = hostTime(scalar(text[i:end]))
				}
				return end, nil
			})
		}
		return end, err
	})
	if err != nil {
		return nil, fmt.Errorf("parse invocation: timer: %w", err)
	}
	return &t, nil
}

// single reads an invocation with one binding: its value, still encoded, and
// the metadata.
func single(body []byte) (value []byte, meta map[string][]byte, err error) {
	meta = map[string][]byte{}
	seen := map[string]bool{}
	err = envelope(body, func(member []byte, i int) (int, error) {
		name := string(member)
		if name != "Data" && name != "Metadata" {
			return skipValue(body, i)
		}
		if seen[name] {
			return 0, errAt(i, "two members called %q", name)
		}
		seen[name] = true
		if name == "Metadata" && body[i] != '{' {
			return skipValue(body, i)
		}
		end, err := members(body, i, func(key []byte, i int) (int, error) {
			end, err := skipValue(body, i)
			if err != nil {
				return 0, err
			}
			if name == "Metadata" {
				switch string(key) {
				case "Id", "DequeueCount", "InsertionTime":
					meta[string(key)] = body[i:end]
				}
				return end, nil
			}
			if value != nil {
				return 0, errAt(i, "more than one binding")
			}
			value = body[i:end]
			return end, nil
		})
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		return end, nil
	})
	if err == nil && value == nil {
		err = fmt.Errorf("member Data holds no binding")
	}
	return value, meta, err
}
