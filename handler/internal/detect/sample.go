package detect

import (
	"bytes"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
)

// sample reads the first record of each message and notes its source. All records
// of a message come from one exporter.
func (r *reading) sample() {
	heard := map[string]bool{}
	for i := range r.batch.Len() {
		if source := r.sourceOf(i); source != "" && !heard[source] {
			heard[source] = true
			r.Heard = append(r.Heard, source)
		}
	}
}

// sourceOf returns the source of a message, "" if its first record is none of a
// known log. A panic in here is a bug of podwatch and costs the sample: what may
// match is read once more by follow, and reported there.
func (r *reading) sourceOf(i int) (name string) {
	defer func() {
		if recover() != nil {
			name = ""
		}
	}()
	message, _ := r.batch.Message(i)
	start, end, ok := next(message, 0)
	plain, err := message.Cut(start, end).Plain(r.plain[:0])
	if !ok || err != nil {
		r.shapeless(message)
		return ""
	}
	r.plain = plain
	for ev, err := range r.events.Events(plain) {
		if err != nil {
			break
		}
		if ev.Dataset() == event.PlatformLogs {
			r.Audits++
			if ev.Cut() == event.BeforeVerb {
				r.Unread++
			}
		}
		return source(ev)
	}
	return ""
}

// shapeless counts a message in which no record was found, unless it is empty: it
// may be of a shape that podwatch does not know.
func (r *reading) shapeless(message jsontext.Text) {
	plain, err := message.Plain(nil)
	empty := err == nil
	for range export.Pieces(plain) {
		empty = false
		break
	}
	if !empty {
		r.Audits++
		r.Unread++
	}
}

// next returns where the first record at or around a position begins and ends.
// It gives up after some objects that are no record.
func next(t jsontext.Text, pos int) (start, end int, ok bool) {
	const most = 64
	for range most {
		n := bytes.IndexByte(t.Raw[pos:], '{')
		if n < 0 {
			break
		}
		pos += n
		for start, end := range export.Around(t, pos) {
			return start, end, true
		}
		pos++
	}
	return 0, 0, false
}

// source names the log that a record is from, and of which cluster or
// subscription. Names of clusters are not unique, so it has the resource id.
func source(ev *event.Event) string {
	resource := ev.Resource()
	switch {
	case ev.Dataset() == "":
		return ""
	case resource.ClusterKey != "" && ev.Dataset() == event.PlatformLogs:
		return ev.Category() + " of cluster " + resource.ClusterKey
	case resource.SubscriptionID != "":
		return ev.Dataset() + " of subscription " + resource.SubscriptionID
	}
	return ev.Dataset()
}
