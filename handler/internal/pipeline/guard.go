package pipeline

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// errBroke marks the failure of a step that panicked.
var errBroke = errors.New("podwatch broke on it")

// guard runs one step and returns a panic in it as an error, after logging its
// stack. A panic is a bug of ours that must cost no more than what the step worked
// on: as a failed invocation it would come again with the same batch, and in a
// goroutine it would end the process.
func (p *Pipeline) guard(step string, work func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			p.Log.Error("podwatch broke; this is a bug", "step", step, "err", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: %w: %v", step, errBroke, cause)
		}
	}()
	return work()
}
