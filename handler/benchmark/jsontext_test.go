package main

import (
	"bytes"
	"errors"
	"io"
	"testing"

	library "github.com/go-json-experiment/json/jsontext"

	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/logtest"
)

// messages are those of an invocation of the log of a cluster, as the host quotes
// them, and the same as plain text.
func messages(b *testing.B) (quoted, plain [][]byte) {
	body, _ := logtest.Load{Log: logtest.Cluster, Size: 1 << 20, Records: 10}.Invocation()
	start, end := bytes.IndexByte(body, '['), bytes.LastIndex(body, []byte(`]","SequenceNumberArray`))
	if end < 0 {
		end = bytes.LastIndex(body, []byte(`]"},"Metadata":`))
	}
	for v := range (jsontext.Text{Raw: body[start : end+1], Depth: 1}).Elements(0) {
		message := v.Content()
		text, err := message.Plain(nil)
		if err != nil {
			b.Fatal(err)
		}
		quoted, plain = append(quoted, message.Raw), append(plain, text)
	}
	if len(quoted) == 0 {
		b.Fatal("no messages")
	}
	return quoted, plain
}

// BenchmarkJSONText is why package jsontext is a reader of its own, and not
// encoding/json/jsontext, which this module has from its own repository: it passes over
// the values of messages, as they are and quoted twice, and unquotes them.
func BenchmarkJSONText(b *testing.B) {
	quoted, plain := messages(b)
	var room []byte
	for _, bench := range []struct {
		name  string
		texts [][]byte
		do    func(text []byte) error
	}{
		{"do=skip/text=plain/by=podwatch", plain, func(text []byte) error {
			_, ok := jsontext.Text{Raw: text}.Skip(0)
			return malformed(ok)
		}},
		{"do=skip/text=plain/by=library", plain, skipped},
		{"do=skip/text=quoted/by=podwatch", quoted, func(text []byte) error {
			_, ok := jsontext.Text{Raw: text, Depth: 2}.Skip(0)
			return malformed(ok)
		}},
		{"do=skip/text=quoted/by=library", quoted, func(text []byte) (err error) {
			if room, err = unquotedTwice(room[:0], text); err != nil {
				return err
			}
			return skipped(room)
		}},
		{"do=unquote/text=quoted/by=podwatch", quoted, func(text []byte) (err error) {
			room, err = jsontext.Text{Raw: text, Depth: 2}.Plain(room[:0])
			return err
		}},
		{"do=unquote/text=quoted/by=library", quoted, func(text []byte) (err error) {
			room, err = unquotedTwice(room[:0], text)
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			size := 0
			for _, text := range bench.texts {
				size += len(text)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for _, text := range bench.texts {
					if err := bench.do(text); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func malformed(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("malformed")
}

var decoder library.Decoder

func skipped(text []byte) error {
	decoder.Reset(bytes.NewReader(text), library.AllowDuplicateNames(true))
	if err := decoder.SkipValue(); err != nil {
		return err
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("more text")
	}
	return nil
}

// unquotedTwice appends the text of a string within a string, both without their quotes.
func unquotedTwice(dst, text []byte) ([]byte, error) {
	once, err := library.AppendUnquote(nil, append(append([]byte{'"'}, text...), '"'))
	if err != nil {
		return dst, err
	}
	return library.AppendUnquote(dst, append(append([]byte{'"'}, once...), '"'))
}
