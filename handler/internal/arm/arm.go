// Package arm parses Azure resource ids and the GUIDs in them.
//
// [Pairs] reads any text as an id and never fails: ids come from records, in any
// case, truncated or with parts missing. [Parse] accepts only what names a
// subscription, a resource group or a resource, so that a parsed [ID] can be
// part of a request's path. Ids are compared by [ID.Key], ignoring case.
//
// azcore has such a parser, too; it would bring 29 packages of Azure's modules
// below the packages that only read text. A test compares both.
package arm

import (
	"iter"
	"strings"
)

// A Pair is a word of an id and what follows it: "subscriptions" and the
// subscription, "providers" and the provider, a type and a name.
type Pair struct {
	Key, Value  string
	KeyEnd, End int // offsets in the id after each; equal when the value is missing
}

// maxPairs bounds the work on a hostile id; Azure's ids have fewer than 10 pairs.
const maxPairs = 32

// Pairs returns the pairs of an id in order. Repeated slashes count as one, and
// the last pair may lack its value.
func Pairs(id string) iter.Seq[Pair] {
	return func(yield func(Pair) bool) {
		at := 0
		for range maxPairs {
			var p Pair
			if p.Key, p.KeyEnd = segment(id, at); p.Key == "" {
				return
			}
			p.Value, p.End = segment(id, p.KeyEnd)
			if p.Value == "" {
				p.End = p.KeyEnd
			}
			if !yield(p) {
				return
			}
			at = p.End
		}
	}
}

// segment returns the first segment of id that begins at or after at, and the
// offset after it.
func segment(id string, at int) (text string, end int) {
	for at < len(id) && id[at] == '/' {
		at++
	}
	end = len(id)
	if n := strings.IndexByte(id[at:], '/'); n >= 0 {
		end = at + n
	}
	return id[at:end], end
}

// An ID is the id of a subscription, a resource group or a resource, in the
// spelling of its source. The zero value names nothing.
type ID struct {
	Subscription string
	Group        string // resource group
	Provider     string // "Microsoft.Kubernetes"; of an extension resource its own
	Type         string // "connectedClusters/namespaces"
	Name         string // of the last type; of a resource group or subscription "", see Group

	text string
}

// Parse reads an id that names a subscription, a resource group or a resource
// and whose names hold only what names can.
func Parse(s string) (ID, bool) {
	s = strings.TrimRight(s, "/")
	id := ID{text: s}
	if !strings.HasPrefix(s, "/") || strings.Contains(s, "//") || strings.ContainsFunc(s, forbidden) {
		return ID{}, false
	}
	n := 0
	for p := range Pairs(s) {
		switch {
		case p.Value == "" || odd(p.Key) || odd(p.Value) || n+1 == maxPairs:
			return ID{}, false
		case strings.EqualFold(p.Key, "providers"):
			if id.Provider != "" && id.Type == "" {
				return ID{}, false
			}
			id.Provider, id.Type, id.Name = p.Value, "", ""
		case id.Provider != "":
			id.Type, id.Name = strings.TrimPrefix(id.Type+"/"+p.Key, "/"), p.Value
		case n == 0 && strings.EqualFold(p.Key, "subscriptions"):
			id.Subscription = p.Value
		case n == 1 && strings.EqualFold(p.Key, "resourceGroups"):
			id.Group = p.Value
		default:
			return ID{}, false
		}
		n++
	}
	return id, n > 0 && (id.Provider == "") == (id.Type == "")
}

// forbidden reports a character that no resource's name can hold.
func forbidden(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`%\?#<>&`, r) }

// odd reports a segment that leads elsewhere, or that others read differently.
func odd(s string) bool { return s == "." || s == ".." || s != strings.TrimSpace(s) }

// String returns the id in its own spelling, without a slash at the end.
func (id ID) String() string { return id.text }

// Key returns the form in which ids are compared.
func (id ID) Key() string { return strings.ToLower(id.text) }

// Ancestor returns the first n pairs of the id: Ancestor(2) is its resource group.
// An id with fewer pairs is returned whole.
func (id ID) Ancestor(n int) string {
	end := len(id.text)
	for p := range Pairs(id.text) {
		if n--; n < 0 {
			break
		}
		end = p.End
	}
	return id.text[:end]
}

// Is reports whether the id names a resource of that provider and type, ignoring
// case.
func (id ID) Is(provider, typ string) bool {
	return strings.EqualFold(id.Provider, provider) && strings.EqualFold(id.Type, typ)
}

// Name returns the last segment of any text that is used as an id.
func Name(id string) string {
	id = strings.TrimRight(id, "/")
	return id[strings.LastIndexByte(id, '/')+1:]
}

// ParseGUID reads a GUID with or without hyphens, in any case, and returns its
// usual form: lower case with hyphens.
func ParseGUID(s string) (guid string, ok bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", false
	}
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:], true
}
