package sim

import (
	"maps"
	"reflect"
	"slices"

	"havn/agent"
	"havn/lifecycle"
	"havn/state"
)

// check looks at every promise that a step may have broken.
func (w *world) check() {
	w.audit.sync()
	if w.audit.changed {
		w.audit.changed = false
		w.view(func(r *state.Reader) {
			w.capacityIsKept(r)
			w.acknowledgedIsKept(r)
			w.tasksHaveWhatTheyName(r)
		})
		for _, n := range w.nodes {
			n.dirty = true
		}
	}
	for _, n := range w.nodes {
		if n.dirty {
			n.dirty = false
			n.startsOnce()
			n.stopMeansNoStart()
			n.stoppedMeansNothingRuns()
			n.portsAreAlone()
		}
	}
}

// capacityIsKept: what the tasks of a node hold together with what it has left is what it has; so no node
// is over capacity, and no two tasks have one port.
func (w *world) capacityIsKept(r *state.Reader) {
	for n := range state.Nodes.All(r) {
		left := n.Total
		left.TCPPorts, left.UDPPorts = slices.Clone(left.TCPPorts), slices.Clone(left.UDPPorts)
		for t := range state.Tasks.By(r, "node", n.ID) {
			if t.Last == lifecycle.Stopped {
				continue
			}
			left.CPU -= t.Reserved.CPU
			left.Memory -= t.Reserved.Memory
			left.TCPPorts = append(left.TCPPorts, t.Reserved.TCPPorts...)
			left.UDPPorts = append(left.UDPPorts, t.Reserved.UDPPorts...)
		}
		if left.CPU < 0 || left.Memory < 0 {
			w.fail("no node is over capacity", "%s has %d CPU units and %d MiB less than nothing", n.ID, left.CPU, left.Memory)
		}
		for _, ports := range [][]uint16{left.TCPPorts, left.UDPPorts} {
			slices.Sort(ports)
			if len(slices.Compact(slices.Clone(ports))) != len(ports) {
				w.fail("no two tasks have one port", "%s: %v", n.ID, ports)
			}
		}
		if left.CPU != n.Remaining.CPU || left.Memory != n.Remaining.Memory || !same(left.TCPPorts, n.Remaining.TCPPorts) || !same(left.UDPPorts, n.Remaining.UDPPorts) {
			w.fail("what is taken and what remains is the whole", "%s should have %+v left, and has %+v", n.ID, left, n.Remaining)
		}
	}
}

func same(a, b []uint16) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// acknowledgedIsKept: what a user was told has been done is there, at every later moment.
func (w *world) acknowledgedIsKept(r *state.Reader) {
	if what := w.users.model.broken(r, w.audit.reaped); what != "" {
		w.fail("what was acknowledged is never lost", "%s", what)
	}
}

// tasksHaveWhatTheyName: the cluster and the definition of a task are there as long as it is.
func (w *world) tasksHaveWhatTheyName(r *state.Reader) {
	for t := range state.Tasks.All(r) {
		if _, ok := state.Clusters.Get(r, t.ClusterARN); !ok {
			w.fail("a task has what it names", "%s has no cluster %s", short(t.ARN), t.ClusterARN)
		}
		if _, ok := state.TaskDefinitions.Get(r, t.DefinitionARN); !ok {
			w.fail("a task has what it names", "%s has no definition %s", short(t.ARN), t.DefinitionARN)
		}
	}
}

// startsOnce: each process of a container is started once, whatever befalls its node, and a further one only
// as its restart policy says.
func (n *node) startsOnce() {
	for work, times := range n.runtime.rounds {
		if times > 1 {
			n.w.fail("a container is started once", "%s: %s of %s was started %d times", n.id, showEffect(work.Effect), short(work.Task), times)
		}
	}
	if amiss := n.runtime.Amiss(); amiss != "" {
		n.w.fail("a container is started again as its policy says", "%s: %s", n.id, amiss)
	}
}

// stoppedMeansNothingRuns: when a node has said that a task is STOPPED, nothing of it runs there any more.
func (n *node) stoppedMeansNothingRuns() {
	for _, arn := range n.runtime.Held() {
		if !n.w.audit.byNode[arn] {
			continue
		}
		if names := n.runtime.Running(arn); len(names) > 0 {
			n.w.fail("STOPPED means that nothing runs", "%s still runs %v of %s", n.id, names, short(arn))
		}
	}
}

// portsAreAlone: no two tasks that run on a node have the same port of it.
func (n *node) portsAreAlone() {
	owners := map[string]string{}
	for _, arn := range n.runtime.Held() {
		if len(n.runtime.Running(arn)) == 0 {
			continue
		}
		for _, b := range n.runtime.tasks[arn].bindings {
			if other, taken := owners[portName(b)]; taken && other != arn {
				n.w.fail("no two tasks have one port", "%s: %s and %s have %s", n.id, short(other), short(arn), portName(b))
			}
			owners[portName(b)] = arn
		}
	}
}

// checkStart: an agent begins nothing of a task that it knows should stop, but its end; and all in the order
// that the task asks for.
func (p *process) checkStart(job agent.Job) {
	r, _ := p.core.Task(job.Task.ARN)
	if why := p.node.runtime.OutOfOrder(job.Task.ARN, job.Effect, r.Life); why != "" {
		p.w.fail("containers begin and stop in their order", "%s, %s: %s", p.node.id, short(job.Task.ARN), why)
	}
	switch job.Effect.Verb {
	case lifecycle.Connect, lifecycle.Pull, lifecycle.Create, lifecycle.Start, lifecycle.Probe:
		if r.Life.Desired == lifecycle.Stopped {
			p.w.fail("nothing starts after its task was told to stop", "%s begins %s of %s", p.node.id, showEffect(job.Effect), short(job.Task.ARN))
		}
	}
}

// toldToStop notes what may still start of a task of which the journal now says that it should stop: what
// was being started at that moment.
func (n *node) toldToStop(r agent.Record) {
	for _, c := range r.Life.Containers {
		w := work(r.Task.ARN, lifecycle.Start, c.Name)
		if _, known := n.mayStart[w]; known {
			continue
		}
		n.mayStart[w] = n.runtime.starts[w]
		if slices.ContainsFunc(n.runtime.ops, func(o *op) bool {
			return o.task.ARN == w.Task && o.effect.Verb == w.Effect.Verb && o.effect.Container == w.Effect.Container
		}) {
			n.mayStart[w]++
		}
	}
}

// stopMeansNoStart: once the journal says that a task should stop, no process of it starts any more, also
// not after a crash; but for one that was being started.
func (n *node) stopMeansNoStart() {
	for _, w := range slices.SortedFunc(maps.Keys(n.mayStart), compareWork) {
		if n.runtime.starts[w] > n.mayStart[w] {
			n.w.fail("nothing starts after its task was told to stop", "%s started %s of %s", n.id, w.Effect.Container, short(w.Task))
		}
	}
}

// loseJournal: what the node has forgotten cannot bind it, but what its runtime holds still does.
func (n *node) loseJournal() {
	n.journal = journal{}
	clear(n.mayStart)
	for _, counts := range []map[agent.Work]int{n.runtime.starts, n.runtime.rounds} {
		maps.DeleteFunc(counts, func(w agent.Work, _ int) bool { return n.runtime.tasks[w.Task] == nil })
	}
}

// nothingIsLeft: after the last task is gone, every node is as if there had been none.
func (w *world) nothingIsLeft() {
	for _, n := range w.nodes {
		if held := n.runtime.Held(); len(held) > 0 {
			w.fail("nothing is left on a node", "%s holds something of %s", n.id, short(held[0]))
		}
		if len(n.runtime.ports) > 0 || n.runtime.Underway() > 0 {
			w.fail("nothing is left on a node", "%s has %d ports taken and %d effects under way", n.id, len(n.runtime.ports), n.runtime.Underway())
		}
		if known, _ := n.agent.core.Tasks(); known > 0 || len(n.journal.records) > 0 {
			w.fail("nothing is left on a node", "%s still knows %d tasks, its journal %d", n.id, known, len(n.journal.records))
		}
	}
	w.view(func(r *state.Reader) {
		for n := range state.Nodes.All(r) {
			if !reflect.DeepEqual(normal(n.Total), normal(n.Remaining)) {
				w.fail("resources are given back", "%s has %+v of %+v", n.ID, n.Remaining, n.Total)
			}
		}
		for t := range state.Tasks.All(r) {
			w.fail("a task is forgotten an hour after it stopped", "%s is still there, %s", short(t.ARN), t.Last)
		}
	})
}

func normal(r state.Resources) state.Resources {
	if len(r.TCPPorts) == 0 {
		r.TCPPorts = nil
	}
	if len(r.UDPPorts) == 0 {
		r.UDPPorts = nil
	}
	return r
}
