package kql

import "fmt"

// A Type is how Elasticsearch maps a field; it decides what a condition on the
// field means.
type Type uint8

// The types. Unknown goes by the JSON value that is found: strings are
// keywords, numbers doubles, true and false booleans.
const (
	TypeUnknown Type = iota
	TypeKeyword
	TypeWildcard // as keyword; a pattern with blanks is one pattern
	TypeText
	TypeIP
	TypeLong
	TypeDouble
	TypeBoolean
	TypeDate
	TypeFlattened
	TypeObject
	TypeNested
	numTypes
)

var typeNames = [numTypes]string{"unknown", "keyword", "wildcard", "text", "ip", "long", "double", "boolean", "date", "flattened", "object", "nested"}

// String returns the name that [ParseType] reads.
func (t Type) String() string {
	if t < numTypes {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// ParseType reads the name of an Elasticsearch field type. Related types share
// one Type; "" is TypeUnknown. Types that KQL can say nothing about, such as
// geo_point, are an error.
func ParseType(s string) (Type, error) {
	switch s {
	case "", "unknown":
		return TypeUnknown, nil
	case "keyword", "constant_keyword":
		return TypeKeyword, nil
	case "wildcard":
		return TypeWildcard, nil
	case "text", "match_only_text":
		return TypeText, nil
	case "ip":
		return TypeIP, nil
	case "long", "integer", "short", "byte", "unsigned_long":
		return TypeLong, nil
	case "double", "float", "half_float", "scaled_float":
		return TypeDouble, nil
	case "boolean":
		return TypeBoolean, nil
	case "date", "date_nanos":
		return TypeDate, nil
	case "flattened":
		return TypeFlattened, nil
	case "object", "group":
		return TypeObject, nil
	case "nested":
		return TypeNested, nil
	}
	return TypeUnknown, fmt.Errorf("unknown field type %q (known: keyword, wildcard, text, ip, long, double, boolean, date, flattened, object, nested)", s)
}
