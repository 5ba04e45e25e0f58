package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
)

// values reads JSON values, one after another or in an array or a wrapper.
func values(r *bufio.Reader, yield func(Body) bool) error {
	s := &stream{in: r, limit: window}
	for {
		if err := s.fill(); err != nil {
			return err
		}
		n := s.cut()
		if n == 0 {
			return nil
		}
		if len(bytes.TrimSpace(s.text[:n])) > 0 && !yield(Body{Text: s.text[:n], at: s.at}) {
			return nil
		}
		s.drop(n)
	}
}

// A stream cuts JSON text between records, however long the array is that they are
// in. A file that fits into one window stays as it is. Of a longer one the brackets
// around the records, the commas between them and what else an object around them
// has are replaced by white space, so that each part is a sequence of values and
// offsets stay those of the file.
//
// It counts brackets outside of strings. Text that is malformed makes it lose count,
// and it may then take text in strings for brackets and the other way round. So it
// replaces and cuts only where a record follows: a quote in a string is escaped, and
// no string has a brace and a quote after it. When it finds no such place, it goes on
// at what looks like one.
type stream struct {
	in    io.Reader
	ended bool
	text  []byte // read and not yet handed over
	at    int64  // offset of text in the file
	limit int    // of text

	opened []byte // brackets around the records that were replaced
	first  byte   // of the first element of the array
	tail   int    // where the rest of an object around the records begins, 0 for none

	// How far text was scanned, and what was found.
	scanned  int
	end      int // where it may be cut last, 0 for nowhere
	depth    int
	inString bool
}

// fill reads until there is as much text as may be.
func (s *stream) fill() error {
	for !s.ended && len(s.text) < s.limit {
		if cap(s.text) < s.limit {
			s.text = append(make([]byte, 0, s.limit), s.text...)
		}
		n, err := s.in.Read(s.text[len(s.text):s.limit])
		s.text = s.text[:len(s.text)+n]
		if errors.Is(err, io.EOF) {
			s.ended = true
		} else if err != nil {
			return err
		}
	}
	return nil
}

// cut returns how much of the text is to be handed over, 0 at the end.
func (s *stream) cut() int {
	if s.ended && s.at == 0 && len(s.opened) == 0 {
		return len(s.text)
	}
	for {
		s.scan()
		switch {
		case s.ended:
			return len(s.text)
		case s.end > 0:
			return s.end
		case s.open():
			continue
		case s.limit == maxText:
			return s.tear()
		}
		s.limit = maxText
		if s.fill() != nil { // it comes again
			return len(s.text)
		}
	}
}

// drop forgets the first n bytes of the text.
func (s *stream) drop(n int) {
	s.text = append(s.text[:0], s.text[n:]...)
	s.at += int64(n)
	s.scanned = max(s.scanned-n, 0)
	s.tail = max(s.tail-n, 0)
	s.end = 0
	s.limit = window
}

// scan looks at the text that was not looked at before.
func (s *stream) scan() {
	b := s.text
	for i := s.scanned; i < len(b); i++ {
		if s.inString {
			i = s.string(i)
			continue
		}
		switch b[i] {
		case '"':
			s.inString = true
		case '{', '[':
			s.depth++
		case '}', ']':
			s.close(i)
		case ',':
			if s.depth == 0 && s.tail == 0 && len(s.opened) > 0 && s.begins(i+1) {
				b[i] = '\n'
				s.end = i + 1
			}
		case '\n':
			s.line(i)
		}
	}
	s.scanned = len(b)
}

// begins reports whether an element of the array that was opened follows.
func (s *stream) begins(i int) bool {
	text := bytes.TrimLeft(s.text[i:min(len(s.text), i+256)], " \t\r\n")
	if s.first == '{' || len(text) == 0 {
		return startsRecord(text)
	}
	return text[0] == s.first
}

// close deals with the bracket at i.
func (s *stream) close(i int) {
	switch {
	case s.depth > 1, s.depth == 1 && len(s.opened) > 0:
		s.depth--
	case s.depth == 1:
		s.depth = 0
		if s.tail == 0 {
			s.end = i + 1
		}
	case len(s.opened) == 0:
	case s.tail > 0:
		s.closeTail(i)
	case s.opened[len(s.opened)-1] == '[' && s.text[i] == ']':
		s.pop(i)
	}
}

// pop ends the array or object whose bracket is at i.
func (s *stream) pop(i int) {
	s.opened = s.opened[:len(s.opened)-1]
	s.text[i] = ' '
	s.tail = 0
	if n := len(s.opened); n > 0 && s.opened[n-1] == '{' {
		s.tail = i + 1
	}
	s.end = i + 1
}

// closeTail replaces the rest of an object around the records, which ends at i. One
// that is malformed may have records, and stays.
func (s *stream) closeTail(i int) {
	rest := slices.Concat([]byte(`{"":0`), s.text[s.tail:i+1])
	if !json.Valid(rest) {
		s.forget()
		return
	}
	for k := s.tail; k < i; k++ {
		s.text[k] = ' '
	}
	s.pop(i)
}

// forget gives up what was opened: the text goes on as a sequence of whatever it is.
func (s *stream) forget() { s.opened, s.tail, s.depth, s.inString = nil, 0, 0, false }

// string goes on in a string and returns the index of its last quote, of the line
// end that shows it to be broken, or of the end of the text.
func (s *stream) string(i int) int {
	b := s.text
	for {
		n := bytes.IndexByte(b[i:], '"')
		stop := i + n
		if n < 0 {
			stop = len(b)
		}
		for k := i; ; k++ {
			n := bytes.IndexByte(b[k:stop], '\n')
			if n < 0 {
				break
			}
			if k += n; startsRecord(b[k+1:]) {
				s.resume(k + 1)
				return k
			}
		}
		if n < 0 {
			return stop
		}
		slashes := stop
		for slashes > 0 && b[slashes-1] == '\\' {
			slashes--
		}
		if (stop-slashes)%2 == 0 {
			s.inString = false
			return stop
		}
		i = stop + 1
	}
}

// resume goes on with a record at i, whatever came before it.
func (s *stream) resume(i int) {
	if s.tail > 0 {
		s.forget()
	}
	s.end, s.depth, s.inString = i, 0, false
}

// line deals with the line end at i. An object that begins behind it is a record of
// its own, unless something before it says that it is a part of a value.
func (s *stream) line(i int) {
	if s.depth == 0 {
		if s.tail == 0 && len(s.opened) == 0 {
			s.end = i + 1
		}
		return
	}
	before := bytes.TrimRight(s.text[:i], " \t\r\n")
	partOf := len(before) > 0 && bytes.IndexByte([]byte("{[,:"), before[len(before)-1]) >= 0
	if !partOf && startsRecord(s.text[i+1:]) {
		s.resume(i + 1)
	}
}

// startsRecord reports whether text begins with an object that has a member.
func startsRecord(text []byte) bool {
	text, found := bytes.CutPrefix(text, []byte("{"))
	return found && bytes.HasPrefix(bytes.TrimLeft(text[:min(len(text), 256)], " \t\r\n"), []byte(`"`))
}

// open replaces the beginning of the array, or the wrapper of one, that the text
// begins with and that does not end in it.
func (s *stream) open() bool {
	const most = 8
	t := jsontext.Text{Raw: s.text}
	var opened []byte
	for at := t.Space(0); len(s.opened)+len(opened) < most; {
		switch t.Kind(at) {
		case jsontext.Array:
			s.opened = append(append(s.opened, opened...), '[')
			for i := range s.text[:at+1] {
				if s.text[i] != '\n' {
					s.text[i] = ' '
				}
			}
			s.scanned, s.end, s.depth, s.inString = at+1, 0, 0, false
			if element := t.Space(at + 1); element < len(s.text) {
				s.first = s.text[element]
			}
			return true
		case jsontext.Object:
			before := at
			for name, v := range t.Members(at) {
				if v.Truncated && export.Wraps(name) {
					at = v.Start
				}
			}
			if at == before {
				return false
			}
			opened = append(opened, '{')
		default:
			return false
		}
	}
	return false
}

// tear returns where to cut text without a complete value: before the last record
// in it that can be made out, else anywhere. What is malformed before it costs
// nothing behind it.
func (s *stream) tear() int {
	for _, between := range []string{"\n{", "},{"} {
		for end := len(s.text); end > 0; {
			i := bytes.LastIndex(s.text[:end], []byte(between))
			if i <= 0 {
				break
			}
			if at := i + len(between) - 1; startsRecord(s.text[at:]) {
				s.resume(at)
				s.scanned = at
				return at
			}
			end = i
		}
	}
	end := len(s.text)
	for end > 1 && s.text[end-1] == '\\' {
		end--
	}
	if s.tail > 0 {
		s.forget()
	}
	s.scanned = min(s.scanned, end)
	return end
}
