// Package rules holds the detection rules that podwatch brings along, one
// folder each: rule.toml is the rule, match.jsonl and nomatch.jsonl are whole
// exported records that it must and must not match, routine.jsonl are records
// that it must match and call routine. A test and `podwatch check` run them all.
package rules

import "embed"

// FS holds the folders.
//
//go:embed */rule.toml */*.jsonl
var FS embed.FS
