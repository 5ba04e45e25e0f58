package detect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
)

// A reading is the work on one batch.
type reading struct {
	*Detector
	Result
	batch  Batch
	done   int             // all before this position has been read
	raised map[string]bool // ids of the findings
	kept   int             // bytes of messages that pieces share

	all   bool   // every record is read, whether a rule may match it or not
	first Record // what the first event of the record that was read last says

	deletions []place // by routine

	// Reused from record to record.
	rereader
	whole   []byte // a message
	matches []rule.Match
}

// follow goes from hit to hit. The search goes on behind the record of each.
func (r *reading) follow() {
	for _, hit := range r.batch.Hits() {
		if hit.Long > 0 && hit.Pos >= r.done && tellsRequest(r.batch.Text(), hit) {
			r.Audits++
			continue
		}
		for pos := max(hit.Pos, r.done); pos < hit.End; pos = r.done {
			r.done = pos + 1 // at least
			r.open(pos)
		}
	}
}

// maxLong bounds what is read before a hit in a very long string to find where that
// begins, in bytes.
const maxLong = 64 << 10

// tellsRequest reports whether the string around a hit is an audit text that tells
// what rules about cut events look for: were it there, it would be a hit of its own.
func tellsRequest(t jsontext.Text, hit prefilter.Hit) bool {
	if hit.Long > maxLong {
		return false
	}
	for i := max(0, hit.Pos-hit.Long); i < hit.Pos; {
		i = t.Space(i)
		if t.Kind(i) == jsontext.String {
			v := t.Value(i)
			if v.End > hit.Pos {
				return !v.Truncated && event.TellsRequest(v.Content())
			}
			i = v.End
		} else if n := jsontext.Scalar(t.Raw[i:]); n > 0 {
			i += n
		} else if bytes.IndexByte([]byte("{}[],:"), t.Raw[i]) >= 0 {
			i++
		} else {
			return false
		}
	}
	return false
}

// open reads the record around a position: the smallest object there that is a
// record of a known log. Where none is found in place, it reads the whole message.
func (r *reading) open(pos int) {
	text := r.batch.Text()
	for start, end := range export.Around(text, pos) {
		if r.read(piece{Text: text.Cut(start, end), at: start}) {
			r.done = end
			return
		}
	}
	if i := r.batch.At(pos); i >= 0 {
		r.message(i)
	}
}

// message reads all records of a message in which the rules may match.
func (r *reading) message(i int) {
	text, end := r.batch.Message(i)
	r.done = end
	whole := piece{Text: text, at: end - len(text.Raw), whole: true, message: i}
	plain, err := text.Plain(r.whole[:0])
	if err != nil {
		r.unreadable(whole, err.Error())
		return
	}
	r.whole = plain
	tells := r.all || r.tells(plain)
	findings, unreadable, deletions := len(r.Findings), len(r.Unreadable), len(r.deletions)
	for p := range export.Pieces(plain) {
		it := whole
		it.Text, it.offset, it.mended = jsontext.Text{Raw: p.JSON}, p.Offset, p.Mended
		before := r.Result
		switch {
		case p.Reason != "":
			if tells {
				r.unreadable(it, p.Reason)
			}
		case r.all:
			it.at += p.Offset
			r.read(it)
		case len(hits(r.filter, p.JSON)) > 0:
			r.read(it)
		}
		if r.all {
			r.note(it, before)
		}
	}
	if r.kept+len(plain) > maxKept && len(r.Unreadable) > unreadable && !r.all {
		first := r.Unreadable[unreadable].Reason
		r.Unreadable = append(r.Unreadable[:unreadable], whole.unreadable(first))
		unreadable++
	}
	if len(r.Findings) > findings || len(r.Unreadable) > unreadable || len(r.deletions) > deletions {
		r.whole = nil // they share it
		r.kept += len(plain)
	}
}

// note adds to the records what came of a piece since before.
func (r *reading) note(p piece, before Result) {
	it := r.first
	it.Offset, it.Text, it.Findings = p.offset, p.Raw, len(r.Findings)
	it.Routine, it.Repeats = r.Routine-before.Routine, r.Repeats-before.Repeats
	if n := len(before.Unreadable); len(r.Unreadable) > n {
		it.Unread = r.Unreadable[n].Reason
	}
	r.Records, r.first = append(r.Records, it), Record{}
}

// maxKept bounds the unquoted messages that the unreadable pieces of a batch share,
// in bytes. Beyond it a message is reported whole, as the batch has it: a body of
// nothing but unreadable messages would otherwise be in memory twice.
const maxKept = 4 << 20

// hits returns where the filter finds something in plain text.
func hits(filter *prefilter.Filter, text []byte) []prefilter.Hit {
	search := filter.Search(0)
	search.More(text, true)
	return search.Hits()
}

// tells reports whether plain text has the words of a rule, or encodes some, or what
// cannot be decoded.
func (r *reading) tells(text []byte) bool { return len(hits(r.words, text)) > 0 || r.encodes(text) }

// maxDecoded bounds what the strings of a message that encode something are decoded to.
const maxDecoded = 8 << 20

// encodes reports whether a string in text encodes words of a rule, or what cannot be
// decoded.
func (r *reading) encodes(text []byte) bool {
	left := maxDecoded
	for _, hit := range hits(r.coded, text) {
		code := text[hit.Pos+1:] // behind a quote
		if n := bytes.IndexByte(code, '"'); n >= 0 {
			code = code[:n]
		}
		plain, _, err := jsontext.Decoded(bytes.ReplaceAll(code, []byte(`\`), nil), left)
		if left -= len(plain); err != nil || left <= 0 || hit.End == len(text) || r.words.Contains(plain) {
			return true
		}
	}
	return false
}

// A piece is text of a message that may be a record.
type piece struct {
	jsontext.Text
	at      int    // where it begins in the text of the batch, or a whole message does
	whole   bool   // taken from a message that was read as a whole
	message int    // index of that message
	offset  int    // in that message
	mended  string // what was mended, in words
	inner   bool   // in a record of another log
}

// read evaluates the events of a record. It reports whether the record is one of a
// known log and well-formed; one that is not is evaluated only if it is whole. A
// panic in here is a bug of podwatch and costs the record.
func (r *reading) read(p piece) (known bool) {
	defer func() {
		if cause := recover(); cause != nil {
			r.panicked(p, cause)
			known = true
		}
	}()
	record := p.Raw
	if p.Depth > 0 {
		plain, err := p.Plain(r.plain[:0])
		if err != nil {
			return false
		}
		r.plain, record = plain, plain
	}
	if !p.whole && !wellFormed(record) {
		return false
	}
	n := 0
	var inner [][]byte
	for ev, err := range r.events.Events(record) {
		switch {
		case err != nil && !p.whole:
			return false // not valid JSON: it may be mended with the whole message
		case err != nil:
			r.unreadable(p, err.Error())
			return true
		}
		if known = ev.Dataset() != ""; !known && !p.whole {
			return false
		}
		r.evaluate(p, ev, n)
		tells := !ev.HasAudit() && r.tells(ev.Raw()) // of something else than an audit event
		var within [][]byte
		if tells && !p.inner && len(r.matches) == 0 && known {
			within = export.Within(ev.Raw())
		}
		if within == nil {
			r.judge(p, ev, n, tells)
		}
		inner = append(inner, within...)
		n++
	}
	r.Opened++
	if len(inner) > 0 && !p.whole {
		p.message, p.whole = r.batch.At(p.at), true // which costs a walk over the batch
	}
	for _, text := range inner {
		p.Text, p.inner, p.mended = jsontext.Text{Raw: text}, true, "it was in a record of another log"
		r.read(p)
	}
	return true
}

// wellFormed reports whether the strings of a record that was found in place are
// JSON, which export.Around does not check. What is not well-formed must be mended.
func wellFormed(record []byte) bool {
	escapes, control := jsontext.CheckStrings(record)
	return escapes && utf8.Valid(record) && (!control || json.Valid(record))
}

// evaluate notes the rules that an event matches.
func (r *reading) evaluate(p piece, ev *event.Event, n int) {
	r.Logs[ev.Dataset()]++
	if n == 0 {
		r.first = Record{Dataset: ev.Dataset(), Metric: ev.Metric()}
	}
	r.matches = r.rules.Match(r.matches[:0], ev)
	for _, m := range r.matches {
		r.Matches++
		if m.Routine {
			r.Routine++
			r.noteRoutine(p, n)
			if !r.routine {
				continue
			}
		}
		id := alert.ID(m.Rule.ID, ev)
		if len(m.Rule.Daily) > 0 {
			id = alert.DailyID(m.Rule, ev)
		}
		r.find(m, id, p, n)
	}
}

// find notes a finding, unless the batch has it already.
func (r *reading) find(m rule.Match, id string, p piece, n int) {
	if r.raised[id] {
		r.Repeats++
		return
	}
	r.raised[id] = true
	f := alert.Finding{Match: m, ID: id, Record: p.Text, At: p.at, Nth: n}
	if p.mended != "" {
		f.Notes = append(f.Notes, "the record was mended: "+p.mended)
	}
	r.Findings = append(r.Findings, f)
}

// judge reports an event of which a rule may have missed something: one that tells of
// something else than an audit event, or is cut. A client that
// made its audit record so long that it was cut before its verb is also one finding
// per cluster and hour.
func (r *reading) judge(p piece, ev *event.Event, n int, tells bool) {
	if reason := r.unreadPart(p, ev, tells); reason != "" {
		r.unreadable(p, reason)
		if ev.Cut() == event.BeforeVerb && len(ev.Raw()) >= prefilter.Stretch {
			hour := ev.Time().UTC().Truncate(time.Hour).Format(time.RFC3339)
			own := alert.Unreadable
			r.find(rule.Match{Rule: own, Severity: own.Severity, RiskScore: own.RiskScore}, alert.Key(own.ID, ev.Resource().ClusterKey, hour), p, n)
		}
	} else if ev.Dataset() == event.PlatformLogs {
		r.Audits++
	}
}

// unreadPart returns why an event, or a part of it that a rule may match, is
// unreadable; "" if all of it was read.
func (r *reading) unreadPart(p piece, ev *event.Event, tells bool) string {
	switch {
	case ev.Cut() == event.BeforeVerb:
		return "the audit text does not tell what was done and to what: it is missing, cut or malformed before that"
	case len(ev.Unread()) > 0 && r.tells(ev.Unread()):
		return "the audit text has a part that is no audit event"
	case !tells:
		return "" // read, or nothing that a rule may look for
	case ev.Dataset() != "" && (r.audits.Contains(ev.Raw()) || r.encodes(ev.Raw())):
		return "a record of another log, or in another form, with an audit event that no rule sees"
	case ev.Dataset() == "" && len(r.matches) == 0 && r.filter != nil && !ev.Metric() && !p.inner:
		return "an object of no known log, with text that a rule looks for"
	}
	return ""
}

func (r *reading) panicked(p piece, cause any) {
	r.unreadable(p, fmt.Sprintf("panic while the record was read; this is a bug in podwatch: %v\n%s", cause, debug.Stack()))
}

func (r *reading) unreadable(p piece, reason string) {
	r.Audits++
	r.Unread++
	if !p.whole {
		p.message = r.batch.At(p.at)
	}
	r.Unreadable = append(r.Unreadable, p.unreadable(reason))
}

func (p piece) unreadable(reason string) Unreadable {
	return Unreadable{Message: p.message, Offset: p.offset, Reason: reason, Text: p.Text}
}
