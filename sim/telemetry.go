package sim

import (
	"context"
	"time"

	"havn/dispatch"
	"havn/protocol"
	"havn/state"
)

// healthInterval is how often an agent tells the health of everything, though it has not changed.
const healthInterval = time.Minute

// tellHealth tells the server of the health of containers, as far as the connection is good for it: what is
// lost is not sent again, and what is late may come after what was said later. The next report of everything
// makes up for both.
func (p *process) tellHealth(tasks []protocol.TaskHealth) {
	w, n := p.w, p.node
	if len(tasks) == 0 || p.link == nil || n.cutOff || w.happens(w.faults.MessageLost) {
		return
	}
	delay := w.upTo(time.Millisecond)
	if w.happens(w.faults.MessageLate) {
		delay += w.upTo(20 * time.Second)
	}
	w.after(delay, func() {
		s := w.server
		if s == nil {
			return
		}
		s.do(byDispatch, func(ctx context.Context) error { //nolint:errcheck // it will be told again
			return s.store.Update(ctx, func(tx *state.Tx) error {
				dispatch.ObserveHealth(tx, n.id, tasks)
				return nil
			})
		})
	})
}

// tellAllHealth tells everything now, and again as long as the connection lasts.
func (p *process) tellAllHealth(l *link) {
	if p.dead || p.link != l {
		return
	}
	p.tellHealth(p.core.Health())
	p.w.after(healthInterval, func() { p.tellAllHealth(l) })
}

// healthIsKnown: what a node knows of the health of its containers is what the state says.
func (w *world) healthIsKnown() (what string) {
	w.view(func(r *state.Reader) {
		for _, n := range w.nodes {
			for _, told := range n.agent.core.Health() {
				t, ok := state.Tasks.Get(r, told.TaskARN)
				for _, c := range told.Containers {
					known := "UNKNOWN"
					for _, h := range t.Health {
						if h.Name == c.Name {
							known = string(h.Status)
						}
					}
					if ok && t.NodeID == n.id && t.Last == "RUNNING" && known != c.Status {
						what = short(t.ARN) + ": " + c.Name + " is " + c.Status + ", and described as " + known
					}
				}
			}
		}
	})
	return what
}
