package kql

import (
	"cmp"
	"encoding/json"
	"regexp"
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

// A dateStep adds count units, or rounds to a unit.
type dateStep struct {
	count int
	unit  byte // y M w d h m s
	round bool
}

// Counts of up to seven digits keep date mathematics within what int64
// milliseconds can hold.
var stepPattern = regexp.MustCompile(`^(?:([-+])([0-9]{0,7})|/1?)([yMwdhHms])`)

// parseMoment reads an ISO date or a part of it, milliseconds since 1970, or
// date mathematics: now-5m, now/d, 2024-01-01||+1M/d.
func parseMoment(s string) (m moment, ok bool) {
	anchor, steps, mathematics := strings.Cut(s, "||")
	if rest, now := strings.CutPrefix(s, "now"); now {
		m.now, steps = true, rest
	} else if m.first, m.last, ok = parseDate(anchor); !ok {
		return moment{}, false
	} else if mathematics {
		m.last = m.first // it starts from the first moment
	}
	for steps != "" {
		step := stepPattern.FindStringSubmatch(steps)
		if step == nil {
			return moment{}, false
		}
		count, _ := strconv.Atoi(step[1] + cmp.Or(step[2], "1")) // the pattern takes numbers alone
		m.steps = append(m.steps, dateStep{count, strings.Replace(step[3], "H", "h", 1)[0], steps[0] == '/'})
		steps = steps[len(step[0]):]
	}
	return m, true
}

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
	}
	return time.Unix(t.Unix()+int64(n)*secondsOf[unit], int64(t.Nanosecond())).UTC() // Add is for 292 years at most
}

var secondsOf = map[byte]int64{'w': 7 * 86400, 'd': 86400, 'h': 3600, 'm': 60, 's': 1}

// addMonths keeps the day, or takes the last of a shorter month.
func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	return first.AddDate(0, 0, min(t.Day(), first.AddDate(0, 1, -1).Day())-1)
}

// floor rounds down to a unit. Weeks begin on Monday, as the first one of package time.
func floor(t time.Time, unit byte) time.Time {
	switch unit {
	case 'y':
		return time.Date(t.Year(), time.January, 1, 0, 0, 0, 0, time.UTC)
	case 'M':
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	return t.Truncate(time.Duration(secondsOf[unit]) * time.Second)
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
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] == '+' || len(strings.TrimPrefix(s, "-")) > 17 {
		return first, last, false
	}
	first = time.UnixMilli(ms).UTC()
	return first, first, true
}

// isoLayouts are the layouts of an ISO date without its offset, by their length,
// and what such a date is exact to.
var isoLayouts = map[int]struct {
	text string
	unit byte
}{
	4: {"2006", 'y'}, 7: {"2006-01", 'M'}, 10: {"2006-01-02", 'd'}, 11: {"2006-01-02T", 'd'},
	13: {"2006-01-02T15", 'h'}, 16: {"2006-01-02T15:04", 'm'}, 19: {"2006-01-02T15:04:05", 's'},
}

// parseISO reads an ISO date. unit is what the date is exact to: y M d h m s,
// or 0 for a fraction of a second.
func parseISO(s string) (t time.Time, unit byte, ok bool) {
	// As events have it: the library is twice as fast there.
	if n := len("2006-01-02T15:04:05"); len(s) > n && len(s) <= n+len(".123456789Z") && (s[n] == 'Z' || s[n] == '.') && s[len(s)-1] == 'Z' {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			if s[n] == 'Z' {
				unit = 's'
			}
			return t, unit, true
		}
	}
	date, offset := s, ""
	if i := strings.LastIndexAny(s, "Z+-"); i > len("2006-01-02T") {
		date, offset = s[:i], s[i:]
	}
	seconds, fraction := date, strings.IndexAny(date, ".,")
	if fraction >= 0 {
		seconds = date[:fraction]
	}
	layout, ok := isoLayouts[len(seconds)]
	minutes, valid := parseOffset(offset)
	if !ok || !valid || fraction >= 0 && (layout.unit != 's' || len(date)-fraction > len(".123456789")) {
		return time.Time{}, 0, false
	}
	t, err := time.Parse(layout.text, date) // takes the fraction, too
	if unit = layout.unit; fraction >= 0 {
		unit = 0
	}
	return t.Add(-time.Duration(minutes) * time.Minute), unit, err == nil
}

// parseOffset reads Z, +hh, +hhmm or +hh:mm as minutes; nothing is UTC.
func parseOffset(s string) (minutes int, ok bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	digits := strings.Replace(s[1:], ":", "", 1)
	n, err := strconv.Atoi(digits)
	switch len(digits) {
	case 2:
		minutes = 60 * n
	case 4:
		minutes = 60*(n/100) + n%100
	default:
		return 0, false
	}
	ok = err == nil && strings.Trim(digits, "0123456789") == "" && n%100 < 60 && minutes < 19*60
	if s[0] == '-' {
		minutes = -minutes
	}
	return minutes, ok
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
		case Less, GreaterEqual:
			return compares(cmp.Compare(ms, first), op)
		case LessEqual, Greater:
			return compares(cmp.Compare(ms, last), op)
		}
		return first <= ms && ms <= last
	}
}
