package rollout

import "slices"

// daemon keeps one task on each container instance that one can run on. A node's next task waits until its last one
// has stopped, unless the maximum lets it come before.
func (f *fleet) daemon() {
	f.stopSickDaemons()
	f.stopOld()
	at := f.byNode()
	beside := f.plan.Deployment.Settings.Maximum > 100
	for _, n := range f.Nodes {
		here := at[n.ID]
		if n.Down || here.current > 0 {
			continue
		}
		if (here.old > 0 || here.stopping > 0) && !beside {
			f.short++
			continue
		}
		before := len(f.plan.Start)
		f.start(f.revision(), 1)
		if len(f.plan.Start) > before {
			f.plan.Start[before].Node = n.ID
		}
	}
}

// stopSickDaemons: there is no other place for what is to come in their stead.
func (f *fleet) stopSickDaemons() {
	for _, t := range f.sick {
		f.stop(t, t.Reason)
	}
	f.sick = nil
	f.old = slices.DeleteFunc(f.old, func(t Task) bool {
		if t.Phase == Unhealthy {
			f.stop(t, t.Reason)
		}
		return t.Phase == Unhealthy
	})
	// Two on one node: one was started when the other was thought to be gone.
	seen := map[string]bool{}
	for _, all := range []*[]Task{&f.fit, &f.pending} {
		kept := (*all)[:0:0]
		for _, t := range *all {
			if seen[t.Node] && !t.Protected && f.spare(t) {
				f.stop(t, scaling(f.View))
				continue
			}
			seen[t.Node] = true
			kept = append(kept, t)
		}
		*all = kept
	}
}

type daemons struct{ current, old, stopping int }

func (f *fleet) byNode() map[string]daemons {
	at := map[string]daemons{}
	for _, t := range f.Tasks {
		here := at[t.Node]
		switch {
		case t.Phase == Stopping, t.Live() && f.stopped(t):
			here.stopping++
		case t.Live() && f.current(t) && !t.Drained:
			here.current++
		case t.Live():
			here.old++
		}
		at[t.Node] = here
	}
	return at
}
