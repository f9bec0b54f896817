package sim

import (
	"context"
	"sync"
	"time"

	"havn/agent"
	"havn/lifecycle"
	"havn/protocol"
)

// performing is what Perform adds to a Runtime: several callers, each waiting for an effect of its own.
type performing struct {
	mu    sync.Mutex
	moved chan struct{} // closed when something has happened that may concern who waits
	ended map[agent.Work]lifecycle.Result
	// serial is the runtime's when who waits was woken last: it grows with every effect that begins.
	serial int
}

// Perform does one effect; see agent.Runtime. Whoever waits moves the time on: it is the clock's, so run
// it in a testing/synctest bubble.
func (r *Runtime) Perform(ctx context.Context, task *protocol.Task, e lifecycle.Effect) lifecycle.Result {
	p := &r.performing
	mine := agent.Work{Task: task.ARN, Effect: e}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Begin(task, e, time.Now())
	r.move()
	cancelled := ctx.Done()
	for {
		r.move()
		if result, ok := p.ended[mine]; ok {
			delete(p.ended, mine)
			return result
		}
		var due <-chan time.Time
		if at, ok := r.Wake(); ok {
			due = time.After(time.Until(at))
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-due:
			p.mu.Lock()
		case <-moved:
			p.mu.Lock()
		case <-cancelled:
			cancelled = nil
			p.mu.Lock()
			r.Cancel(task.ARN, e, time.Now())
		}
	}
}

// move lets happen what is due, and wakes all who wait if anything was.
func (r *Runtime) move() {
	p := &r.performing
	if p.moved == nil {
		p.moved, p.ended = make(chan struct{}), map[agent.Work]lifecycle.Result{}
	}
	before := len(r.ops)
	for _, d := range r.Tick(time.Now()) {
		p.ended[agent.Work{Task: d.Task, Effect: d.Result.Effect}] = d.Result
	}
	if len(r.ops) != before || r.serial != p.serial {
		p.serial = r.serial
		close(p.moved)
		p.moved = make(chan struct{})
	}
}

// Tasks lists the ARNs of all tasks that the node holds anything of.
func (r *Runtime) Tasks(context.Context) ([]string, error) {
	r.performing.mu.Lock()
	defer r.performing.mu.Unlock()
	return r.Held(), nil
}

// Reopen returns the Runtime that a new process finds on the same node: the old one's effects are gone,
// as after a Crash.
func (r *Runtime) Reopen() *Runtime {
	r.performing.mu.Lock()
	defer r.performing.mu.Unlock()
	r.move()
	r.Crash(time.Now())
	fresh := &Runtime{programs: r.programs, faults: r.faults, chance: r.chance, serial: r.serial,
		tasks: r.tasks, ports: r.ports, past: r.past}
	return fresh
}
