package kql

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A valueTest tests one value: a string, a bool or a number.
type valueTest interface {
	test(v any) bool
}

// anyTest holds when one of its tests does.
type anyTest []valueTest

func (ts anyTest) test(v any) bool {
	for _, t := range ts {
		if t.test(v) {
			return true
		}
	}
	return false
}

type never struct{}

func (never) test(any) bool { return false }

type present struct{}

func (present) test(v any) bool {
	switch v.(type) {
	case string, bool, json.Number, float64, int, int64:
		return true
	}
	return false
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
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10), true
		}
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// keywordTest tests the text of a value.
type keywordTest struct{ text fitter }

func (t keywordTest) test(v any) bool {
	if s, ok := v.(string); ok {
		return t.text.fits(s)
	}
	s, ok := scalarText(v)
	return ok && t.text.fits(s)
}

// unknownTest goes by the JSON type of the value.
type unknownTest struct {
	text    fitter // nil: no string fits
	numbers []numberRange
	yes, no bool // which of true and false fit
}

func (t *unknownTest) test(v any) bool {
	switch v := v.(type) {
	case string:
		return t.text.fits(v)
	case bool:
		return v && t.yes || !v && t.no
	}
	if len(t.numbers) == 0 {
		return false
	}
	n, ok := numberOf(v)
	if !ok {
		return false
	}
	for _, r := range t.numbers {
		if r.holds(n) {
			return true
		}
	}
	return false
}

// patternTest compiles a pattern for keywords; numbers and booleans have none.
func patternTest(typ Type, fold bool, parts []string) valueTest {
	p := newPattern(parts, fold)
	if isKeyword(typ) {
		return keywordTest{p}
	}
	return &unknownTest{text: p}
}

func keywordRangeTest(typ Type, op Op, bound string) valueTest {
	text := textRange{op, bound}
	if isKeyword(typ) {
		return keywordTest{text}
	}
	t := &unknownTest{text: text}
	if n, ok := parseNumber(bound); ok {
		t.numbers = []numberRange{{op, n}}
	}
	t.yes, t.no = booleans(op, bound)
	return t
}

// A fitter tests text.
type fitter interface {
	fits(s string) bool
}

type textRange struct {
	op    Op
	bound string
}

func (r textRange) fits(s string) bool { return compares(strings.Compare(s, r.bound), r.op) }

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
	i, whole, digits := 0, true, 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		digits++
	}
	if i < len(s) && s[i] == '.' {
		whole = false
		for i++; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
			digits++
		}
	}
	if digits == 0 {
		return number{}, false
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		whole = false
		i++
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			i++
		}
		exponent := i
		for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		}
		if i == exponent {
			return number{}, false
		}
	}
	if i < len(s) {
		return number{}, false
	}
	if whole && digits <= 18 {
		n, err := strconv.ParseInt(s, 10, 64)
		return number{whole: true, i: n, f: float64(n)}, err == nil
	}
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return number{whole: true, i: n, f: float64(n)}, true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && math.IsInf(f, 0) {
		return number{}, false // beyond what a double holds
	}
	return floatNumber(f), true
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
	case float64:
		return floatNumber(v), !math.IsNaN(v) && !math.IsInf(v, 0)
	case int:
		return number{whole: true, i: int64(v), f: float64(v)}, true
	case int64:
		return number{whole: true, i: v, f: float64(v)}, true
	case string: // numeric fields take numbers in quotes
		return parseNumber(v)
	}
	return number{}, false
}

func (n number) compare(m number) int {
	switch {
	case n.whole && m.whole && n.i < m.i, !(n.whole && m.whole) && n.f < m.f:
		return -1
	case n.whole && m.whole && n.i > m.i, !(n.whole && m.whole) && n.f > m.f:
		return 1
	}
	return 0
}

// A numberRange is a bound, or with the empty op the number itself.
type numberRange struct {
	op    Op
	bound number
}

func (r numberRange) holds(n number) bool { return compares(n.compare(r.bound), r.op) }

// numericTest tests a long or double field.
type numericTest struct {
	numberRange
	long bool // the field keeps whole numbers only
}

func (t numericTest) test(v any) bool {
	n, ok := numberOf(v)
	if !ok {
		return false
	}
	if t.long && !n.whole {
		n = floatNumber(math.Trunc(n.f)) // as Elasticsearch does on indexing
	}
	return t.holds(n)
}

func numberTest(typ Type, op Op, bound string) valueTest {
	n, ok := parseNumber(bound)
	if !ok {
		return never{}
	}
	switch {
	case typ == TypeDouble:
		n.whole = false // compared as doubles
	case op == "" && n.f != math.Trunc(n.f):
		return never{} // a long is never 1.5
	}
	return numericTest{numberRange{op, n}, typ == TypeLong}
}

// booleans tells whether true and false meet the comparison; false is the less.
func booleans(op Op, bound string) (yes, no bool) {
	switch bound {
	case "true":
		return compares(0, op), compares(-1, op)
	case "false":
		return compares(1, op), compares(0, op)
	}
	return false, false
}

type boolTest struct{ yes, no bool }

func (t boolTest) test(v any) bool {
	switch v := v.(type) {
	case bool:
		return v && t.yes || !v && t.no
	case string: // as Elasticsearch reads strings in a boolean field
		return v == "true" && t.yes || (v == "false" || v == "") && t.no
	}
	return false
}

func booleanTest(op Op, bound string) valueTest {
	yes, no := booleans(op, bound)
	if !yes && !no {
		return never{}
	}
	return boolTest{yes, no}
}

// addressTest holds from the first address to the last, both included. IPv4 is
// compared as the IPv6 addresses that it is mapped to.
type addressTest struct{ first, last netip.Addr }

func (t addressTest) test(v any) bool {
	s, ok := v.(string)
	if !ok {
		return false
	}
	a, ok := parseAddress(s)
	return ok && t.first.Compare(a) <= 0 && a.Compare(t.last) <= 0
}

func ipTest(op Op, value string) valueTest {
	if op == "" {
		if first, last, ok := parseNetwork(value); ok {
			return addressTest{first, last}
		}
	}
	a, ok := parseAddress(value)
	if !ok {
		return never{}
	}
	t := addressTest{netip.IPv6Unspecified(), lastAddress}
	switch op {
	case "":
		t.first, t.last = a, a
	case GreaterEqual:
		t.first = a
	case LessEqual:
		t.last = a
	case Greater:
		t.first = a.Next()
	case Less:
		t.last = a.Prev()
	}
	if !t.first.IsValid() || !t.last.IsValid() {
		return never{} // beyond either end
	}
	return t
}

var lastAddress = netip.AddrFrom16([16]byte(slices.Repeat([]byte{0xff}, 16)))

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

// parseNetwork reads a network in CIDR notation.
func parseNetwork(s string) (first, last netip.Addr, ok bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return first, last, false
	}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	low, high := p.Addr().As16(), p.Addr().As16()
	for i := bits; i < 128; i++ {
		low[i/8] &^= 0x80 >> (i % 8)
		high[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom16(low), netip.AddrFrom16(high), true
}
