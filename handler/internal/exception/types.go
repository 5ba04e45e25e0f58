package exception

import (
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// fieldType gives a field's type, ours first and then the event's.
func fieldType(field string) kql.Type {
	name := event.Type(field)
	if f, ok := ours(field); ok {
		name = f.Type
	}
	if name == "" {
		return kql.TypeUnknown
	}
	t, err := kql.ParseType(name)
	if err != nil {
		return kql.TypeUnknown
	}
	return t
}
