package alert

import (
	"fmt"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
)

// DailyID names all events of a day (in UTC) of which a rule raises one alert: those
// of one cluster with the same values in the rule's Daily fields.
func DailyID(r *rule.Rule, ev *event.Event) string {
	parts := []string{r.ID, "daily", ev.Resource().ClusterKey, ev.Time().UTC().Format("2006-01-02")}
	for _, field := range r.Daily {
		value, _ := ev.Lookup(field)
		parts = append(parts, fmt.Sprint(value))
	}
	return digest(parts...)
}
