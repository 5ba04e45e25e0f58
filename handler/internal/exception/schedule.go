package exception

import (
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// A schedule is when an exception holds: it yields the windows that end after t, by
// their starts.
type schedule func(t time.Time) iter.Seq[Window]

func (s schedule) covers(t time.Time) bool {
	for w := range s(t) {
		if !w.Start.After(t) {
			return true
		}
		if w.Start.Sub(t) > clockShift {
			break // only near a change of the clocks are starts out of order
		}
	}
	return false
}

// A Window is a time in which an exception holds: [Start, End), in the zone of its
// schedule.
type Window struct{ Start, End time.Time }

// maxDuration bounds a recurring window. Longer ones are no windows.
const maxDuration = 7 * 24 * time.Hour

// schedule reads cron, duration and time_zone, or from and until.
func (s *source) schedule(x *Exception, v value) schedule {
	before := len(s.mistakes)
	t := s.table(v, "cron", "duration", "time_zone", "from", "until")
	recurs, once := t.has("cron"), t.has("from") || t.has("until")
	if recurs && once {
		s.mistake(v.at, "schedule: give cron, duration and time_zone, or from and until, not both")
	}
	for _, name := range []string{"duration", "time_zone"} {
		if once && !recurs && t.has(name) {
			s.mistake(t.keys[name].at, "schedule: %s has no effect beside from and until: their offset is their zone", name)
		}
	}
	if len(s.mistakes) > before {
		return nil
	}
	if recurs {
		return s.recurring(x, t)
	}
	return s.once(t)
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

func (s *source) recurring(x *Exception, t *table) schedule {
	field, duration, name := t.text("cron"), t.required("duration", ": write 90m or 4h"), t.required("time_zone", ": write UTC or a zone such as Europe/Amsterdam")
	spec, err := parseCron(field.text)
	if err != nil {
		s.mistake(field.at, "schedule: cron: %v", err)
	}
	length, err := time.ParseDuration(duration.text)
	if duration.text != "" && (err != nil || length <= 0 || length > maxDuration) {
		s.mistake(duration.at, "schedule: duration: %q is not a duration of up to 168h (write 90m or 4h)", duration.text)
	}
	zone, err := loadZone(name.text)
	if name.text != "" && err != nil {
		s.mistake(name.at, "schedule: time_zone: %q is not a time zone such as Europe/Amsterdam or UTC", name.text)
	}
	if spec == nil || length <= 0 || zone == nil {
		return nil
	}
	r := &recurring{spec: spec, length: length, zone: zone}
	s.lintSchedule(x, r, field, name)
	return r.windows
}

// parseCron reads a cron expression of five fields, or one such as @daily. It
// returns a schedule in UTC, see [recurring].
func parseCron(text string) (*cron.SpecSchedule, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		return nil, fmt.Errorf("%q has a second time zone: give it as time_zone alone", text)
	}
	spec, err := cronParser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w (five fields: minute hour day-of-month month day-of-week)", err)
	}
	fixed, ok := spec.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("%q is an interval; a window needs times of day", text)
	}
	fixed.Location = time.UTC
	return fixed, nil
}

// fixedOffset matches zones without summer time. Those of Etc have the sign of
// POSIX: Etc/GMT+2 is two hours behind UTC.
var fixedOffset = regexp.MustCompile(`^(Etc/GMT[+-][0-9]+|EST|MST|HST)$`)

// lintSchedule warns of windows that are other than they look.
func (s *source) lintSchedule(x *Exception, r *recurring, field, zone value) {
	if days := strings.Fields(field.text); len(days) == 5 && restricts(days[2]) && restricts(days[4]) {
		s.warn(x, field.at, "schedule: cron: day of month and day of week are both set, and cron takes either: it also holds on every %s", days[4])
	}
	if fixedOffset.MatchString(zone.text) {
		_, offset := time.Unix(0, 0).In(r.zone).Zone()
		s.warn(x, zone.at, "schedule: time_zone: %s is %+d hours from UTC all year, without summer time: name a place, such as Europe/Amsterdam", zone.text, offset/3600)
	}
	now := time.Now()
	previous := Window{}
	for w := range r.windows(now) {
		if w.Start.Before(previous.End) {
			s.warn(x, field.at, "schedule: cron: the windows overlap: one of %s starts at %s and the next at %s",
				r.length, previous.Start.Format("15:04"), w.Start.Format("15:04"))
			break
		}
		if previous = w; w.Start.After(now.AddDate(1, 0, 0)) {
			break
		}
	}
	switch {
	case previous.End.IsZero():
		s.warn(x, field.at, "schedule: cron: no such day within five years, so it never holds")
	case schedule(r.windows).share(now) > 0.999:
		s.warn(x, field.at, "schedule: it is always on: remove it, or make duration shorter than the time between two starts")
	}
}

// restricts reports whether a field of a cron expression leaves days out.
func restricts(field string) bool { return field[0] != '*' && field[0] != '?' }

// Windows returns the next windows that end after t, n at most. An exception
// without a schedule has none.
func (e *Exception) Windows(t time.Time, n int) []Window {
	var next []Window
	if e.schedule == nil {
		return nil
	}
	for w := range e.schedule(t) {
		if next = append(next, w); len(next) == n {
			break
		}
	}
	return next
}

// Share is the part of the year after t in which the exception holds, by its
// schedule.
func (e *Exception) Share(t time.Time) float64 {
	if e.schedule == nil {
		return 1
	}
	return e.schedule.share(t)
}

func (s schedule) share(t time.Time) float64 {
	end := t.AddDate(1, 0, 0)
	var covered time.Duration
	reached := t
	for w := range s(t) {
		if !w.Start.Before(end) {
			break
		}
		if w.Start.After(reached) {
			reached = w.Start
		}
		if w.End.After(end) {
			w.End = end
		}
		if w.End.After(reached) {
			covered += w.End.Sub(reached)
			reached = w.End
		}
	}
	return float64(covered) / float64(end.Sub(t))
}

func (s *source) once(t *table) schedule {
	const moments = "give cron, duration and time_zone, or from and until as moments with their offset (2026-12-01T20:00:00+01:00)"
	if !t.has("from") || !t.has("until") {
		s.mistake(t.at, "schedule: %s", moments)
		return nil
	}
	from, until := t.text("from"), t.text("until")
	start, err1 := time.Parse(time.RFC3339, from.text)
	end, err2 := time.Parse(time.RFC3339, until.text)
	switch {
	case err1 != nil:
		s.mistake(from.at, "schedule: from: %q: %s", from.text, moments)
	case err2 != nil:
		s.mistake(until.at, "schedule: until: %q: %s", until.text, moments)
	case !start.Before(end):
		s.mistake(until.at, "schedule: until %s is not after from %s", until.text, from.text)
	}
	return func(t time.Time) iter.Seq[Window] {
		return func(yield func(Window) bool) {
			if end.After(t) {
				yield(Window{start, end})
			}
		}
	}
}

// A recurring schedule has windows of the given length after each time that the cron
// expression names on the clocks of the zone.
//
// When clocks go forward, a window that would begin in the hour that does not
// exist begins as much later as the clocks moved; when they go back, a window
// that begins in the hour that comes twice begins the first time. Its length is
// always in real hours.
type recurring struct {
	spec   cron.Schedule
	length time.Duration
	zone   *time.Location
}

// clockShift is more than clocks are ever moved.
const clockShift = 3 * time.Hour

func (r *recurring) windows(t time.Time) iter.Seq[Window] {
	return func(yield func(Window) bool) {
		for at := r.spec.Next(asUTC(t.In(r.zone)).Add(-r.length - clockShift)); !at.IsZero(); at = r.spec.Next(at) {
			start := r.onTheClock(at).In(r.zone)
			if end := start.Add(r.length); end.After(t) && !yield(Window{start, end}) {
				return
			}
		}
	}
}

// onTheClock returns the first moment at which the clocks of the zone show what
// at shows in UTC. For a time that they skip it goes by the clock before the
// change.
func (r *recurring) onTheClock(at time.Time) time.Time {
	moment := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, r.zone)
	_, before := moment.Add(-clockShift).Zone()
	first := at.Add(-time.Duration(before) * time.Second)
	if asUTC(first.In(r.zone)).Equal(at) || !asUTC(moment).Equal(at) {
		return first
	}
	return moment
}

// asUTC reads the clock of t as if it were in UTC.
func asUTC(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}
