package event

import (
	"net/url"
	"slices"
	"strings"
)

// dryRun reports whether the API server only tried the request, which it decides
// as follows. A deletion takes its options from the body and looks at the query
// string only when there is no body. An eviction honours both, anything else the
// query string alone. "All" is the only value that it accepts.
func (e *Event) dryRun() any {
	verb := e.auditedText(logField + "verb")
	switch verb {
	case "":
		return notKnown
	case "delete", "deletecollection":
		if e.requestBody() == bodyNone {
			return e.dryRunInQuery()
		}
		return e.dryRunInBody(logField + "requestObject.dryRun")
	}
	subresource, known := e.Lookup(logField + "objectRef.subresource")
	inQuery := e.dryRunInQuery()
	switch {
	case inQuery != false || verb != "create":
		return inQuery
	case scalarText(subresource) == "eviction" && e.requestBody() != bodyNone:
		return e.dryRunInBody(logField + "requestObject.deleteOptions.dryRun")
	case subresource == nil && !known:
		return notKnown
	}
	return false
}

func (e *Event) dryRunInBody(field string) any {
	if e.requestBody() == bodyWithheld {
		return notKnown
	}
	value, known := e.Lookup(field)
	switch list, _ := value.([]any); {
	case !known:
		return notKnown
	case len(list) == 0:
		return false
	default:
		return !slices.ContainsFunc(list, func(v any) bool { return v != "All" })
	}
}

func (e *Event) dryRunInQuery() any {
	uri := e.auditedText(logField + "requestURI")
	if uri == "" {
		return notKnown
	}
	values := queryOf(uri)["dryRun"]
	return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return v != "All" })
}

// queryOf returns the parameters of a request URI. Like the API server it drops a
// pair with a semicolon or a malformed escape.
func queryOf(uri string) url.Values {
	_, query, _ := strings.Cut(uri, "?")
	if query == "" {
		return nil
	}
	values, _ := url.ParseQuery(query)
	return values
}

// noteDryRun adds a note where a request asks for a dry run in its query string and
// the body that would decide it is missing from the record.
func (e *Event) noteDryRun() {
	known := true
	if e.Audit() != nil {
		_, known = e.Lookup("podwatch.dry_run")
	}
	if !known && e.dryRunInQuery() == true {
		e.note(partAudit, "the request URI asks for a dry run, but the body, which takes precedence, was withheld or cut: whether anything was deleted is not known")
	}
}
