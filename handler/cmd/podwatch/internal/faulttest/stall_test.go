package faulttest

import (
	"sync/atomic"
	"time"
)

// A handler in a hurry has 1.2 s between the end of its claim and the moment when
// others take the delivery over; in Azure these are two minutes. A machine that
// stands still for longer than stallTime can therefore cause a repeat here that has
// nothing to do with podwatch: it is an excuse, and counted as one.
const stallTime = 500 * time.Millisecond

// lastStall is when the machine last stood still, in nanoseconds since 1970.
var lastStall atomic.Int64

// watchForStalls notes each time that this process got no processor for stallTime.
func watchForStalls() {
	const every = 50 * time.Millisecond
	for last := time.Now(); ; {
		time.Sleep(every)
		now := time.Now()
		if now.Sub(last) > every+stallTime {
			lastStall.Store(now.UnixNano())
		}
		last = now
	}
}

// stood reports whether the machine stood still after began.
func stood(began time.Time) bool { return lastStall.Load() > began.UnixNano() }
