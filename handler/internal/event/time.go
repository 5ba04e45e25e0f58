package event

import (
	"errors"
	"strings"
	"time"
)

// timeLayouts are the forms in which Azure writes a time. Slashed dates have
// the month first; a time without zone is UTC. Any layout takes any number of
// decimals after the seconds, and an hour of one digit.
var timeLayouts = [...]string{
	time.RFC3339,
	"2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05 Z07:00",
	"2006-01-02 15:04:05",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05 Z07:00",
	"1/2/2006 3:04:05 PM",
	"1/2/2006 3:04:05 PM Z07:00",
	"1/2/2006 3:04:05 PMZ07:00",
	"1/2/2006 15:04:05",
	"1/2/2006 15:04:05 Z07:00",
	"1/2/2006 15:04:05Z07:00",
}

var (
	errTimeForm = errors.New("unknown form")
	errTimeZero = errors.New("the first moment of year 1 stands for none")
)

// parseTime reads a time in any of Azure's forms and returns it in UTC. The
// error holds nothing of s, which is untrusted text of any length.
func parseTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if len(s) > 64 {
		return time.Time{}, errTimeForm
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		s = strings.ToUpper(s) // "9:41:00 am"
		for _, layout := range timeLayouts {
			if t, err = time.Parse(layout, s); err == nil {
				break
			}
		}
	}
	switch {
	case err != nil:
		return time.Time{}, errTimeForm
	case t.IsZero():
		return time.Time{}, errTimeZero
	}
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}, errTimeForm
	}
	return t, nil
}
