// Package kql parses, compiles and matches Kibana Query Language (KQL).
//
// The grammar is Kibana's current one with all its oddities, read by a
// recursive-descent parser in time linear in the length of the query. What a
// query means depends on the types of its fields, as in Elasticsearch.
//
// Every mistake is found by [Parse]. A [Query] is immutable and safe for
// concurrent use; matching cannot fail, and of a query and its negation exactly
// one holds for every document. Where Elasticsearch would refuse a condition
// (letters compared with a number, say) the condition does not hold and [Lint]
// says so.
package kql
