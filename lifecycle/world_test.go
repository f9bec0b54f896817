package lifecycle_test

import (
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
	network  bool
	trouble  string // the first broken promise
}

type process struct{ started, ended bool }

func newWorld(c chance) *world {
	var specs []lifecycle.Spec
	for i := range 1 + c.below(3) {
		specs = append(specs, lifecycle.Spec{Name: fmt.Sprint("c", i), Essential: i == 0 || c.below(2) == 0})
	}
	return &world{chance: c, now: epoch, task: lifecycle.New(specs, lifecycle.Settings{CleanupWait: time.Minute}),
		underway: map[lifecycle.Effect]bool{}, made: map[string]*process{}}
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
	case n == 2:
		w.exitOne()
	case n < 5:
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
	want, _ := w.task.Next(w.now)
	for e := range w.underway {
		if !slices.Contains(want, e) {
			w.underway[e] = true
		}
	}
	for _, e := range want {
		if _, there := w.underway[e]; !there && !w.blocked(e) {
			w.underway[e] = false
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
			p.ended = true
			return
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
		if a.Container+string(a.Verb) < b.Container+string(b.Verb) {
			return -1
		}
		return 1
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
		default:
			p.started = true // and once only: Start of what has run does nothing
		}
	case lifecycle.Wait:
		if p == nil || !p.started {
			r.Reason = "nothing to wait for"
		}
	case lifecycle.Stop:
		if p != nil && p.started {
			p.ended = true
		}
	case lifecycle.Remove:
		delete(w.made, e.Container)
	case lifecycle.Disconnect:
		if len(w.made) > 0 {
			w.broken("disconnect with %d containers there", len(w.made))
		}
		w.network = false
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
			case lifecycle.Connect, lifecycle.Pull, lifecycle.Create, lifecycle.Start:
				w.broken("%s is wanted of a task that should stop", show(e))
			}
		}
	}
	for name, v := range verbs {
		if name != "" && len(v) > 1 && !(len(v) == 2 && v[lifecycle.Wait] && v[lifecycle.Stop]) {
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
	for _, c := range t.Containers {
		if p := w.made[c.Name]; c.Phase == lifecycle.Removed && p != nil {
			w.broken("%s is said to be removed, and is there", c.Name)
		}
	}
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
		r := lifecycle.Result{Effect: lifecycle.Effect{Verb: verb, Container: w.task.Containers[0].Name}}
		once := w.task.Observe(r, w.now)
		twice := once.Observe(r, w.now)
		if a, b := once.Containers[0].Phase, twice.Containers[0].Phase; a != b {
			t.Fatalf("%s folded twice: %s, then %s", verb, a, b)
		}
	})
}
