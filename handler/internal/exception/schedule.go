package exception

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // the host's image may carry no time zones

	"github.com/robfig/cron/v3"
)

// A schedule says when an exception holds.
type schedule interface {
	covers(t time.Time) bool
}

// scheduleEntry is a schedule as it stands in the file: cron, duration and
// time_zone, or from and until.
type scheduleEntry struct {
	Cron     string `yaml:"cron"`
	Duration string `yaml:"duration"`
	TimeZone string `yaml:"time_zone"`
	From     string `yaml:"from"`
	Until    string `yaml:"until"`
}

// maxDuration bounds a recurring window. Longer ones are no windows.
const maxDuration = 7 * 24 * time.Hour

func (e *scheduleEntry) compile() (schedule, error) {
	switch {
	case e == nil:
		return nil, nil
	case e.Cron != "" && (e.From != "" || e.Until != ""):
		return nil, errors.New("give cron and duration, or from and until, not both")
	case e.Cron != "":
		return e.recurring()
	}
	return e.once()
}

func (e *scheduleEntry) recurring() (schedule, error) {
	spec, err := cron.ParseStandard(e.Cron)
	if err != nil {
		return nil, fmt.Errorf("cron: %w (five fields: minute hour day-of-month month day-of-week)", err)
	}
	length, err := time.ParseDuration(e.Duration)
	if err != nil || length <= 0 || length > maxDuration {
		return nil, fmt.Errorf("duration: %q is not a duration of up to 168h (write 90m or 4h)", e.Duration)
	}
	zone, err := time.LoadLocation(e.TimeZone)
	if err != nil || e.TimeZone == "Local" {
		return nil, fmt.Errorf("time_zone: %q is not a time zone such as Europe/Amsterdam or UTC", e.TimeZone)
	}
	if e.TimeZone == "" {
		return nil, errors.New("time_zone is missing: write UTC or a zone such as Europe/Amsterdam")
	}
	fixed, ok := spec.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron: %q is an interval; a window needs times of day", e.Cron)
	}
	fixed.Location = time.UTC // it is walked in wall-clock time, see covers
	return &recurring{spec: fixed, length: length, zone: zone}, nil
}

func (e *scheduleEntry) once() (schedule, error) {
	from, errFrom := time.Parse(time.RFC3339, e.From)
	until, errUntil := time.Parse(time.RFC3339, e.Until)
	switch {
	case errFrom != nil || errUntil != nil:
		return nil, errors.New("give cron, duration and time_zone, or from and until as moments with their offset (2026-12-01T20:00:00+01:00)")
	case !from.Before(until):
		return nil, fmt.Errorf("until %s is not after from %s", e.Until, e.From)
	}
	return once{from, until}, nil
}

// once covers [from, until).
type once struct {
	from, until time.Time
}

func (o once) covers(t time.Time) bool { return !t.Before(o.from) && t.Before(o.until) }

// recurring covers the given length after each time that the cron expression
// names on the clocks of the zone.
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

func (r *recurring) covers(t time.Time) bool {
	wall := asUTC(t.In(r.zone))
	for at := r.spec.Next(wall.Add(-r.length - clockShift)); !at.IsZero() && !at.After(wall.Add(clockShift)); at = r.spec.Next(at) {
		start := r.onTheClock(at)
		if !t.Before(start) && t.Before(start.Add(r.length)) {
			return true
		}
	}
	return false
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

// asUTC reads the clock of t as if it hung in UTC.
func asUTC(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}
