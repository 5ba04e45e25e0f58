package pipeline

import (
	"context"
	"sync"

	"podwatch/handler/internal/alert"
)

// flights are the deliveries that are under way in this process, by sink and
// alert. The ledger knows of a delivery only when it is done, so two invocations
// with the same alert would both find nothing there, and both deliver: the same
// deletion often arrives twice within a moment, on two partitions. The zero value
// is ready; it is safe for concurrent use.
//
// Other instances are not seen. The same alert on two instances within the time
// of one delivery is shown twice.
type flights struct {
	mu       sync.Mutex
	now      map[flight]chan struct{} // closed when it has landed
	watching map[*landings]struct{}
}

// landings are the flights that have landed since [flights.watch] returned them:
// what the ledger answered about those before is outdated.
type landings struct{ seen map[flight]bool }

// watch begins to note landings, until unwatch.
func (f *flights) watch() *landings {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watching == nil {
		f.watching = map[*landings]struct{}{}
	}
	l := &landings{seen: map[flight]bool{}}
	f.watching[l] = struct{}{}
	return l
}

func (f *flights) unwatch(l *landings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watching, l)
}

func (f *flights) landed(l *landings, key flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.seen[key]
}

type flight struct{ sink, alertID string }

// alone calls deliver with those of the alerts that nobody else is delivering to
// the sink, then with those that somebody was, once that has ended, until each
// had its turn. deliver must ask the ledger about what has landed since it was
// asked. What ctx left no time to wait for is returned.
func (f *flights) alone(ctx context.Context, sink string, alerts []*alert.Alert, deliver func([]*alert.Alert)) (left []*alert.Alert) {
	for len(alerts) > 0 {
		mine, others := f.begin(sink, alerts)
		func() {
			defer f.end(sink, mine)
			if len(mine) > 0 {
				deliver(mine)
			}
		}()
		// Nothing of its own is under way while it waits: no two wait for each other.
		alerts = nil
		for _, other := range others {
			select {
			case <-other.landed:
				alerts = append(alerts, other.alert)
			case <-ctx.Done():
				left = append(left, other.alert)
			}
		}
	}
	return left
}

// An awaited alert is under way elsewhere.
type awaited struct {
	alert  *alert.Alert
	landed <-chan struct{}
}

func (f *flights) begin(sink string, alerts []*alert.Alert) (mine []*alert.Alert, others []awaited) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now == nil {
		f.now = map[flight]chan struct{}{}
	}
	for _, a := range alerts {
		key := flight{sink, a.AlertId}
		if landed, flying := f.now[key]; flying {
			others = append(others, awaited{a, landed})
			continue
		}
		f.now[key] = make(chan struct{})
		mine = append(mine, a)
	}
	return mine, others
}

func (f *flights) end(sink string, mine []*alert.Alert) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range mine {
		key := flight{sink, a.AlertId}
		close(f.now[key])
		delete(f.now, key)
		for l := range f.watching {
			l.seen[key] = true
		}
	}
}
