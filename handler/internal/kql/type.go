package kql

import (
	"fmt"
	"slices"
	"strings"
)

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

// relatedTypes are Elasticsearch's names of types that share a Type.
var relatedTypes = map[string]Type{
	"": TypeUnknown, "constant_keyword": TypeKeyword, "match_only_text": TypeText,
	"integer": TypeLong, "short": TypeLong, "byte": TypeLong, "unsigned_long": TypeLong,
	"float": TypeDouble, "half_float": TypeDouble, "scaled_float": TypeDouble,
	"date_nanos": TypeDate, "group": TypeObject,
}

// String returns the name that [ParseType] reads.
func (t Type) String() string {
	if t < numTypes {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// ParseType reads the name of an Elasticsearch field type; "" is TypeUnknown.
// Types that KQL has no conditions for, such as geo_point, are an error.
func ParseType(s string) (Type, error) {
	if i := slices.Index(typeNames[:], s); i >= 0 {
		return Type(i), nil
	}
	if t, ok := relatedTypes[s]; ok {
		return t, nil
	}
	return TypeUnknown, fmt.Errorf("unknown field type %q (known: %s)", s, strings.Join(typeNames[1:], ", "))
}
