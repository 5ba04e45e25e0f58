// Package files reads the files that people have as message bodies: whatever a
// file is, it is a stream of JSON records for package detect.
//
// It reads JSON (one value, values line by line, an array of any length, a wrapper
// around one), what Log Analytics prints as CSV or as tables of columns and rows,
// the Avro files of Event Hubs Capture, and each of them packed by gzip or in
// UTF-16. A file of any size takes the memory of a few bodies. What is no JSON is
// handed over as it is: package export reports why it cannot be read.
package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/text/encoding/unicode"
)

const (
	window   = 1 << 20 // bytes of a body, which is what an event hub takes
	maxText  = 4 << 20 // bytes of a body that is one record, or that has no end
	maxPacks = 4       // gzip in gzip ...
)

// A Body is one message body of a file, or a part of it with whole records.
type Body struct {
	Text []byte // valid until the next body is asked for

	at   int64 // byte, row or message of the file at which it begins
	unit string
}

// Place returns where in the file an offset in the text of the body is.
func (b Body) Place(offset int) string {
	switch b.unit {
	case unitRow:
		return fmt.Sprintf("row %d", b.at+int64(bytes.Count(b.Text[:min(offset, len(b.Text))], []byte("\n"))))
	case unitMessage:
		return fmt.Sprintf("message %d, byte %d", b.at, offset)
	}
	return fmt.Sprintf("byte %d", b.at+int64(offset))
}

// Units in which places of a file are counted: bytes of its text, unpacked and in
// UTF-8, rows of a table from 1, messages of a capture from 1.
const (
	unitRow     = "row"
	unitMessage = "message"
)

// Open streams the bodies of a file. See [Bodies].
func Open(name string) iter.Seq2[Body, error] {
	return func(yield func(Body, error) bool) {
		f, err := os.Open(name)
		if err != nil {
			yield(Body{}, err)
			return
		}
		defer f.Close()
		Bodies(f)(yield)
	}
}

// Bodies streams what is in r. An error ends it: the rest of the file could not be
// read or unpacked. An empty file has no body.
func Bodies(r io.Reader) iter.Seq2[Body, error] {
	return func(yield func(Body, error) bool) {
		text, err := unpacked(r)
		if err != nil {
			yield(Body{}, err)
			return
		}
		read := values
		start, _ := text.Peek(headerSize) // an error comes again
		switch {
		case bytes.HasPrefix(start, []byte(avroMagic)):
			read = capture
		case tablesStart.Match(start):
			read = tables
		case startsRows(start):
			read = rows
		}
		more := true
		err = read(text, func(b Body) bool {
			more = yield(b, nil)
			return more
		})
		if err != nil && more {
			yield(Body{}, err)
		}
	}
}

// headerSize is how much of a file is examined to detect its format.
const headerSize = 64 << 10

// unpacked returns the text in r: out of gzip, and in UTF-8 without a byte order
// mark.
func unpacked(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, headerSize)
	for range maxPacks {
		switch start, _ := in.Peek(4); {
		case bytes.HasPrefix(start, []byte("\x1f\x8b")):
			packed, err := gzip.NewReader(in)
			if err != nil {
				return nil, fmt.Errorf("unpack gzip: %w", err)
			}
			in = bufio.NewReaderSize(named{packed, "unpack gzip"}, headerSize)
		case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
			_, _ = in.Discard(len("\xef\xbb\xbf")) // they are there
		case isUTF16(start):
			order := unicode.LittleEndian
			if start[0] == 0xfe || start[0] == 0 {
				order = unicode.BigEndian
			}
			decoder := unicode.UTF16(order, unicode.UseBOM).NewDecoder()
			return bufio.NewReaderSize(decoder.Reader(in), headerSize), nil
		default:
			return in, nil
		}
	}
	return in, nil
}

// isUTF16 reports whether text begins with a byte order mark of UTF-16, or with two
// characters of ASCII in it.
func isUTF16(start []byte) bool {
	if len(start) < 2 {
		return false
	}
	marked := start[0] == 0xff && start[1] == 0xfe || start[0] == 0xfe && start[1] == 0xff
	return marked || len(start) == 4 && (start[0] == 0) != (start[1] == 0) && (start[0] == 0) == (start[2] == 0) && (start[1] == 0) == (start[3] == 0)
}

// named adds to an error in which step reading failed.
type named struct {
	io.Reader
	step string
}

func (n named) Read(p []byte) (int, error) {
	count, err := n.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", n.step, err)
	}
	return count, err
}
