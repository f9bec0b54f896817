// Package load counts what is under way to targets. Whoever sends to a target counts there; whoever takes a target out
// of service waits until nothing is left.
package load

import (
	"sync"
	"sync/atomic"
)

// Gauges are those of all targets, by state.TargetKey. The zero value is ready.
type Gauges struct{ all sync.Map }

// Gauge is one target's. It stays the same as long as the target is there, whatever table it is in.
type Gauge struct {
	// UnderWay are the requests, or connections, that have been sent to the target and are not over.
	UnderWay atomic.Int64
}

// Of returns the gauge of a target, making one if there is none.
func (g *Gauges) Of(key string) *Gauge {
	if found, ok := g.all.Load(key); ok {
		return found.(*Gauge)
	}
	made, _ := g.all.LoadOrStore(key, &Gauge{})
	return made.(*Gauge)
}

// Forget drops the gauge of a target that is gone.
func (g *Gauges) Forget(key string) { g.all.Delete(key) }
