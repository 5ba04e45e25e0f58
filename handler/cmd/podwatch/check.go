package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/rule"
)

func newCheckCommand() *cobra.Command {
	var asJSON bool
	var exceptions string
	cmd := &cobra.Command{
		Use:   "check [RULE...]",
		Short: "Check rules, their cases, and exceptions",
		Long: `Check reads rules as the handler does at start and says what becomes of each:

  runs         evaluated for every event of its logs
  cannot match needs a field that the events of its logs never have
  waits        reads a log that podwatch does not collect
  needs state  counts or remembers events over time (threshold, new_terms)
  unsupported  ES|QL, EQL, machine learning, or Kibana filters
  off          disabled in its file
  replaced     built in, with a rule of the same id of yours in its place
  broken       its file has mistakes, and the handler would not start

RULE is a rule file or a folder of them: Elastic's TOML, or the NDJSON or JSON
that Kibana exports. Without one, the built-in rules are checked together with
those in RULES_DIR, or in the folder rules beside this executable.

A rule with a folder to itself can bring cases, one exported record a line:
match.jsonl must match, nomatch.jsonl must not, and routine.jsonl must match and
be routine, which is counted and not alerted. Put a near-miss beside each match.

Warnings name what an author may have overlooked; they change nothing. The exit
status is 1 if a rule is broken or a case fails; a rule that does not run for
another reason is no failure.

Exceptions are checked as well: one without owner or reason is refused, and those
that have expired, never do, or fit most of the sample deletions are pointed out. For
each, its end and its next three windows are printed, in their zone and in UTC.

Rules are Elastic's to the letter. One table is podwatch's own:

  [podwatch]
  fold_case = ["azure.activitylogs.operation_name"]  # compare ignoring case
  routine = 'user.name: backup'                      # KQL: matches to be counted only`,
		Example: `  podwatch check
  podwatch check ./detection-rules/rules/integrations/azure
  podwatch check --exceptions exceptions.yaml
  podwatch check --json rules/ | jq -r 'select(.verdict == "broken") | .mistakes[]'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Files(os.Getenv, config.ExecutableDir())
			if err != nil {
				return fmt.Errorf("the app settings are wrong:\n%w", err)
			}
			var sources []rule.Source
			for _, a := range args {
				sources = append(sources, rule.Path(a))
			}
			if len(args) == 0 {
				sources = app.Sources(cfg.RulesDir)
			}
			c := check{out: cmd.OutOrStdout()}
			if asJSON {
				c.json = json.NewEncoder(c.out)
				c.json.SetEscapeHTML(false)
			}
			set, err := c.rules(sources, cfg.Overlooked)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if set, _, err = rule.Load(append(sources, rule.BuiltIn())...); err != nil {
					set = nil
				}
			}
			if err := c.exceptions(cmp.Or(exceptions, cfg.ExceptionsFile), set); err != nil {
				return err
			}
			if len(c.failures) > 0 {
				return errors.New(strings.Join(c.failures, ", "))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&exceptions, "exceptions", "", "exceptions file to check (default: EXCEPTIONS_FILE, or exceptions.yaml beside this executable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line: one for each rule, a summary of them, and one for each exception")
	return cmd
}

// A check prints what it finds and remembers what failed.
type check struct {
	out      io.Writer
	json     *json.Encoder // nil: text
	failures []string      // in words: "2 rules are broken"
}

// A checkedRule is one line of the JSON output, and what the table shows.
type checkedRule struct {
	Rule     string         `json:"rule"`
	ID       string         `json:"id,omitempty"`
	Type     string         `json:"type,omitempty"`
	Verdict  rule.Verdict   `json:"verdict"`
	Reason   string         `json:"reason,omitempty"`
	File     string         `json:"file"`
	Datasets []string       `json:"datasets,omitempty"`
	Mistakes []string       `json:"mistakes,omitempty"`
	Warnings []checkWarning `json:"warnings,omitempty"`
	Cases    *checkedCases  `json:"cases,omitempty"`
}

type checkWarning struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Code   string `json:"code"`
	Msg    string `json:"message"`

	text string // all of it on a line
}

type checkedCases struct {
	Passed int      `json:"passed"`
	Failed []string `json:"failed,omitempty"`
}

// rules checks all rules of the sources. The error is one of writing, or of
// sources that cannot be read; whatever is wrong with rules goes to c.failures.
func (c *check) rules(sources []rule.Source, overlooked []string) (*rule.Set, error) {
	set, report, _ := rule.Load(sources...) // its mistakes are in the report
	if err := errors.Join(report.Mistakes...); err != nil {
		return nil, err
	}
	report.Unread = append(report.Unread, overlooked...)
	if len(report.Entries) == 0 {
		c.failures = append(c.failures, "no rule found")
	}
	checked := make([]checkedRule, len(report.Entries))
	broken, passed, failed := 0, 0, 0
	for i, e := range report.Entries {
		checked[i] = checkRule(set, report, e)
		if e.Verdict == rule.Broken {
			broken++
		}
		if cases := checked[i].Cases; cases != nil {
			passed += cases.Passed
			failed += len(cases.Failed)
		}
	}
	if broken > 0 {
		c.failures = append(c.failures, count(broken, "rule is broken", "rules are broken"))
	}
	if failed > 0 {
		c.failures = append(c.failures, count(failed, "case fails", "cases fail"))
	}
	if c.json != nil {
		return set, c.printJSON(checked, report, passed, failed)
	}
	return set, c.printTable(checked, report, passed, failed)
}

func checkRule(set *rule.Set, report *rule.Report, e *rule.Entry) checkedRule {
	r := checkedRule{
		Rule: e.Rule.Name, ID: e.Rule.ID, Type: e.Rule.Type, Verdict: e.Verdict, Reason: e.Reason, File: e.File, Datasets: e.Datasets,
	}
	for _, m := range e.Mistakes {
		r.Mistakes = append(r.Mistakes, m.Error())
	}
	for _, w := range e.Lint() {
		r.Warnings = append(r.Warnings, checkWarning{w.File, w.Line, w.Column, w.Code, w.Msg, w.String()})
	}
	cases, err := report.RunCases(set, e)
	if err != nil {
		r.Cases = &checkedCases{Failed: []string{err.Error()}}
		return r
	}
	if len(cases) > 0 {
		r.Cases = &checkedCases{}
	}
	for _, k := range cases {
		if k.OK() {
			r.Cases.Passed++
		} else {
			r.Cases.Failed = append(r.Cases.Failed, k.String())
		}
	}
	return r
}

func (c *check) printJSON(checked []checkedRule, report *rule.Report, passed, failed int) error {
	for _, r := range checked {
		if err := c.json.Encode(r); err != nil {
			return err
		}
	}
	for _, s := range report.Skipped {
		if err := c.json.Encode(map[string]any{"skipped": s.What, "file": s.File, "line": s.Line}); err != nil {
			return err
		}
	}
	for _, file := range report.Unread {
		if err := c.json.Encode(map[string]any{"not_read": file}); err != nil {
			return err
		}
	}
	return c.json.Encode(map[string]any{"summary": report.Count(), "cases_passed": passed, "cases_failed": failed})
}

// verdicts in the order of the summary's columns.
var verdicts = []rule.Verdict{rule.Runs, rule.CannotMatch, rule.Waits, rule.NeedsState, rule.Unsupported, rule.Off, rule.Replaced, rule.Broken}

// printTable prints a row for each rule, with reason, mistakes, warnings and
// failed cases below it, and at the end the number of rules by type.
func (c *check) printTable(checked []checkedRule, report *rule.Report, passed, failed int) error {
	var b strings.Builder
	rows := []tableRow{{cells: []string{"VERDICT", "TYPE", "CASES", "RULE"}}}
	for _, r := range checked {
		var cases string
		var below []string
		if r.Reason != "" && len(r.Mistakes) == 0 {
			below = append(below, r.File+": "+r.Reason)
		}
		below = append(below, r.Mistakes...)
		for _, w := range r.Warnings {
			below = append(below, "warning: "+w.text)
		}
		if r.Cases != nil {
			cases = fmt.Sprintf("%d of %d", r.Cases.Passed, r.Cases.Passed+len(r.Cases.Failed))
			below = append(below, r.Cases.Failed...)
		}
		rows = append(rows, tableRow{[]string{string(r.Verdict), r.Type, cases, cmp.Or(r.Rule, "(no name)")}, below})
	}
	writeTable(&b, rows)
	for _, s := range report.Skipped {
		fmt.Fprintf(&b, "\n%s:%d: skipped: %s", visible(s.File), s.Line, visible(s.What))
	}
	for _, file := range report.Unread {
		fmt.Fprintf(&b, "\nnot read: %s", visible(file))
	}
	if len(report.Skipped)+len(report.Unread) > 0 {
		b.WriteByte('\n')
	}

	b.WriteByte('\n')
	counts, total := report.Count(), map[rule.Verdict]int{}
	for _, n := range counts {
		for v := range n {
			total[v] += n[v]
		}
	}
	columns := slices.DeleteFunc(slices.Clone(verdicts), func(v rule.Verdict) bool { return total[v] == 0 })
	header := []string{"TYPE"}
	for _, v := range columns {
		header = append(header, strings.ToUpper(string(v)))
	}
	rows = []tableRow{{cells: header}}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		cells := []string{cmp.Or(kind, "(unknown)")}
		for _, v := range columns {
			cells = append(cells, fmt.Sprint(counts[kind][v]))
		}
		rows = append(rows, tableRow{cells: cells})
	}
	writeTable(&b, rows)
	fmt.Fprintf(&b, "\n%s, %d running", count(len(checked), "rule", "rules"), total[rule.Runs])
	if passed+failed > 0 {
		fmt.Fprintf(&b, "; %d of %s pass", passed, count(passed+failed, "case", "cases"))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(c.out, b.String())
	return err
}

// A tableRow is a row of a table, with the lines below it.
type tableRow struct{ cells, below []string }

func writeTable(b *strings.Builder, rows []tableRow) {
	var aligned strings.Builder
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, visible(strings.Join(r.cells, "\t")))
	}
	_ = w.Flush() // into memory
	lines := strings.SplitAfter(aligned.String(), "\n")
	for i, r := range rows {
		b.WriteString(lines[i])
		for _, line := range r.below {
			b.WriteString("  " + visible(line) + "\n")
		}
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
