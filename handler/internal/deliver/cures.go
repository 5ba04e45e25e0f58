package deliver

import (
	"sync"
	"time"
)

// cureEvery is how often a sink that refuses podwatch is logged as an error.
const cureEvery = 15 * time.Minute

// cures remembers when it was logged that a sink must be mended by somebody.
type cures struct {
	mu     sync.Mutex
	logged map[string]time.Time
}

// Refused writes the error line of a sink that refuses podwatch until somebody mends
// it, unless one was written in the last 15 minutes. It reports whether it did.
func (d *Dispatcher) Refused(sink string, attrs ...any) bool {
	if !d.cures.due(sink) {
		return false
	}
	d.log.Error("a sink refuses podwatch until somebody mends it; alerts wait in the queue", append([]any{"sink", sink}, attrs...)...)
	return true
}

// due reports whether the error line of a sink is due, and counts it as written.
func (c *cures) due(sink string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.logged[sink]; ok && time.Since(at) < cureEvery {
		return false
	}
	if c.logged == nil {
		c.logged = map[string]time.Time{}
	}
	c.logged[sink] = time.Now()
	return true
}
