package detect

import (
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
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
	first, ok := export.First(r.batch.Message(i))
	if !ok {
		return ""
	}
	plain, err := first.Plain(r.plain[:0])
	if err != nil {
		return ""
	}
	r.plain = plain
	for ev, err := range r.events.Events(plain) {
		if err == nil {
			return source(ev)
		}
	}
	return ""
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
