package kql

import (
	"cmp"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A valueTest reports whether a value fits: a string, a bool or a number. A nil
// one is a test that no value passes.
type valueTest func(v any) bool

// A textTest reports whether text fits.
type textTest func(s string) bool

// anyOfTests passes what one of the tests passes.
func anyOfTests(tests []valueTest) valueTest {
	switch len(tests) {
	case 0:
		return nil
	case 1:
		return tests[0]
	}
	return func(v any) bool { return slices.ContainsFunc(tests, func(fits valueTest) bool { return fits(v) }) }
}

// scalarText returns the text of a value as a keyword field indexes it.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func present(v any) bool {
	_, ok := scalarText(v)
	return ok
}

func isKeyword(t Type) bool {
	return t == TypeKeyword || t == TypeWildcard || t == TypeFlattened
}

// byText reports whether strings in a field of type t compare as they are.
func byText(t Type) bool { return isKeyword(t) || t == TypeUnknown || t == TypeObject }

// textOrNumber compiles a test by text. Keywords are tested by their text
// alone; where the type is unknown, numbers and booleans by what they are.
func textOrNumber(typ Type, text textTest, numbers []numberRange, yes, no bool) valueTest {
	if isKeyword(typ) {
		return func(v any) bool {
			s, ok := v.(string)
			if !ok {
				s, ok = scalarText(v)
			}
			return ok && text(s)
		}
	}
	return func(v any) bool {
		switch v := v.(type) {
		case string:
			return text(v)
		case bool:
			return v && yes || !v && no
		}
		if len(numbers) == 0 {
			return false
		}
		n, ok := numberOf(v)
		return ok && slices.ContainsFunc(numbers, func(r numberRange) bool { return r.holds(n) })
	}
}

// exactTest compiles values of which one must be met exactly.
func exactTest(typ Type, fold bool, values []string) valueTest {
	var numbers []numberRange
	for _, v := range values {
		if n, ok := parseNumber(v); ok {
			numbers = append(numbers, numberRange{bound: n})
		}
	}
	return textOrNumber(typ, exactText(values, fold), numbers, slices.Contains(values, "true"), slices.Contains(values, "false"))
}

func rangeTest(typ Type, op Op, bound string) valueTest {
	var numbers []numberRange
	if n, ok := parseNumber(bound); ok {
		numbers = []numberRange{{op, n}}
	}
	yes, no := booleans(op, bound)
	return textOrNumber(typ, func(s string) bool { return compares(strings.Compare(s, bound), op) }, numbers, yes, no)
}

// compares reports whether the outcome of a comparison satisfies op; the empty
// op is equality.
func compares(c int, op Op) bool {
	switch op {
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterEqual:
		return c >= 0
	}
	return c == 0
}

// A number is a decimal number; whole ones of 64 bits are kept exactly.
type number struct {
	whole bool
	i     int64
	f     float64
}

// parseNumber reads a decimal number with an optional fraction and exponent.
// Unlike Go it refuses hexadecimals, underscores, infinities and not-a-number.
func parseNumber(s string) (number, bool) {
	whole := true
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', c == '+', c == '-':
		case c == '.', c == 'e', c == 'E':
			whole = false
		default:
			return number{}, false // strconv would also read 0x10, 1_0 and inf
		}
	}
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return number{whole: true, i: n, f: float64(n)}, true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return floatNumber(f), err == nil
}

func floatNumber(f float64) number {
	n := number{f: f}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		n.whole, n.i = true, int64(f)
	}
	return n
}

func numberOf(v any) (number, bool) {
	switch v := v.(type) {
	case json.Number:
		return parseNumber(string(v))
	case string: // numeric fields take numbers in quotes
		return parseNumber(v)
	}
	return number{}, false
}

func (n number) compare(m number) int {
	if n.whole && m.whole {
		return cmp.Compare(n.i, m.i)
	}
	return cmp.Compare(n.f, m.f)
}

// A numberRange is a bound, or with the empty op the number itself.
type numberRange struct {
	op    Op
	bound number
}

func (r numberRange) holds(n number) bool { return compares(n.compare(r.bound), r.op) }

// numberTest compiles a comparison for a long or double field.
func numberTest(typ Type, op Op, bound string) valueTest {
	n, ok := parseNumber(bound)
	switch {
	case !ok:
		return nil
	case typ == TypeDouble:
		n.whole = false // compared as doubles
	case op == "" && n.f != math.Trunc(n.f):
		return nil // a long is never 1.5
	}
	want := numberRange{op, n}
	return func(v any) bool {
		n, ok := numberOf(v)
		if typ == TypeLong && !n.whole {
			n = floatNumber(math.Trunc(n.f)) // as Elasticsearch does on indexing
		}
		return ok && want.holds(n)
	}
}

// booleans reports whether true and false meet the comparison; false is the less.
func booleans(op Op, bound string) (yes, no bool) {
	switch bound {
	case "true":
		return compares(0, op), compares(-1, op)
	case "false":
		return compares(1, op), compares(0, op)
	}
	return false, false
}

func booleanTest(op Op, bound string) valueTest {
	yes, no := booleans(op, bound)
	if !yes && !no {
		return nil
	}
	return func(v any) bool {
		switch v := v.(type) {
		case bool:
			return v && yes || !v && no
		case string: // as Elasticsearch reads strings in a boolean field
			return v == "true" && yes || (v == "false" || v == "") && no
		}
		return false
	}
}

// ipTest compiles a comparison with an address or network. IPv4 is compared as
// the IPv6 addresses that it is mapped to.
func ipTest(op Op, value string) valueTest {
	if p, err := netip.ParsePrefix(value); err == nil && op == "" {
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		return addressTest(netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), bits).Contains)
	}
	want, ok := parseAddress(value)
	if !ok || op == Less && !want.Prev().IsValid() || op == Greater && !want.Next().IsValid() {
		return nil
	}
	return addressTest(func(a netip.Addr) bool { return compares(a.Compare(want), op) })
}

func addressTest(fits func(netip.Addr) bool) valueTest {
	return func(v any) bool {
		s, ok := v.(string)
		if !ok {
			return false
		}
		a, ok := parseAddress(s)
		return ok && fits(a)
	}
}

// parseAddress reads an address in any spelling into its 16 byte form.
func parseAddress(s string) (netip.Addr, bool) {
	for i := range len(s) { // spares the error that netip makes of a host name
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' || c == '.' || c == ':') {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(a.As16()), true
}
