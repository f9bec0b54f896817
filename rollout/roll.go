package rollout

import (
	"cmp"
	"slices"
	"time"
)

// roll replaces the tasks of old revisions by ones of the heading, a few at a time, and keeps their number.
//
//	lower = minimumHealthyPercent of the desired count, rounded up:   so many Healthy are left alone
//	upper = maximumPercent of it, rounded down:                       so many may be there at once
//
// API Reference, "DeploymentConfiguration".
func roll(v View, now time.Time) Plan {
	r := look(v, now)
	r.tally()
	r.judge()
	f := newFleet(r)
	if v.Service.Daemon {
		f.daemon()
	} else {
		f.replica()
	}
	f.conclude()
	return r.plan
}

// fleet is the tasks of a service, sorted by what is to become of them. A stop that was planned has happened.
type fleet struct {
	*round
	want, lower, upper int

	fit     []Task // as they should be, and Healthy
	pending []Task // as they should be, and on their way there
	sick    []Task // as they should be, but Unhealthy
	old     []Task // to be replaced: of another revision, or on a container instance that is to be empty
	live    int    // all of these
	healthy int    // of all of these
	running int    // of all of these: also those that are not Healthy, or not yet
	leaving int    // old tasks that were told to stop before
	short   int    // starts that are wanted, and that neither maximum nor throttle let happen now
}

func newFleet(r *round) *fleet {
	f := &fleet{round: r, want: r.Service.Desired}
	down := map[string]bool{}
	if r.Service.Daemon {
		f.want = 0
		for _, n := range r.Nodes {
			if down[n.ID] = n.Down; !n.Down {
				f.want++
			}
		}
	}
	s := r.plan.Deployment.Settings
	f.lower = (f.want*s.Minimum + 99) / 100
	f.upper = max(f.want*s.Maximum/100, f.want)
	for _, t := range r.Tasks {
		switch {
		case down[t.Node] && f.current(t): // whatever it does there: it is where it should be
		case t.Live():
			f.sort(t)
		case t.Phase == Stopping && !f.current(t):
			f.leaving++
		}
	}
	return f
}

// current reports whether a task is made from what it should be. Once a deployment has been halted, that is whatever
// there is.
func (f *fleet) current(t Task) bool {
	d := f.plan.Deployment
	return t.Revision == d.Heading || d.Status == Halted
}

func (f *fleet) sort(t Task) {
	f.live++
	switch t.Phase {
	case Healthy:
		f.healthy++
		fallthrough
	case Running, Unhealthy:
		f.running++
	}
	switch {
	case !f.current(t) || t.Drained:
		f.old = append(f.old, t)
	case t.Phase == Unhealthy:
		f.sick = append(f.sick, t)
	case t.Phase == Healthy:
		f.fit = append(f.fit, t)
	default:
		f.pending = append(f.pending, t)
	}
}

// replica keeps the desired number of copies.
func (f *fleet) replica() {
	f.stopSick()
	f.scaleIn()
	f.stopOld()
	f.makeRoom()
	f.start(f.revision(), f.want-len(f.fit)-len(f.pending))
	f.rebalance()
}

// revision is what new tasks are made from. One whose deployment was halted gets none any more: what is missing is made
// from the last that worked, if there is one.
func (f *fleet) revision() string {
	d := f.plan.Deployment
	switch {
	case d.Status != Halted:
		return d.Heading
	case d.Stable != d.Target:
		return d.Stable
	}
	return ""
}

// start plans to start so many, as far as the maximum and the throttle let it.
func (f *fleet) start(revision string, count int) {
	if count <= 0 || revision == "" {
		return
	}
	now := min(count, f.upper-f.live)
	if revision == f.plan.Deployment.Heading && f.throttled() {
		now = 0
	}
	if f.short += count - max(now, 0); now > 0 {
		f.plan.Start = append(f.plan.Start, Start{Revision: revision, Count: now})
		f.live += now
	}
}

// stop plans to stop a task for a reason.
func (f *fleet) stop(t Task, reason string) {
	f.plan.Stop = append(f.plan.Stop, Stop{Task: t.ID, Reason: reason})
	f.live--
	switch t.Phase {
	case Healthy:
		f.healthy--
		fallthrough
	case Running, Unhealthy:
		f.running--
	}
	if t.Phase == Unhealthy {
		f.tell(t.Why)
		if !t.Failed && t.HealthyAt.IsZero() {
			f.count(t)
		}
	}
}

// spare reports whether a task may be stopped that is wanted no more, by what the minimum says: a Healthy one only if
// enough others are; one that runs and is not known to be, only if enough others run.
func (f *fleet) spare(t Task) bool {
	switch {
	case t.Phase == Starting, useless(t):
		return true
	case t.Phase == Healthy:
		return f.healthy > f.lower
	}
	return f.running > f.lower
}

// stopSick stops Unhealthy tasks. One that was healthy before stays until another one is in its place: it may still be
// of some use, as long as there is nothing better. One that never was is of none.
// Developer Guide, "Amazon ECS services", "Service scheduler concepts".
func (f *fleet) stopSick() {
	var useful []Task
	for _, t := range f.sick {
		if useless(t) {
			f.stop(t, t.Reason)
		} else {
			useful = append(useful, t)
		}
	}
	slices.SortStableFunc(useful, func(a, b Task) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for ; len(useful) > 0 && len(f.fit)+len(useful) > f.want; useful = useful[1:] {
		f.stop(useful[0], useful[0].Reason)
	}
	f.sick = useful
}

// useless reports whether a task never did what it is for.
func useless(t Task) bool { return t.Phase == Unhealthy && t.HealthyAt.IsZero() }

func (f *fleet) stopped(t Task) bool {
	return slices.ContainsFunc(f.plan.Stop, func(s Stop) bool { return s.Task == t.ID })
}

// maxVictims is how many tasks one look chooses to stop for being too many. The next look chooses the next.
const maxVictims = 50

// scaleIn stops what is there once too often.
func (f *fleet) scaleIn() {
	excess := len(f.fit) + len(f.pending) - f.want
	if excess <= 0 {
		return
	}
	var gone []Task
	for excess = min(excess, maxVictims); excess > 0; excess-- {
		t, ok := f.victim(slices.Concat(f.fit, f.pending), gone)
		if !ok {
			break
		}
		gone = append(gone, t)
		f.stop(t, scaling(f.View))
		if f.plan.Deployment.Moving {
			f.plan.Stop[len(f.plan.Stop)-1].Zone = t.Zone
		}
	}
	is := func(t Task) bool { return slices.ContainsFunc(gone, func(g Task) bool { return g.ID == t.ID }) }
	f.fit, f.pending = slices.DeleteFunc(f.fit, is), slices.DeleteFunc(f.pending, is)
}

// victim is who goes first of those that are still there: of a deployment that failed, its own; then, of the
// availability zone that has most of them, one that does not run yet before one that does, of the container instance
// that has most of them, the youngest. Developer Guide, "Updating Amazon ECS service parameters".
func (f *fleet) victim(all, gone []Task) (Task, bool) {
	zones, nodes := map[string]int{}, map[string]int{}
	var left []Task
	for _, t := range all {
		if slices.ContainsFunc(gone, func(g Task) bool { return g.ID == t.ID }) {
			continue
		}
		zones[t.Zone]++
		nodes[t.Node]++
		left = append(left, t)
	}
	d := f.plan.Deployment
	failing := func(t Task) int {
		if d.Status == Halted && d.Stable != "" && t.Revision == d.Target {
			return 1
		}
		return 0
	}
	slices.SortFunc(left, func(a, b Task) int {
		return cmp.Or(
			cmp.Compare(failing(b), failing(a)),
			cmp.Compare(zones[b.Zone], zones[a.Zone]),
			cmp.Compare(a.Phase, b.Phase),
			cmp.Compare(nodes[b.Node], nodes[a.Node]),
			b.CreatedAt.Compare(a.CreatedAt),
			cmp.Compare(a.ID, b.ID))
	})
	for _, t := range left {
		if t.Protected {
			continue
		}
		if f.spare(t) {
			return t, true
		}
		if d.Moving { // it waits for the one in the other zone
			break
		}
	}
	return Task{}, false
}

// stopOld stops tasks that are to be replaced: those first that are of least use.
func (f *fleet) stopOld() {
	use := func(t Task) int {
		return map[Phase]int{Starting: 0, Unhealthy: 1, Running: 2, Healthy: 3}[t.Phase]
	}
	slices.SortStableFunc(f.old, func(a, b Task) int {
		return cmp.Or(cmp.Compare(use(a), use(b)), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	unproven := 0 // that run, and may never become healthy: what runs is not given up for them
	for _, t := range f.pending {
		if t.Phase == Running {
			unproven++
		}
	}
	f.old = slices.DeleteFunc(f.old, func(t Task) bool {
		runs := t.Phase == Running || t.Phase == Unhealthy && !useless(t)
		if t.Protected || !f.spare(t) || runs && f.running-unproven <= f.lower {
			return false
		}
		f.stop(t, scaling(f.View))
		f.leaving++
		return true
	})
}

// makeRoom stops Unhealthy tasks before there is something in their place, if the maximum leaves no other way: while
// nothing is on its way, as many as the minimum lets, and one at least.
func (f *fleet) makeRoom() {
	missing := f.want - len(f.fit) - len(f.pending)
	if missing <= 0 || f.live < f.upper || len(f.pending) > 0 || f.throttled() || f.revision() == "" {
		return
	}
	count := max(1, f.running-f.lower)
	stop := func(t Task) bool {
		if t.Phase != Unhealthy || t.Protected || count == 0 {
			return false
		}
		count--
		f.stop(t, cmp.Or(t.Reason, scaling(f.View)))
		return true
	}
	f.sick = slices.DeleteFunc(f.sick, stop)
	f.old = slices.DeleteFunc(f.old, stop)
}

// conclude says how far the deployment has come.
func (f *fleet) conclude() {
	d := &f.plan.Deployment
	idle := len(f.plan.Start) == 0 && len(f.plan.Stop) == 0
	full := len(f.fit) == f.want && len(f.pending)+len(f.sick) == 0 && idle
	done := full && len(f.old)+f.leaving == 0
	if d.Status == InProgress || d.Status == RollbackInProgress {
		f.bake(done || f.earlyEnough())
	}
	// A deployment that has failed leaves the service in whatever state it is: no steady one, for those who wait.
	f.settled(done && !d.Open() && d.Status != Halted)
	if len(f.old) > 0 && idle && f.short > 0 && len(f.pending)+f.leaving == 0 && f.stuck() {
		f.tellOnce("was unable to stop or start tasks during a deployment because of the service deployment configuration. " +
			"Update the minimumHealthyPercent or maximumPercent value and try again.")
	}
}

// stuck reports whether the maximum lets nothing be started, and the minimum nothing be stopped, now and for ever.
func (f *fleet) stuck() bool {
	return f.live >= f.upper && !slices.ContainsFunc(f.old, func(t Task) bool { return t.Protected || f.spare(t) || t.Phase != Healthy })
}

// earlyEnough reports whether the deployment's own criteria let it succeed before all is done.
func (f *fleet) earlyEnough() bool {
	early := f.plan.Deployment.Settings.Early
	if !early.On || f.plan.Deployment.Status != InProgress {
		return false
	}
	return len(f.fit) >= (f.want*early.Percent+99)/100 && (early.LeavesOlder || len(f.old)+f.leaving == 0)
}

// bake lets the deployment succeed once it has been complete for as long as it is to bake.
func (f *fleet) bake(complete bool) {
	d := &f.plan.Deployment
	const baking = "BAKE_TIME"
	switch {
	case !complete:
		if d.Stage == baking {
			d.Stage, d.StageSince = "", time.Time{}
		}
		return
	case d.Settings.Bake > 0 && d.Status == InProgress && d.Stage != baking:
		d.Stage, d.StageSince = baking, f.now
	}
	if end := d.StageSince.Add(d.Settings.Bake); d.Stage == baking && f.now.Before(end) {
		f.again(end)
		return
	}
	d.Stage, d.StageSince = "", time.Time{}
	f.succeed()
}
