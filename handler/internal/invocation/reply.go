package invocation

import (
	"strings"
	"unicode/utf8"
)

// A Reply is the answer to an invocation that succeeded; send it with status
// 200 and [ContentType]. The zero Reply says success and nothing more.
//
// The host takes an empty or null reply for one that never came and waits
// until it kills the process, so neither can be made here.
type Reply struct {
	outputs []output
	logs    []string
}

type output struct {
	binding string
	queue   bool
	texts   []string
}

func (r *Reply) output(binding string, queue bool) *output {
	for i := range r.outputs {
		if r.outputs[i].binding == binding && r.outputs[i].queue == queue {
			return &r.outputs[i]
		}
	}
	r.outputs = append(r.outputs, output{binding: binding, queue: queue})
	return &r.outputs[len(r.outputs)-1]
}

// Queue puts texts, one message each, into the queue of an output binding. They
// arrive byte for byte, provided that they are UTF-8 and do not look like a
// time; JSON objects never do. A message must not exceed 48 KiB.
func (r *Reply) Queue(binding string, texts ...string) {
	if len(texts) > 0 {
		o := r.output(binding, true)
		o.texts = append(o.texts, texts...)
	}
}

// Blob writes text to the blob of an output binding. An invocation has one
// blob a binding: further texts follow in it, each on its own line. Text that
// the host would take for base64 or for a time is written as a JSON string.
func (r *Reply) Blob(binding, text string) {
	o := r.output(binding, false)
	o.texts = append(o.texts, text)
}

// Log adds a line to the invocation's log, where it has the level Information.
func (r *Reply) Log(line string) { r.logs = append(r.logs, line) }

// JSON returns the body of the reply, at least "{}".
func (r *Reply) JSON() []byte {
	size := 64
	if r != nil {
		for _, o := range r.outputs {
			for _, text := range o.texts {
				size += 32 + len(text) + len(text)/8
			}
		}
	}
	b := append(make([]byte, 0, size), '{')
	if r != nil && len(r.outputs) > 0 {
		b = append(b, `"Outputs":{`...)
		for i, o := range r.outputs {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, o.binding)
			b = append(b, ':')
			if o.queue {
				b = appendStrings(b, o.texts) // never a string or objects: those the host would rewrite
			} else {
				b = appendQuoted(b, plainText(strings.Join(o.texts, "\n")))
			}
		}
		b = append(b, '}')
	}
	if r != nil && len(r.logs) > 0 {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, `"Logs":`...)
		b = appendStrings(b, r.logs)
	}
	return append(b, '}')
}

func appendStrings(b []byte, texts []string) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, text)
	}
	return append(b, ']')
}

// plainText returns text as the host will write it out unchanged. The host
// decodes a string that is valid base64 (it passes over white space) and
// rewrites one that looks like a time; text with any other character is safe.
func plainText(text string) string {
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		return text
	}
	base64 := strings.IndexFunc(text, func(c rune) bool {
		return c >= utf8.RuneSelf || !(base64Begins(byte(c)) && c != '\\' || strings.ContainsRune("= \t\r\n", c))
	}) < 0
	// Json.NET reads 2025-03-04T09:15:22, with or without more, and /Date(1)/.
	t := strings.TrimSpace(text)
	time := len(t) >= 19 && len(t) <= 40 && t[4] == '-' && t[7] == '-' && t[10] == 'T' || strings.HasPrefix(t, "/Date(")
	if base64 || time {
		return string(appendQuoted(nil, text))
	}
	return text
}
