package detect

import (
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
)

// Plain returns a batch of one message that is not quoted, all of which is to be
// read: the body of a message from a file or an event hub. Its Result tells of each
// record.
func Plain(body []byte) Batch { return plain(body) }

type plain []byte

func (p plain) Text() jsontext.Text   { return jsontext.Text{Raw: p} }
func (p plain) Hits() []prefilter.Hit { return []prefilter.Hit{{Pos: 0, End: len(p)}} }
func (p plain) Len() int              { return 1 }
func (p plain) At(int) int            { return 0 }

func (p plain) Message(int) (jsontext.Text, int) { return p.Text(), len(p) }
