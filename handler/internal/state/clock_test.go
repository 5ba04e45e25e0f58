package state_test

import "time"

// A clock is moved by the test.
type testClock struct{ t time.Time }

func (c *testClock) now() time.Time          { return c.t }
func (c *testClock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newTestClock() *testClock { return &testClock{time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)} }
