package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"havn/state"
)

// Controller is one promise.
type Controller struct {
	Name string
	// Concerns are the keys that a change may have put out of order. A record that is there at the start,
	// or offered again, comes as a change from nothing.
	Concerns func(state.Change) []string
	// Reaches are more such keys, where that takes a look at other records: whom a change concerns that does not name
	// them. Optional.
	Reaches func(*state.Reader, state.Change) []string
	// Reconcile looks at one key and puts it right. It may be run several times for one commit, and must
	// have no effect but its writes. With again, it asks to be run once more after that time.
	Reconcile func(tx *state.Tx, key string, now time.Time) (again time.Duration, err error)
}

// Settings are what an operator can say.
type Settings struct {
	KeepStories time.Duration // how long it is remembered what a task came to
	SteadyAfter time.Duration // how long a service's task without any health check must run to count as healthy
}

// Defaults are the Settings of an operator who says nothing.
var Defaults = Settings{KeepStories: KeepStories, SteadyAfter: DefaultSteadyAfter}

// All are the controllers that there are, with Defaults.
func All() []Controller { return With(Defaults) }

// With are all controllers, with an operator's settings.
func With(s Settings) []Controller {
	return append(Reapers(s.KeepStories), Orphans(), Membership(), Deploy(s.SteadyAfter), Targets(), Drains(longestDrain))
}

// Resting are those that see tasks to their end and start none: of a Havn that is to go down with all that it runs.
func Resting(s Settings) []Controller {
	return append(Reapers(s.KeepStories), Orphans(), Membership(), Targets(), Drains(restingDrain))
}

// The loop's times.
const (
	// offerInterval is how often all keys are offered. They come due spread over the time until the next.
	offerInterval = 10 * time.Minute
	minBackoff    = 100 * time.Millisecond
	maxBackoff    = 2 * time.Minute
)

// Config of a Loop.
type Config struct {
	Store       *state.Store
	Controllers []Controller
	Seed        uint64 // of the jitter
	Log         *slog.Logger
}

// atOnce is how many keys Run looks at at the same time. Most of a look is waiting for the log, which writes what comes at
// the same time together; and one that takes long keeps the others waiting less.
const atOnce = 8

// Loop runs controllers: Step one key at a time, as a simulation wants it, Run several. Its methods are for one goroutine.
type Loop struct {
	config  Config
	chance  *rand.Rand
	queue   queue
	seen    state.Revision // commits up to here have been turned into keys
	offerAt time.Time      // when all keys are offered next
}

// NewLoop returns a loop that has not looked at anything yet.
func NewLoop(c Config) *Loop {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Loop{config: c, chance: rand.New(rand.NewPCG(c.Seed, 0x6c6f6f70)), queue: newQueue()}
}

// Step looks at one key, if one is due. It reports whether there was one.
func (l *Loop) Step(ctx context.Context, now time.Time) (worked bool) {
	l.offer(now)
	e := l.queue.pop(now)
	if e == nil {
		return false
	}
	again, err := l.reconcile(ctx, e, now)
	l.finish(ctx, e, again, err, now)
	return true
}

// finish puts a key back that is to be looked at again. It may have been offered meanwhile.
func (l *Loop) finish(ctx context.Context, e *entry, again time.Duration, err error, now time.Time) {
	switch {
	case err != nil:
		e.failures++
		l.queue.restore(e, now.Add(l.backoff(e.failures)))
		if ctx.Err() == nil {
			l.config.Log.Error("cannot reconcile", "controller", l.config.Controllers[e.controller].Name, "key", e.key,
				"failures", e.failures, "error", err)
		}
	case again > 0:
		e.failures = 0
		l.queue.restore(e, now.Add(again))
	}
}

// Wake is when the next key is due, if nothing is committed before.
func (l *Loop) Wake() time.Time {
	if due, ok := l.queue.next(); ok && due.Before(l.offerAt) {
		return due
	}
	return l.offerAt
}

// result is what came of looking at a key.
type result struct {
	*entry
	again time.Duration
	err   error
}

// Run looks at keys whenever something was committed or is due, until ctx ends. A key is looked at by one at a time.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	committed := make(chan struct{}, 1)
	watching := make(chan struct{})
	defer func() {
		cancel()
		<-watching
	}()
	from := l.config.Store.Revision()
	go func() {
		defer close(watching)
		for range l.config.Store.Watch(ctx, from) {
			select {
			case committed <- struct{}{}:
			default:
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	results := make(chan result)
	busy := map[entryID]bool{}
	held := map[entryID]*entry{} // due while they are looked at
	defer func() {
		for range busy {
			<-results
		}
	}()
	for {
		l.offer(time.Now())
		for ctx.Err() == nil && len(busy) < atOnce {
			e := l.queue.pop(time.Now())
			if e == nil {
				break
			}
			if busy[e.entryID] {
				held[e.entryID] = e
				continue
			}
			busy[e.entryID] = true
			go func() {
				again, err := l.reconcile(ctx, e, time.Now())
				results <- result{e, again, err}
			}()
		}
		if len(busy) < atOnce {
			timer.Reset(time.Until(l.Wake()))
		} else {
			timer.Stop()
		}
		select {
		case <-committed:
		case r := <-results:
			delete(busy, r.entryID)
			if e := held[r.entryID]; e != nil {
				delete(held, r.entryID)
				l.queue.offer(e.controller, e.key, e.due)
			}
			l.finish(ctx, r.entry, r.again, r.err, time.Now())
		case <-timer.C:
		case <-watching:
			if ctx.Err() == nil {
				return errors.New("cannot follow the state any more")
			}
			return nil
		}
	}
}

// offer queues the keys that were concerned since the last time; all there are, when it is time for that.
func (l *Loop) offer(now time.Time) {
	if l.seen != l.config.Store.Revision() {
		for _, c := range l.config.Store.Since(l.seen) { // from the start, that is one commit of all records
			l.take(c, func() time.Time { return now })
		}
	}
	switch {
	case l.offerAt.IsZero():
		l.offerAt = now.Add(offerInterval)
	case !now.Before(l.offerAt):
		seen := l.seen
		for _, c := range l.config.Store.Since(0) {
			l.take(c, func() time.Time { return now.Add(time.Duration(l.chance.Int64N(int64(offerInterval)))) })
		}
		l.seen = seen // another thread may have committed between the two
		l.offerAt = now.Add(offerInterval)
	}
}

func (l *Loop) take(c state.Commit, due func() time.Time) {
	for _, change := range c.Changes {
		for i, controller := range l.config.Controllers {
			for _, key := range controller.Concerns(change) {
				l.queue.offer(i, key, due())
			}
			if controller.Reaches == nil {
				continue
			}
			l.config.Store.View(func(r *state.Reader) {
				for _, key := range controller.Reaches(r, change) {
					l.queue.offer(i, key, due())
				}
			})
		}
	}
	l.seen = c.Revision
}

func (l *Loop) reconcile(ctx context.Context, e *entry, now time.Time) (again time.Duration, err error) {
	err = l.config.Store.Update(ctx, func(tx *state.Tx) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		again, err = l.config.Controllers[e.controller].Reconcile(tx, e.key, now)
		return err
	})
	return again, err
}

// backoff grows with the failures in a row. A part of it is chance, so that keys which failed together do
// not come back together.
func (l *Loop) backoff(failures int) time.Duration {
	b := maxBackoff
	if failures < 12 {
		b = min(b, minBackoff<<(failures-1))
	}
	return b/2 + time.Duration(l.chance.Int64N(int64(b/2)))
}
