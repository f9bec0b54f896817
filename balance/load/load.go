// Package load counts what is under way to targets. Whoever sends to a target counts there; whoever takes a target out
// of service waits until nothing is left.
//
// The count is exact, although nobody holds a lock. A sender counts first and asks then whether its table is still in
// force; whoever takes a target out of service puts the new table in force first and reads the count then. So one of
// them sees the other: either the sender goes back and chooses again, or its request is waited for.
package load

import (
	"sync"
	"sync/atomic"
)

// Gauges are those of all targets, by state.TargetKey. The zero value is ready.
type Gauges struct{ all sync.Map }

// Gauge is one target's. It stays the same as long as the target is there, whatever table it is in.
type Gauge struct {
	// UnderWay are the requests, or connections, that have been sent to the target and are not over. Begin and End
	// count them.
	UnderWay atomic.Int64

	idle atomic.Pointer[func()] // see WhenIdle
}

// Begin counts one more, unless the choice of the target no longer stands: it reports whether it does. Whoever began
// calls End once.
func (g *Gauge) Begin(stands func() bool) bool {
	g.UnderWay.Add(1)
	if stands() {
		return true
	}
	g.End()
	return false
}

// End is that one is over.
func (g *Gauge) End() {
	if g.UnderWay.Add(-1) == 0 && g.idle.Load() != nil {
		g.tell()
	}
}

// WhenIdle calls f once, when nothing is under way: at once, or in the End of the last one. It is for targets that no
// table in force leads to. A later call takes the place of an earlier one that has not been answered; nil of f too.
func (g *Gauge) WhenIdle(f func()) {
	if f == nil {
		g.idle.Store(nil)
		return
	}
	g.idle.Store(&f)
	if g.UnderWay.Load() == 0 {
		g.tell()
	}
}

func (g *Gauge) tell() {
	if f := g.idle.Swap(nil); f != nil {
		(*f)()
	}
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
