package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"havn/state"
)

// Options of a run.
type Options struct {
	Seed   uint64
	Trace  bool   // write a transcript
	Defect Defect // break something on purpose
	Steps  int    // of users; by default drawn
}

// Failure is a promise that was not kept.
type Failure struct {
	Seed       uint64
	At         time.Duration // since the start
	Promise    string
	What       string
	Transcript string // if it was asked for
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, at %v: %s: %s", f.Seed, f.At, f.Promise, f.What)
}

// Rerun is the command that shows a failure again.
func (f *Failure) Rerun() string {
	return fmt.Sprintf("go test ./sim -run TestSeeds -seed %d -v", f.Seed)
}

// Stats say what a run was like, so that nobody is content with runs in which nothing happens.
type Stats struct {
	Events, Commits, Tasks, Started, Stopped, Crashes, Restarts, Lost, Races, Targets int
}

// Run is one seed from its first cluster to its last container. It returns nil if every promise was kept.
func Run(o Options) (stats Stats, failure *Failure) {
	w := newWorld(o)
	defer func() {
		stats = w.stats
		switch p := recover().(type) {
		case nil:
			return
		case *Failure:
			failure = p
		default:
			failure = &Failure{Promise: "nothing panics", What: fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
		failure.Seed, failure.At, failure.Transcript = o.Seed, w.now.Sub(epoch), w.transcript.String()
	}()
	w.live()
	w.heal()
	return w.stats, nil
}

// epoch is when every run begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is one run.
type world struct {
	options Options
	chance  *rand.Rand
	faults  faults
	healed  bool

	now    time.Time
	events events
	serial int // orders events of the same instant
	ids    int

	log    *tampered
	server *server // nil while it is down
	nodes  []*node
	users  *users
	audit  *audit

	transcript strings.Builder
	stats      Stats
}

func newWorld(o Options) *world {
	w := &world{options: o, chance: rand.New(rand.NewPCG(o.Seed, 0x776f726c64)), now: epoch}
	w.faults = drawFaults(w.chance)
	w.log = &tampered{w: w, actors: map[string]actor{}}
	w.log.SetFaults(w.faults.log(o.Seed))
	w.audit = newAudit(w)
	w.users = newUsers(w)
	w.nodes = drawNodes(w)
	return w
}

// live is the part of a run in which things go wrong.
func (w *world) live() {
	w.say("world", "faults: %+v", w.faults)
	for _, n := range w.nodes {
		w.say(n.id, "cluster %q, %d CPU units, %d MiB", n.cluster, n.cpu, n.memory)
	}
	w.boot()
	for _, n := range w.nodes {
		w.after(w.upTo(3*time.Second), n.boot)
	}
	w.users.begin()
	w.beginDisasters()
	for !w.users.done() {
		w.step()
	}
}

// step takes the next event, and checks every promise.
func (w *world) step() {
	if len(w.events) == 0 {
		w.fail("the world goes on", "there is no event left")
	}
	e := heap.Pop(&w.events).(*event)
	w.now = e.at
	w.stats.Events++
	e.happen()
	if w.server != nil {
		w.server.tell()
	}
	w.check()
}

// run steps until a time, or until a condition holds.
func (w *world) run(d time.Duration, until func() bool) bool {
	end := w.now.Add(d)
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		if until != nil && until() {
			return true
		}
		w.step()
	}
	w.now = end
	return until != nil && until()
}

// fail ends the run.
func (w *world) fail(promise, format string, args ...any) {
	f := &Failure{Promise: promise, What: fmt.Sprintf(format, args...)}
	w.say("check", "BROKEN: %s: %s", promise, f.What)
	panic(f)
}

// say writes a line of the transcript.
func (w *world) say(who, format string, args ...any) {
	if w.options.Trace {
		fmt.Fprintf(&w.transcript, "%12.6f  %-9s %s\n", w.now.Sub(epoch).Seconds(), who, fmt.Sprintf(format, args...))
	}
}

// newID is an identifier as the state makes them, but readable.
func (w *world) newID() string {
	w.ids++
	return fmt.Sprintf("%032d", w.ids)
}

// happens is the dice of a fault. There are none after the healing.
func (w *world) happens(probability float64) bool {
	return !w.healed && probability > 0 && w.chance.Float64() < probability
}

func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.chance.Int64N(int64(d) + 1))
}

func pick[T any](w *world, from []T) T { return from[w.chance.IntN(len(from))] }

// event is a step of somebody.
type event struct {
	at     time.Time
	serial int
	happen func()
}

func (w *world) after(d time.Duration, happen func()) { w.at(w.now.Add(max(d, 0)), happen) }

func (w *world) at(at time.Time, happen func()) {
	if at.Before(w.now) {
		at = w.now
	}
	w.serial++
	heap.Push(&w.events, &event{at, w.serial, happen})
}

// alarm is an event that comes once, at the earliest of the times that it was set to.
type alarm struct {
	at     time.Time
	set    bool
	number int
}

func (w *world) wake(a *alarm, at time.Time, happen func()) {
	if at.Before(w.now) {
		at = w.now
	}
	if a.set && !at.Before(a.at) {
		return
	}
	a.number++
	a.at, a.set = at, true
	number := a.number
	w.at(at, func() {
		if a.number == number && a.set {
			a.set = false
			happen()
		}
	})
}

// events is a heap.
type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// view is what the log says now.
func (w *world) view(f func(*state.Reader)) {
	w.audit.sync()
	w.audit.store.View(f)
}

func (s *Stats) add(o Stats) {
	s.Events += o.Events
	s.Commits += o.Commits
	s.Tasks += o.Tasks
	s.Started += o.Started
	s.Stopped += o.Stopped
	s.Crashes += o.Crashes
	s.Restarts += o.Restarts
	s.Lost += o.Lost
	s.Races += o.Races
	s.Targets += o.Targets
}
