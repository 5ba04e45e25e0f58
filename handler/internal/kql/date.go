package kql

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Dates are compared as Elasticsearch keeps them: whole milliseconds of Unix
// time; what is finer is cut off.

// A moment is a date as a query writes it: now or an anchor, and date
// mathematics on it. A date without a time means its whole day, and so on.
type moment struct {
	now         bool
	first, last time.Time // the anchor's first and last millisecond
	steps       []dateStep
}

// A dateStep adds count units, or rounds to a unit when count is 0.
type dateStep struct {
	count int
	unit  byte // y M w d h m s
	round bool
}

// parseMoment reads an ISO date or a part of it, milliseconds since 1970, or
// date mathematics: now-5m, now/d, 2024-01-01||+1M/d.
func parseMoment(s string) (moment, bool) {
	var m moment
	rest, ok := strings.CutPrefix(s, "now")
	if ok {
		m.now = true
	} else {
		var anchor string
		anchor, rest, ok = strings.Cut(s, "||")
		first, last, valid := parseDate(anchor)
		if !valid {
			return moment{}, false
		}
		m.first, m.last = first, last
		if ok {
			m.last = first // mathematics starts from the first moment
		}
	}
	for rest != "" {
		var step dateStep
		sign := 1
		switch rest[0] {
		case '+':
		case '-':
			sign = -1
		case '/':
			step.round = true
		default:
			return moment{}, false
		}
		rest = rest[1:]
		step.count = sign
		digits := leadingDigits(rest)
		if digits > 0 {
			n, err := strconv.Atoi(rest[:digits])
			if err != nil || n > maxDateCount || step.round && n != 1 {
				return moment{}, false
			}
			step.count = sign * n
		}
		rest = rest[digits:]
		if rest == "" || strings.IndexByte("yMwdhHms", rest[0]) < 0 {
			return moment{}, false
		}
		step.unit = rest[0]
		if step.unit == 'H' {
			step.unit = 'h'
		}
		rest = rest[1:]
		m.steps = append(m.steps, step)
	}
	return m, true
}

// maxDateCount keeps date mathematics within what int64 milliseconds can hold.
const maxDateCount = 10_000_000

// at returns the first or, with last, the last millisecond that m means.
func (m moment) at(last bool, now func() time.Time) int64 {
	t := m.first
	switch {
	case m.now:
		t = now().UTC().Truncate(time.Millisecond)
	case last:
		t = m.last
	}
	for _, s := range m.steps {
		if !s.round {
			t = addUnits(t, s.unit, s.count)
			continue
		}
		t = floor(t, s.unit)
		if last {
			t = addUnits(t, s.unit, 1).Add(-time.Millisecond)
		}
	}
	return t.UnixMilli()
}

func addUnits(t time.Time, unit byte, n int) time.Time {
	switch unit {
	case 'y':
		return addMonths(t, 12*n)
	case 'M':
		return addMonths(t, n)
	case 'w':
		return t.AddDate(0, 0, 7*n)
	case 'd':
		return t.AddDate(0, 0, n)
	case 'h':
		return addSeconds(t, 3600*int64(n))
	case 'm':
		return addSeconds(t, 60*int64(n))
	}
	return addSeconds(t, int64(n))
}

// addSeconds is t.Add for more than the 292 years of a Duration.
func addSeconds(t time.Time, n int64) time.Time {
	return time.Unix(t.Unix()+n, int64(t.Nanosecond())).UTC()
}

// addMonths keeps the day, or takes the last of a shorter month.
func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	return first.AddDate(0, 0, min(t.Day(), daysIn(first.Year(), first.Month()))-1)
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func floor(t time.Time, unit byte) time.Time {
	y, month, d := t.Date()
	h, m, s := t.Clock()
	switch unit {
	case 'w': // weeks begin on Monday
		d, h, m, s = d-(int(t.Weekday())+6)%7, 0, 0, 0
	case 'y':
		month = 1
		fallthrough
	case 'M':
		d = 1
		fallthrough
	case 'd':
		h = 0
		fallthrough
	case 'h':
		m = 0
		fallthrough
	case 'm':
		s = 0
	}
	return time.Date(y, month, d, h, m, s, 0, time.UTC)
}

// parseDate reads what a date field takes: an ISO date, from the year alone to
// nine digits of a second, or milliseconds since 1970. It returns the first and
// the last millisecond of what is given. Without an offset the date is UTC.
func parseDate(s string) (first, last time.Time, ok bool) {
	if first, unit, ok := parseISO(s); ok {
		if unit == 0 {
			return first, first, true
		}
		return first, addUnits(first, unit, 1).Add(-time.Millisecond), true
	}
	ms, ok := parseMillis(s)
	if !ok {
		return first, last, false
	}
	first = time.UnixMilli(ms).UTC()
	return first, first, true
}

func parseMillis(s string) (int64, bool) {
	digits := strings.TrimPrefix(s, "-")
	if n := leadingDigits(digits); n == 0 || n < len(digits) || n > 17 {
		return 0, false
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	return ms, err == nil
}

// parseISO reads an ISO date. unit is what the date is exact to: y M d h m s,
// or 0 for a fraction of a second.
func parseISO(s string) (t time.Time, unit byte, ok bool) {
	r := digitReader{s: s, ok: true}
	var month, day, hour, minute, second, nanos, offset = 1, 1, 0, 0, 0, 0, 0
	year := r.number(4)
	unit = 'y'
	if r.skip('-') {
		month, unit = r.number(2), 'M'
		if r.skip('-') {
			day, unit = r.number(2), 'd'
			if r.skip('T') && r.s != "" {
				hour, unit = r.number(2), 'h'
				if r.skip(':') {
					minute, unit = r.number(2), 'm'
					if r.skip(':') {
						second, unit = r.number(2), 's'
						if r.skip('.') || r.skip(',') {
							nanos, unit = r.fraction(), 0
						}
					}
				}
				offset = r.offset()
			}
		}
	}
	if !r.ok || r.s != "" || month < 1 || month > 12 || day < 1 || day > daysIn(year, time.Month(month)) ||
		hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, 0, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	return t.Add(-time.Duration(offset) * time.Minute), unit, true
}

// A digitReader takes fixed parts off the front of a date; ok turns false when
// one does not fit.
type digitReader struct {
	s  string
	ok bool
}

func (r *digitReader) skip(c byte) bool {
	if r.s == "" || r.s[0] != c {
		return false
	}
	r.s = r.s[1:]
	return true
}

// number reads exactly n digits.
func (r *digitReader) number(n int) int {
	if r.ok = r.ok && len(r.s) >= n && leadingDigits(r.s[:n]) == n; !r.ok {
		return 0
	}
	v, err := strconv.Atoi(r.s[:n])
	r.ok = err == nil
	r.s = r.s[n:]
	return v
}

// fraction reads one to nine digits as nanoseconds.
func (r *digitReader) fraction() int {
	n := min(leadingDigits(r.s), 9)
	v := r.number(n)
	r.ok = r.ok && n > 0
	for ; n < 9; n++ {
		v *= 10
	}
	return v
}

// offset reads Z, +hh, +hhmm or +hh:mm as minutes; nothing is UTC.
func (r *digitReader) offset() int {
	if r.s == "" || r.skip('Z') {
		return 0
	}
	sign := 1
	switch {
	case r.skip('+'):
	case r.skip('-'):
		sign = -1
	default:
		return 0 // what is left over makes the date invalid
	}
	hours, minutes := r.number(2), 0
	if r.skip(':') || r.s != "" {
		minutes = r.number(2)
	}
	if hours > 18 || minutes > 59 {
		r.ok = false
	}
	return sign * (60*hours + minutes)
}

// millisOf returns the date of a value in a document.
func millisOf(v any) (int64, bool) {
	switch v := v.(type) {
	case string:
		first, _, ok := parseDate(v)
		return first.UnixMilli(), ok
	case json.Number:
		if first, _, ok := parseDate(string(v)); ok {
			return first.UnixMilli(), true
		}
	case bool:
		return 0, false
	}
	n, ok := numberOf(v)
	return int64(n.f), ok
}

// dateTest compiles a comparison with a date. Without an operator the value may
// lie anywhere in the unit that the date names; > and <= take the end of the
// unit, >= and < its beginning. A date without now is resolved here.
func dateTest(op Op, value string, now func() time.Time) valueTest {
	m, ok := parseMoment(value)
	if !ok {
		return nil
	}
	first, last := m.at(false, now), m.at(true, now)
	return func(v any) bool {
		ms, ok := millisOf(v)
		if !ok {
			return false
		}
		first, last := first, last
		if m.now {
			first, last = m.at(false, now), m.at(true, now)
		}
		switch op {
		case Less:
			return ms < first
		case LessEqual:
			return ms <= last
		case Greater:
			return ms > last
		case GreaterEqual:
			return ms >= first
		}
		return first <= ms && ms <= last
	}
}
