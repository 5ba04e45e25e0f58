package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/avro/ocf"
)

const avroMagic = "Obj\x01"

// capture reads a file of Event Hubs Capture: an Avro object container of messages,
// of which the member Body is wanted.
func capture(text *bufio.Reader, yield func(Body) bool) error {
	r, err := ocf.NewReader(text)
	if err != nil {
		return fmt.Errorf("read Avro: %w", err)
	}
	defer r.Close()
	for n := int64(1); ; n++ {
		var message map[string]any
		if err := r.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read Avro, message %d: %w", n, err)
		}
		b := Body{at: n, unit: unitMessage}
		switch body := message["Body"].(type) {
		case []byte:
			b.Text = body
		case string:
			b.Text = []byte(body)
		case nil:
			if _, has := message["Body"]; !has {
				return fmt.Errorf("read Avro, message %d: it has no Body: the file is not of Event Hubs Capture", n)
			}
		default:
			return fmt.Errorf("read Avro, message %d: its Body is neither bytes nor text", n)
		}
		if len(b.Text) > 0 && !yield(b) {
			return nil
		}
	}
}
