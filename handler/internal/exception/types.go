package exception

import (
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// fieldType gives a field's type, ours first and then the event's.
func fieldType(field string) kql.Type {
	if f, ok := ours(field); ok {
		if t, err := kql.ParseType(f.Type); err == nil {
			return t
		}
	}
	return rule.FieldType(field)
}
