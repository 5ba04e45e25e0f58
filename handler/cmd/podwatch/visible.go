package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"
)

// visible makes a text from a log or a file name safe for a terminal: control
// characters, and those that reorder what is read, are shown by their number.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\t' || unicode.IsGraphic(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "<U+%04X>", r)
	}
	return b.String()
}

// visibleLines is visible for a text of several lines.
func visibleLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = visible(line)
	}
	return strings.Join(lines, "\n")
}

// fileError returns an error about a file with its name made visible, also a line
// break, which could pass for another line of output.
func fileError(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s %s: %w", p.Op, visible(p.Path), p.Err)
	}
	return err
}

// openInput opens a file that a command line names, of which "-" is standard input. name
// is the file's for a terminal.
func openInput(file string, stdin io.Reader) (in io.ReadCloser, name string, err error) {
	if file == "-" {
		return io.NopCloser(stdin), "standard input", nil
	}
	in, err = os.Open(file)
	return in, visible(file), fileError(err)
}

func isPathError(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p)
}

// withoutPath returns the cause alone of an error about a file whose name is said
// already.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
