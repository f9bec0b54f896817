package balance

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// reports are what has been seen and is not in the state yet. They gather while a transaction is under way, and the
// next one takes all: the busier, the larger the batch. The latest of a thing is what counts.
type reports struct {
	store *state.Store
	log   *slog.Logger

	mu     sync.Mutex
	ready  chan struct{} // something is there
	states map[string]elb.LoadBalancerState
	moved  map[string]move
	health map[string]sighting
	done   map[string]time.Time // drained targets: key -> when registered
}

// move is that a load balancer gets another address.
type move struct{ from, to string }

// sighting is what is seen of a target. A target that is registered anew under the same key is another one.
type sighting struct {
	registered time.Time
	health     state.TargetHealth
}

// maxBatch is how many records one transaction changes: it guards what it reads as well (state.MaxGuards).
const maxBatch = 500

func newReports(store *state.Store, log *slog.Logger) *reports {
	return &reports{
		store: store, log: log, ready: make(chan struct{}, 1),
		states: map[string]elb.LoadBalancerState{}, moved: map[string]move{}, health: map[string]sighting{}, done: map[string]time.Time{},
	}
}

func (r *reports) note(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *reports) balancer(arn string, s elb.LoadBalancerState) { r.note(func() { r.states[arn] = s }) }
func (r *reports) move(arn, from, to string)                    { r.note(func() { r.moved[arn] = move{from, to} }) }
func (r *reports) drained(key string, registered time.Time) {
	r.note(func() { r.done[key] = registered })
}
func (r *reports) healthOf(key string, s sighting) { r.note(func() { r.health[key] = s }) }

// batch is what one transaction writes.
type batch struct {
	states map[string]elb.LoadBalancerState
	moved  map[string]move
	health map[string]sighting
	done   map[string]time.Time
}

// take removes up to maxBatch reports.
func (r *reports) take() (b batch, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := maxBatch
	b = batch{part(r.states, &room), part(r.moved, &room), part(r.health, &room), part(r.done, &room)}
	return b, len(r.states)+len(r.moved)+len(r.health)+len(r.done) > 0
}

func part[V any](from map[string]V, room *int) map[string]V {
	taken := map[string]V{}
	for key, value := range from {
		if *room == 0 {
			break
		}
		*room--
		taken[key] = value
		delete(from, key)
	}
	return taken
}

// back returns what could not be written, but for what is known better by now.
func (r *reports) back(b batch) {
	r.note(func() {
		restore(r.states, b.states)
		restore(r.moved, b.moved)
		restore(r.health, b.health)
		restore(r.done, b.done)
	})
}

func restore[V any](into, from map[string]V) {
	for key, value := range from {
		if _, newer := into[key]; !newer {
			into[key] = value
		}
	}
}

// retryAfter is how long to wait after a transaction failed.
const retryAfter = 100 * time.Millisecond

// run writes until ctx ends.
func (r *reports) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ready:
		}
		for more := true; more; {
			var b batch
			b, more = r.take()
			if err := r.store.Update(ctx, func(tx *state.Tx) error { b.write(tx); return nil }); err != nil {
				if ctx.Err() != nil {
					return
				}
				r.log.Warn("cannot write what the load balancers have seen; trying again", "error", err)
				r.back(b)
				select {
				case <-ctx.Done():
					return
				case <-time.After(retryAfter):
				}
			}
		}
	}
}

func (b batch) write(tx *state.Tx) {
	for arn, s := range b.states {
		if l, ok := state.LoadBalancers.Get(tx, arn); ok && !sameState(l.State, s) {
			l.State = s
			state.LoadBalancers.Put(tx, l)
		}
	}
	for arn, m := range b.moved {
		if l, ok := state.LoadBalancers.Get(tx, arn); ok && l.Address == m.from {
			l.Address = m.to
			state.LoadBalancers.Put(tx, l)
		}
	}
	for key, s := range b.health {
		t, ok := state.Targets.Get(tx, key)
		if ok && t.RegisteredAt.Equal(s.registered) && t.DrainingSince.IsZero() {
			t.Health = s.health
			state.Targets.Put(tx, t)
		}
	}
	for key, registered := range b.done {
		t, ok := state.Targets.Get(tx, key)
		if ok && t.RegisteredAt.Equal(registered) && !t.DrainingSince.IsZero() {
			t.Drained = true
			state.Targets.Put(tx, t)
		}
	}
}

func sameState(a, b elb.LoadBalancerState) bool {
	return a.Code == b.Code && aws.ToString(a.Reason) == aws.ToString(b.Reason)
}
