package outbound

import (
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A Group makes calls side by side. A panic in one of them is raised again by
// Wait: in a goroutine of its own no guard of the caller would stop it from
// ending the process. The zero value is ready and has no limit.
type Group struct {
	calls    errgroup.Group
	once     sync.Once
	panicked string // the first panic and its stack
}

// SetLimit bounds how many calls run at a time.
func (g *Group) SetLimit(n int) { g.calls.SetLimit(n) }

// Go runs a call, when the limit allows it.
func (g *Group) Go(call func()) {
	g.calls.Go(func() error {
		defer func() {
			if cause := recover(); cause != nil {
				g.once.Do(func() { g.panicked = fmt.Sprintf("%v\n%s", cause, debug.Stack()) })
			}
		}()
		call()
		return nil
	})
}

// Wait returns when all calls have ended, and panics if one did.
func (g *Group) Wait() {
	_ = g.calls.Wait() // always nil
	if g.panicked != "" {
		panic(g.panicked)
	}
}
