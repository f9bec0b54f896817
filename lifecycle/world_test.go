package lifecycle_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"havn/lifecycle"
)

// chance is where a world's luck comes from: a seed, or rapid, which can shrink it.
type chance interface{ below(n int) int }

type seeded struct{ *rand.Rand }

func (s seeded) below(n int) int { return s.IntN(n) }

type drawn struct{ *rapid.T }

func (d drawn) below(n int) int { return rapid.IntRange(0, n-1).Draw(d.T, "chance") }

// world is a node with one task, made of values: the dumb twin of a shell and a runtime. Its checks run
// after every step.
type world struct {
	chance
	now      time.Time
	task     lifecycle.Task
	known    lifecycle.Report
	told     []lifecycle.Report
	toldStop bool
	healed   bool // nothing fails any more

	underway map[lifecycle.Effect]bool // true = cancelled
	made     map[string]*process
	last     map[string]process // what became of each, also when it is removed
	network  bool
	trouble  string // the first broken promise
}

// process is the last one of a container.
type process struct {
	round          int
	started, ended bool
	from, to       time.Time
	code           int
	well           bool // its last probe said so
}

func newWorld(c chance) *world {
	specs := drawSpecs(c)
	if why := lifecycle.CheckOrder(specs); why != "" {
		panic(why)
	}
	return &world{chance: c, now: epoch, task: lifecycle.New(specs, lifecycle.Settings{CleanupWait: time.Minute}),
		underway: map[lifecycle.Effect]bool{}, made: map[string]*process{}, last: map[string]process{}}
}

// drawSpecs draws containers; each may depend on those before it, in whatever order they stand.
func drawSpecs(c chance) []lifecycle.Spec {
	var specs []lifecycle.Spec
	conditions := []lifecycle.Condition{lifecycle.UntilCreated, lifecycle.UntilStarted, lifecycle.UntilComplete, lifecycle.UntilSuccess, lifecycle.UntilHealthy}
	count := 1 + c.below(3)
	essential := c.below(count)
	for i := range count {
		s := lifecycle.Spec{Name: fmt.Sprint("c", i), Essential: i == essential || c.below(3) == 0}
		if c.below(2) == 0 {
			s.Check = lifecycle.HealthCheck{Interval: 3 * time.Second, Timeout: time.Second, Retries: 1 + c.below(2),
				StartPeriod: time.Duration(c.below(2)) * 5 * time.Second}
		}
		if c.below(3) == 0 {
			s.Restart = lifecycle.RestartPolicy{Enabled: true, Period: 2 * time.Second, Ignored: []int{3}}
		}
		if c.below(3) == 0 {
			s.StartTimeout = 4 * time.Second
		}
		for _, on := range specs {
			if until := conditions[c.below(len(conditions))]; c.below(3) == 0 && (until != lifecycle.UntilHealthy || on.Check.On()) {
				s.DependsOn = append(s.DependsOn, lifecycle.Dependency{On: on.Name, Until: until})
			}
		}
		specs = append(specs, s)
	}
	if c.below(2) == 0 {
		slices.Reverse(specs)
	}
	return specs
}

func (w *world) broken(format string, args ...any) {
	if w.trouble == "" {
		w.trouble = fmt.Sprintf(format, args...)
	}
}

// step lets one thing happen: an effect ends, a process exits, time passes, the server says stop, the
// agent crashes.
func (w *world) step() {
	before := w.task
	w.shell()
	switch n := w.below(20); {
	case n == 0 && !w.toldStop && !w.healed:
		w.toldStop = true
		w.task = w.task.Stop(w.now)
	case n == 1 && !w.healed:
		clear(w.underway) // a crash: what was being done may be done, nobody was told
	case n < 4:
		w.exitOne()
	case n < 6:
		w.now = w.now.Add(time.Duration(w.below(5000)) * time.Millisecond)
	default:
		w.endOne()
	}
	if r, news := w.task.Tell(w.known); news && w.below(2) == 0 {
		w.known = r
		w.told = append(w.told, r)
	}
	w.check(before)
}

// shell cancels and starts effects as Next says.
func (w *world) shell() {
	w.task, _ = w.task.Elapse(w.now)
	want, _ := w.task.Next(w.now)
	for e := range w.underway {
		if !slices.Contains(want, e) {
			w.underway[e] = true
		}
	}
	for _, e := range want {
		if _, there := w.underway[e]; !there && !w.blocked(e) {
			w.underway[e] = false
			w.checkOrder(e)
		}
	}
}

func (w *world) blocked(e lifecycle.Effect) bool {
	for u, cancelled := range w.underway {
		if cancelled && (u.Container == e.Container || u.Container == "" || e.Container == "") {
			return true
		}
	}
	return false
}

func (w *world) exitOne() {
	for _, name := range slices.Sorted(maps.Keys(w.made)) {
		if p := w.made[name]; p.started && !p.ended && w.below(2) == 0 {
			p.end(w.now, []int{0, 1, 3}[w.below(3)])
			return
		}
	}
}

func (p *process) end(at time.Time, code int) { p.ended, p.to, p.code = true, at, code }

// checkOrder says from the world's own facts whether an effect comes too early.
func (w *world) checkOrder(e lifecycle.Effect) {
	for _, c := range w.task.Containers {
		for _, d := range c.DependsOn {
			on, made := w.last[d.On]
			if p := w.made[d.On]; p != nil {
				on, made = *p, true
			}
			failed := slices.ContainsFunc(w.task.Containers, func(o lifecycle.Container) bool { return o.Name == d.On && o.Reason != "" })
			switch {
			case e.Verb == lifecycle.Pull && e.Container == c.Name:
				came := map[lifecycle.Condition]bool{
					lifecycle.UntilCreated:  made,
					lifecycle.UntilStarted:  on.started,
					lifecycle.UntilComplete: on.ended || failed, // what failed is removed, whatever it is
					lifecycle.UntilSuccess:  on.ended && on.code == 0,
					lifecycle.UntilHealthy:  on.started && on.well,
				}
				if !came[d.Until] {
					w.broken("%s begins before %s has come to %s: %+v", c.Name, d.On, d.Until, on)
				}
			case e.Verb == lifecycle.Start && e.Container == d.On && (d.Until == lifecycle.UntilComplete || d.Until == lifecycle.UntilSuccess):
				if w.made[c.Name] != nil {
					w.broken("%s starts again; %s has begun because it had ended", d.On, c.Name)
				}
			case e.Verb == lifecycle.Stop && e.Container == d.On && on.started && !on.ended:
				if p := w.made[c.Name]; p != nil && p.started && !p.ended && (c.Phase == lifecycle.Created || c.Phase == lifecycle.Started) {
					w.broken("%s stops before %s, which depends on it", d.On, c.Name)
				}
			}
		}
	}
}

func (w *world) endOne() {
	var can []lifecycle.Effect
	for e, cancelled := range w.underway {
		if p := w.made[e.Container]; e.Verb == lifecycle.Wait && !cancelled && p != nil && !p.ended {
			continue
		}
		can = append(can, e)
	}
	if len(can) == 0 {
		return
	}
	slices.SortFunc(can, func(a, b lifecycle.Effect) int { // maps have no order, seeds need one
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Round, b.Round))
	})
	e := can[w.below(len(can))]
	cancelled := w.underway[e]
	delete(w.underway, e)
	r := lifecycle.Result{Effect: e}
	fails := !w.healed && w.below(8) == 0
	switch {
	case cancelled && w.below(2) == 0:
		if w.below(2) == 0 {
			w.do(e, &r)
		}
		r = lifecycle.Result{Effect: e, Canceled: true}
	case fails:
		if w.below(2) == 0 {
			w.do(e, &r) // it did, and failed all the same
		}
		r = lifecycle.Result{Effect: e, Reason: "it failed"}
	default:
		w.do(e, &r)
	}
	w.task = w.task.Observe(r, w.now)
}

func (w *world) do(e lifecycle.Effect, r *lifecycle.Result) {
	p := w.made[e.Container]
	switch e.Verb {
	case lifecycle.Connect:
		w.network = true
	case lifecycle.Pull:
		r.Digest = "sha256:00"
	case lifecycle.Create:
		if !w.network {
			w.broken("create of %s without a network", e.Container)
		}
		if p == nil {
			w.made[e.Container] = &process{}
		}
		r.RuntimeID = "id"
	case lifecycle.Start:
		switch {
		case p == nil:
			w.broken("start of %s, which is not created", e.Container)
		case !p.started: // and once only: Start of what has run in this round does nothing
			*p = process{started: true, from: w.now}
		case e.Round > p.round:
			w.checkRestart(e, p)
			*p = process{round: e.Round, started: true, from: w.now}
		}
		if p != nil {
			r.StartedAt = p.from
		}
	case lifecycle.Wait:
		switch {
		case p == nil || !p.started:
			r.Reason = "nothing to wait for"
		case p.round != e.Round:
			w.broken("wait for process %d of %s, of which there is %d", e.Round, e.Container, p.round)
		default:
			r.FinishedAt, r.ExitCode = p.to, p.code
		}
	case lifecycle.Probe:
		r.StartedAt = w.now
		switch {
		case p == nil || !p.started:
			w.broken("probe of %s, which does not run", e.Container)
		case p.ended:
			r.Reason = "it does not run"
		case w.healed:
			p.well = true
		default:
			r.ExitCode = w.below(2)
			p.well = r.ExitCode == 0
		}
	case lifecycle.Stop:
		if p != nil && p.started && !p.ended {
			p.end(w.now, 137)
		}
	case lifecycle.Remove:
		if p != nil {
			w.last[e.Container] = *p
		}
		delete(w.made, e.Container)
	case lifecycle.Disconnect:
		if len(w.made) > 0 {
			w.broken("disconnect with %d containers there", len(w.made))
		}
		w.network = false
	}
}

// checkRestart says whether a further process may follow the last one.
func (w *world) checkRestart(e lifecycle.Effect, p *process) {
	for _, c := range w.task.Containers {
		if c.Name != e.Container {
			continue
		}
		switch ran := p.to.Sub(p.from); {
		case !p.ended:
			w.broken("%s starts again, and still runs", c.Name)
		case e.Round != p.round+1:
			w.broken("%s goes from round %d to %d", c.Name, p.round, e.Round)
		case !c.Restart.Enabled || ran < c.Restart.Period || slices.Contains(c.Restart.Ignored, p.code):
			w.broken("%s starts again, by %+v, after %v and exit code %d", c.Name, c.Restart, ran, p.code)
		}
	}
}

func (w *world) check(before lifecycle.Task) {
	t := w.task
	if t.Last.Before(before.Last) || t.Desired.Before(before.Desired) {
		w.broken("from %s/%s back to %s/%s", before.Last, before.Desired, t.Last, t.Desired)
	}
	want, wake := t.Next(w.now)
	verbs := map[string]map[lifecycle.Verb]bool{}
	for _, e := range want {
		if verbs[e.Container] == nil {
			verbs[e.Container] = map[lifecycle.Verb]bool{}
		}
		if verbs[e.Container][e.Verb] {
			w.broken("%s is wanted twice", show(e))
		}
		verbs[e.Container][e.Verb] = true
		if t.Desired == lifecycle.Stopped {
			switch e.Verb {
			case lifecycle.Connect, lifecycle.Pull, lifecycle.Create, lifecycle.Start, lifecycle.Probe:
				w.broken("%s is wanted of a task that should stop", show(e))
			}
		}
	}
	for name, v := range verbs {
		if name != "" && len(v) > 1 && !(len(v) == 2 && v[lifecycle.Wait] && (v[lifecycle.Stop] || v[lifecycle.Probe])) {
			w.broken("wanted of %s at once: %v", name, v)
		}
	}
	if !wake.IsZero() && !wake.After(w.now) {
		w.broken("asks to be woken at %v, and it is %v", wake, w.now)
	}
	if len(want) == 0 && wake.IsZero() && !t.Forgettable() {
		w.broken("nothing is wanted, and nothing will be: %+v", t)
	}
	if t.Last == lifecycle.Stopped {
		if len(w.made) > 0 || w.network {
			w.broken("STOPPED, and there is still: %d containers, network %v", len(w.made), w.network)
		}
		if w.toldStop && t.Desired != lifecycle.Stopped {
			w.broken("told to stop, desired %s", t.Desired)
		}
	}
	for i, c := range t.Containers {
		if was := before.Containers[i]; c.Round < was.Round || c.Round == was.Round && phaseRank(c.Phase) < phaseRank(was.Phase) {
			w.broken("%s goes from %s of round %d back to %s of round %d", c.Name, was.Phase, was.Round, c.Phase, c.Round)
		}
		if p := w.made[c.Name]; c.Phase == lifecycle.Removed && p != nil {
			w.broken("%s is said to be removed, and is there", c.Name)
		}
	}
}

func phaseRank(p lifecycle.Phase) int {
	return slices.Index([]lifecycle.Phase{lifecycle.Waiting, lifecycle.Pulled, lifecycle.Created, lifecycle.Started, lifecycle.Ended, lifecycle.Removed}, p)
}

// settle heals the world, and demands that the task comes to run, or to its end: nobody waits for ever.
func (w *world) settle() {
	w.healed = true
	for range 3000 {
		if w.task.Last == lifecycle.Running || w.task.Desired == lifecycle.Stopped || w.trouble != "" {
			return
		}
		w.step()
		if _, wake := w.task.Next(w.now); !wake.IsZero() && w.below(3) == 0 {
			w.now = wake
		}
	}
	w.broken("it neither runs nor stops: %+v, under way %v", w.task, w.underway)
}

// finish heals the world, tells the task to stop, and demands that it comes to its end.
func (w *world) finish() {
	w.healed = true
	if !w.toldStop {
		w.toldStop = true
		w.task = w.task.Stop(w.now)
	}
	for range 2000 {
		if w.task.Forgettable() {
			break
		}
		w.step()
		if _, wake := w.task.Next(w.now); !wake.IsZero() {
			w.now = wake
		}
	}
	for range 3 {
		if r, news := w.task.Tell(w.known); news {
			w.known = r
			w.told = append(w.told, r)
		}
	}
	switch {
	case !w.task.Forgettable():
		w.broken("told to stop, and still not at its end: %+v, under way %v", w.task, w.underway)
	case w.known.Status != lifecycle.Stopped:
		w.broken("the server was never told STOPPED, but %+v", w.told)
	}
	w.checkTold()
}

// checkTold checks what the server heard: statuses only grow, of the task and of each container; a task
// that ran is told to run before it is told to have stopped.
func (w *world) checkTold() {
	last := map[string]lifecycle.Status{}
	heardRunning := false
	for _, r := range w.told {
		if r.Status.Before(last[""]) {
			w.broken("told %s after %s", r.Status, last[""])
		}
		last[""] = r.Status
		heardRunning = heardRunning || r.Status == lifecycle.Running
		for _, c := range r.Containers {
			if c.Status.Before(last[c.Name]) {
				w.broken("told that %s is %s, after %s", c.Name, c.Status, last[c.Name])
			}
			last[c.Name] = c.Status
			if r.Status == lifecycle.Stopped && c.Status != lifecycle.Stopped {
				w.broken("told STOPPED, with %s %s", c.Name, c.Status)
			}
		}
	}
	if !w.task.RunningAt.IsZero() && !heardRunning {
		w.broken("it ran, and the server never heard of it: %+v", w.told)
	}
}

func (w *world) run(steps int) string {
	for range steps {
		w.step()
	}
	w.settle()
	w.finish()
	return w.trouble
}

func TestPromisesHoldWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(drawn{t})
		if trouble := w.run(rapid.IntRange(0, 60).Draw(t, "steps")); trouble != "" {
			t.Fatal(trouble)
		}
	})
}

// TestTwentyThousandLives runs a whole life per seed. A seed that fails is named; run it alone by its
// number.
func TestTwentyThousandLives(t *testing.T) {
	seeds := uint64(20_000)
	if testing.Short() {
		seeds = 2_000
	}
	for seed := range seeds {
		w := newWorld(seeded{rand.New(rand.NewPCG(seed, 1))})
		if trouble := w.run(40); trouble != "" {
			t.Fatalf("seed %d: %s", seed, trouble)
		}
	}
}

func TestAResultIsFoldedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(drawn{t})
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			w.step()
		}
		// The same success again, or one for which nobody asked, never moves a container on by two.
		verb := rapid.SampledFrom([]lifecycle.Verb{lifecycle.Pull, lifecycle.Create, lifecycle.Start, lifecycle.Wait, lifecycle.Stop,
			lifecycle.Remove}).Draw(t, "verb")
		r := lifecycle.Result{Effect: lifecycle.Effect{Verb: verb, Container: w.task.Containers[0].Name, Round: w.task.Containers[0].Round}}
		once := w.task.Observe(r, w.now)
		twice := once.Observe(r, w.now)
		if a, b := once.Containers[0].Phase, twice.Containers[0].Phase; a != b {
			t.Fatalf("%s folded twice: %s, then %s", verb, a, b)
		}
	})
}
