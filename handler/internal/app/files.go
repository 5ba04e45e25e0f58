package app

import (
	"errors"
	"fmt"

	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/rule"
)

// rulesAndExceptions loads both. What is read and what is not, and what is
// silenced, is logged at start.
func (b *builder) rulesAndExceptions() error {
	for _, name := range b.cfg.Overlooked {
		b.log.Warn("a file beside the executable is not read", "file", name)
	}
	return errors.Join(b.rules(), b.exceptions())
}

func (b *builder) rules() (err error) {
	if b.Rules, b.Report, err = rule.Load(Sources(b.cfg.RulesDir)...); err != nil {
		b.Rules = new(rule.Set)
		return fmt.Errorf("the rules are wrong:\n%w", err)
	}
	for _, entry := range b.Report.Entries {
		switch attrs := []any{"rule_id", entry.Rule.ID, "rule", entry.Rule.Name, "verdict", string(entry.Verdict), "reason", entry.Reason}; entry.Verdict {
		case rule.Runs, rule.Replaced: // the rule that replaces it has a warning
		case rule.CannotMatch:
			b.log.Warn("a rule cannot match", attrs...)
		default:
			b.log.Info("a rule does not run", attrs...)
		}
		for _, w := range entry.Warnings {
			if w.Code == "replaces" || w.Code == "not-honoured" {
				b.log.Warn("a rule does other than its file alone says", "rule_id", entry.Rule.ID, "rule", entry.Rule.Name, "warning", w.String())
			}
		}
	}
	for _, s := range b.Report.Skipped {
		b.log.Warn("a part of a rule file is not a rule", "file", s.File, "line", s.Line, "what", s.What)
	}
	if len(b.Report.Unread) > 0 {
		b.log.Warn("not every file of the rules folder is read: rule files end in .toml, .ndjson or .json", "unread", b.Report.Unread)
	}
	return nil
}

// Sources are the built-in rules and, unless dir is empty, those of a folder.
func Sources(dir string) []rule.Source {
	if dir == "" {
		return []rule.Source{rule.BuiltIn()}
	}
	return []rule.Source{rule.BuiltIn(), rule.Path(dir)}
}

func (b *builder) exceptions() error {
	if b.cfg.ExceptionsFile == "" {
		return nil
	}
	set, err := exception.Load(b.cfg.ExceptionsFile, b.Rules)
	if err != nil {
		return fmt.Errorf("the exceptions are wrong:\n%w", err)
	}
	b.Exceptions = set
	var inForce, expired, withoutEnd, waiting int
	now := b.now()
	for _, e := range set.Exceptions() {
		if e.Expired(now) {
			expired++
		} else {
			inForce++
		}
		if e.Expires.IsZero() {
			withoutEnd++
		}
		if e.NeedsLookups() && !b.cfg.ActivityLookups {
			waiting++
		}
		for _, w := range e.Lint(now, b.cfg.ActivityLookups) {
			b.log.Warn("an exception needs a look", "exception", e.Name, "warning", w.Error())
		}
	}
	b.log.Info("exceptions are loaded", "file", b.cfg.ExceptionsFile, "in_force", inForce, "expired", expired,
		"without_end", withoutEnd, "waiting_for_lookups", waiting)
	return nil
}
