package files

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// A table makes JSON records of rows and gathers them to bodies, one a line.
type table struct {
	columns []string
	yield   func(Body) bool
	body    Body
	rows    int64
	done    bool // the reader of the bodies wants no more
}

func newTable(columns []string, yield func(Body) bool) *table {
	t := &table{yield: yield, body: Body{at: 1, unit: unitRow}}
	for _, c := range columns {
		// The portal writes "TimeGenerated [UTC]".
		name, _, _ := strings.Cut(strings.TrimSpace(c), " [")
		t.columns = append(t.columns, name)
	}
	return t
}

// add takes a row.
func (t *table) add(cells []any) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, cell := range cells {
		name := fmt.Sprintf("column %d", i+1)
		if i < len(t.columns) {
			name = t.columns[i]
		}
		if text, ok := cell.(string); ok && strings.EqualFold(name, "TimeGenerated") {
			cell = strings.Replace(text, ", ", " ", 1) // 11/9/2026, 8:14:22.123 AM
		}
		key, _ := json.Marshal(name)   // a text
		value, _ := json.Marshal(cell) // a text, or read from JSON
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteString("}\n")
	if len(t.body.Text) > 0 && len(t.body.Text)+b.Len() > window {
		t.flush()
	}
	t.body.Text = append(t.body.Text, b.Bytes()...)
	t.rows++
}

// flush hands over what was gathered.
func (t *table) flush() {
	if len(t.body.Text) > 0 && !t.done {
		t.done = !t.yield(t.body)
	}
	t.body.Text, t.body.at = t.body.Text[:0], t.rows+1
}

// columnName fits the names of columns, also in reports that are not of Log
// Analytics.
var columnName = regexp.MustCompile(`^[\pL_][\pL\pN _.\[\]()/@-]*$`)

// startsRows reports whether text begins with the header of a CSV file.
func startsRows(start []byte) bool {
	comma, columns := header(start)
	return comma != 0 && !slices.ContainsFunc(columns, func(c string) bool { return !columnName.MatchString(c) })
}

// header reads the first line of CSV. comma is 0 if it has a single column.
func header(start []byte) (comma rune, columns []string) {
	line, _, _ := bytes.Cut(withoutType(start), []byte("\n"))
	most := 0
	for _, c := range ",;\t" {
		r := csv.NewReader(bytes.NewReader(line))
		r.Comma = c
		if cells, err := r.Read(); err == nil && len(cells) > max(most, 1) {
			comma, columns, most = c, cells, len(cells)
		}
	}
	return comma, columns
}

// withoutType returns text without the line that PowerShell's Export-Csv begins with.
func withoutType(text []byte) []byte {
	if bytes.HasPrefix(text, []byte("#TYPE ")) {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text
}

// rows reads CSV whose first line names the columns, as Log Analytics exports it.
func rows(text *bufio.Reader, yield func(Body) bool) error {
	start, _ := text.Peek(headerSize)
	if _, err := text.Discard(len(start) - len(withoutType(start))); err != nil {
		return err
	}
	comma, _ := header(start)
	bounded := &boundedRow{in: text}
	r := csv.NewReader(bounded)
	r.Comma, r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = comma, -1, true, true
	columns, err := r.Read()
	if err != nil {
		return fmt.Errorf("read CSV: %w", err)
	}
	t := newTable(columns, yield)
	defer t.flush()
	var cells []any
	for !t.done {
		bounded.begin = r.InputOffset()
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read CSV: %w", err)
		}
		cells = cells[:0]
		for _, cell := range row {
			cells = append(cells, cell)
		}
		t.add(cells)
	}
	return nil
}

// A boundedRow reads no row that is longer than a body may be: a quote that is
// missing would make one of the rest of the file.
type boundedRow struct {
	in          io.Reader
	read, begin int64
}

func (b *boundedRow) Read(p []byte) (int, error) {
	if b.read-b.begin > maxText {
		return 0, fmt.Errorf("the row that begins at byte %d is longer than %d bytes: a quote may be missing", b.begin, maxText)
	}
	n, err := b.in.Read(p)
	b.read += int64(n)
	return n, err
}

// tablesStart begins the answer of the Log Analytics API.
var tablesStart = regexp.MustCompile(`^\s*\{\s*"(?i:tables)"\s*:\s*\[`)

// tables reads the answer of the Log Analytics API: {"tables": [{"name",
// "columns": [{"name", "type"}, ...], "rows": [[...], ...]}, ...]}.
func tables(text *bufio.Reader, yield func(Body) bool) error {
	d := json.NewDecoder(text)
	d.UseNumber()
	if err := readTables(d, yield); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read tables of Log Analytics: %w", err)
	}
	return nil
}

func readTables(d *json.Decoder, yield func(Body) bool) error {
	var t *table
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		switch strings.ToLower(name) {
		case "columns":
			var columns []struct{ Name, ColumnName string }
			if err := d.Decode(&columns); err != nil {
				return err
			}
			var names []string
			for _, c := range columns {
				names = append(names, c.Name+c.ColumnName)
			}
			t = newTable(names, yield)
		case "rows":
			if t == nil {
				return errors.New("rows before their columns")
			}
			err := readRows(d, t)
			t.flush()
			if err != nil || t.done {
				return err
			}
		}
	}
}

// readRows reads an array of arrays.
func readRows(d *json.Decoder, t *table) error {
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() && !t.done {
		var cells []any
		if err := d.Decode(&cells); err != nil {
			return err
		}
		t.add(cells)
	}
	if t.done {
		return nil
	}
	_, err := d.Token()
	return err
}
