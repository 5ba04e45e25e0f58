package detect

import (
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
)

// NewUnfiltered returns a Detector that reads everything.
func NewUnfiltered(rules *rule.Set, routine bool) *Detector {
	d := New(rules, routine)
	d.filter = nil
	return d
}

// Words returns the search for what the rules look for.
func (d *Detector) Words() *prefilter.Filter { return d.words }

// NewPanicking returns a Detector that reads everything and panics at each event.
func NewPanicking() *Detector { return &Detector{telling: newTelling()} }

// Reach bounds Around.
const Reach = reach
