package lifecycle

import (
	"slices"
	"time"
)

// A container on its node:
//
//	          Pull           Create          Start           exit          Remove
//	WAITING --------> PULLED ------> CREATED ------> STARTED -----> ENDED --------> REMOVED
//	   |                 |            |  ^  next round  |              ^
//	   |                 |            |  +--------------+              |
//	   +-----------------+------------+------ failure, or stop --------+
//
// and its task, which is done with its containers and then with itself:
//
//	         all were STARTED         all REMOVED, network gone         after a while: Discard
//	PENDING -------------> RUNNING ---------------------------> STOPPED - - - - - - - > forgotten
//	   |                                                           ^
//	   +------------------ failure, or stop -----------------------+
//
// Pull waits for what the container depends on, and runs beside Connect and beside other Pulls; Create
// needs its own Pull, and Connect. Stop waits for the containers that depend on this one. Each exit that a
// restart policy makes good begins a new round, and round and phase together, like the digits of a number,
// only grow: every arrow points one way. Which effects are wanted follows from where the containers are
// and from the desired status alone, so the same answer is found again by a new process that reads the
// value from a journal; and as effects and their results name the round, what comes late from an older one
// is known for what it is.

// MaxReason is how many characters of a reason are kept or reported, as ECS does.
const MaxReason = 1024

// Phase is how far a container has come on its node.
type Phase string

// The phases in their order.
const (
	Waiting Phase = "WAITING" // nothing of it is here yet
	Pulled  Phase = "PULLED"  // its image is
	Created Phase = "CREATED" // ready to start; it may already run, if nobody could tell us
	Started Phase = "STARTED" // its process runs, as far as we know
	Ended   Phase = "ENDED"   // it ran and exited, or it never will run
	Removed Phase = "REMOVED" // nothing of it is here any more, but its log
)

var phases = []Phase{Waiting, Pulled, Created, Started, Ended, Removed}

func (p Phase) rank() int               { return slices.Index(phases, p) }
func (p Phase) before(other Phase) bool { return p.rank() < other.rank() }

// Settings are what the node decides for all its tasks.
type Settings struct {
	// StopTimeout is the grace of a container that names none; 30 s if zero.
	StopTimeout time.Duration
	// CleanupWait is how long a stopped task's logs and folders stay; 3 h if zero.
	CleanupWait time.Duration
}

// The defaults of the Amazon ECS container agent.
const (
	DefaultStopTimeout = 30 * time.Second
	DefaultCleanupWait = 3 * time.Hour
)

// Spec is what a task needs to know of a container before it has seen anything.
type Spec struct {
	Name        string
	Essential   bool
	StopTimeout time.Duration // zero = the node's
	// DependsOn is whom it waits for, named by the user or implied; CheckOrder says whether that can work.
	DependsOn []Dependency `json:",omitempty"`
	// StartTimeout is how long others wait for it to complete, or to be healthy; zero = for ever.
	StartTimeout time.Duration `json:",omitempty"`
	Restart      RestartPolicy `json:",omitzero"`
	Check        HealthCheck   `json:",omitzero"`
	// Ships: what it prints has a destination. Router is the container that it goes through, if there is one.
	Ships  bool   `json:",omitempty"`
	Router string `json:",omitempty"`
}

// Container is what has been seen of a container. Writer: Observe, and Stop where it never started.
type Container struct {
	Spec
	Phase         Phase
	Round         int       `json:",omitempty"` // which process this is about: 0 is the first
	Restarts      int       `json:",omitempty"` // how often it was started again
	Reason        string    `json:",omitempty"` // why it failed, as ECS words it
	Digest        string    `json:",omitempty"`
	RuntimeID     string    `json:",omitempty"`
	PullStartedAt time.Time `json:",omitzero"`
	PullStoppedAt time.Time `json:",omitzero"`
	StartedAt     time.Time `json:",omitzero"` // the last time; zero = it never ran
	FinishedAt    time.Time `json:",omitzero"`
	Exited        bool      `json:",omitempty"` // ExitCode says how; of one that runs again, the last time
	ExitCode      int       `json:",omitempty"`
	Stopped       bool      `json:",omitempty"` // Stop is done; what is missing is the exit
	Retry         Retry     `json:",omitzero"`
	Health        Health    `json:",omitzero"`
	Shipped       bool      `json:",omitempty"` // all that it printed has been shipped, or given up
	ShipRetry     Retry     `json:",omitzero"`  // of Ship, then of Drain
}

// Retry remembers the failures of an effect that must succeed one day: Stop, Remove, Ship, Drain,
// Disconnect, Discard.
type Retry struct {
	Failures int
	At       time.Time // not before
}

// The delay between two attempts grows from the first to the last, and stays there for ever.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Minute
)

func (r Retry) failed(now time.Time) Retry {
	delay := lastRetry
	if r.Failures < 10 { // 100 ms << 10 is already longer
		delay = min(firstRetry<<r.Failures, lastRetry)
	}
	return Retry{Failures: r.Failures + 1, At: now.Add(delay)}
}

// Task is what a node knows of one of its tasks: a value, never changed in place.
type Task struct {
	Settings
	Desired    Status // RUNNING, then STOPPED for ever
	Last       Status // PENDING, RUNNING or STOPPED
	Reason     string `json:",omitempty"` // why the task as a whole failed
	Containers []Container

	Connected    bool      `json:",omitempty"`
	Disconnected bool      `json:",omitempty"`
	Discarded    bool      `json:",omitempty"`
	Bindings     []Binding `json:",omitempty"`
	Retry        Retry     `json:",omitzero"` // of Disconnect, then of Discard

	RunningAt  time.Time `json:",omitzero"` // zero = it never was RUNNING
	StoppingAt time.Time `json:",omitzero"` // when STOPPED became desired
	StoppedAt  time.Time `json:",omitzero"`
}

// New returns a task that should run, and of which nothing has been seen.
func New(containers []Spec, s Settings) Task {
	t := Task{Settings: s, Desired: Running, Last: Pending}
	for _, spec := range containers {
		t.Containers = append(t.Containers, Container{Spec: spec, Phase: Waiting})
	}
	return t
}

// Unknown returns a task that should be stopped and of which only the name is known: the runtime holds
// something of it, or the server believes so. All of it is stopped and removed, whatever it is.
func Unknown(s Settings, now time.Time) Task {
	t := New([]Spec{{Essential: true}}, s)
	t.Containers[0].Phase = Created // for all we know
	return t.Stop(now)
}

// Refused returns a task that the node would not take: STOPPED with a reason, and nothing to clean up.
func Refused(reason string, now time.Time) Task {
	now = plain(now)
	return Task{Desired: Stopped, Last: Stopped, Reason: Clip(reason), Disconnected: true, Discarded: true,
		StoppingAt: now, StoppedAt: now}
}

// Stop returns the task with desired status STOPPED. There is no way back: nothing of it starts any more.
func (t Task) Stop(now time.Time) Task {
	t.Containers = slices.Clone(t.Containers)
	t.wantStop(plain(now))
	t.settle(plain(now))
	return t
}

// Forgettable reports whether nothing is left on the node and nothing is left to do.
func (t Task) Forgettable() bool { return t.Last == Stopped && t.Discarded }

// Observe folds in how an effect ended. Results may come late, twice, or for what is no longer wanted:
// nothing goes back.
func (t Task) Observe(r Result, now time.Time) Task {
	now = plain(now)
	t.Containers = slices.Clone(t.Containers)
	switch r.Effect.Verb {
	case Connect:
		t.observeConnect(r, now)
	case Disconnect:
		t.observeDisconnect(r, now)
	case Discard:
		t.observeDiscard(r, now)
	default:
		for i := range t.Containers {
			if t.Containers[i].Name == r.Effect.Container {
				t.Containers[i].observe(r, t.Desired != Stopped, now)
			}
		}
	}
	t.settle(now)
	return t
}

func (t *Task) observeConnect(r Result, now time.Time) {
	switch {
	case t.Connected || t.Disconnected || r.Canceled:
	case r.Reason == "":
		t.Connected, t.Bindings = true, slices.Clone(r.Bindings)
	case t.Desired != Stopped:
		// No container can start without its network. The reason is the task's, and it stands on the
		// containers too, where DescribeTasks is usually looked at.
		t.Reason = Clip(r.Reason)
		for i := range t.Containers {
			t.Containers[i].end(r.Reason, now)
		}
		t.wantStop(now)
	}
}

func (t *Task) observeDisconnect(r Result, now time.Time) {
	switch {
	case t.Disconnected || r.Canceled || !t.all(Removed):
	case r.Reason == "":
		t.Disconnected, t.Retry = true, Retry{}
	default:
		t.Retry = t.Retry.failed(now)
	}
}

func (t *Task) observeDiscard(r Result, now time.Time) {
	switch {
	case t.Discarded || r.Canceled || t.Last != Stopped:
	case r.Reason == "":
		t.Discarded, t.Retry = true, Retry{}
	default:
		t.Retry = t.Retry.failed(now)
	}
}

// observe folds in a result that came when its verb was due; any other is old news, and so is one of an
// earlier round.
func (c *Container) observe(r Result, running bool, now time.Time) {
	if verb := r.Effect.Verb; (verb == Start || verb == Wait || verb == Probe) && r.Effect.Round != c.Round {
		return
	}
	failed := r.Reason != "" && !r.Canceled
	done := r.Reason == "" && !r.Canceled
	switch verb := r.Effect.Verb; {
	case verb == Pull && (c.Phase == Waiting || c.Phase == Ended):
		if c.PullStartedAt.IsZero() && !r.StartedAt.IsZero() {
			c.PullStartedAt, c.PullStoppedAt = plain(r.StartedAt), plain(r.FinishedAt)
		}
		switch {
		case done && c.Phase == Waiting:
			c.Phase, c.Digest = Pulled, r.Digest
		case failed:
			c.end(r.Reason, now)
		}
	case verb == Create && c.Phase == Pulled:
		switch {
		case done:
			c.Phase, c.RuntimeID = Created, r.RuntimeID
		case failed:
			c.end(r.Reason, now)
		}
	case verb == Start && c.Phase == Created:
		switch {
		case done:
			c.Phase, c.StartedAt, c.Restarts = Started, orNow(r.StartedAt, now), c.Round
			if c.Check.On() {
				c.Health = Health{Status: UnknownHealth, Since: c.StartedAt}
			}
		case failed:
			c.end(r.Reason, now)
		}
	case verb == Wait && c.Phase == Started:
		switch {
		case done && running && c.Restart.again(orNow(r.FinishedAt, now).Sub(c.StartedAt), r.ExitCode):
			c.nextRound(r)
		case done:
			c.exit(r, now)
		case failed: // there is nothing to wait for
			c.end(r.Reason, now)
		}
	case verb == Probe && c.Phase == Started:
		if running && !r.Canceled {
			c.probed(r, now)
		}
	case verb == Stop && (c.Phase == Created || c.Phase == Started):
		switch {
		case done && c.Phase == Created:
			c.end("", now)
		case done:
			c.Stopped, c.Retry = true, Retry{}
		case failed:
			c.Retry = c.Retry.failed(now)
		}
	case verb == Ship && c.mayPrint() && c.Phase != Removed:
		if failed {
			c.ShipRetry = c.ShipRetry.failed(now)
		}
	case verb == Drain && c.mayPrint() && c.Phase == Removed:
		switch {
		case done:
			c.Shipped, c.ShipRetry = true, Retry{}
		case failed:
			c.ShipRetry = c.ShipRetry.failed(now)
		}
	case verb == Remove && c.Phase == Ended:
		switch {
		case done:
			c.Phase, c.Retry = Removed, Retry{}
		case failed:
			c.Retry = c.Retry.failed(now)
		}
	}
}

func (c *Container) exit(r Result, now time.Time) {
	reason := r.ExitReason
	if reason == "" && r.OutOfMemory {
		reason = "OutOfMemoryError: Container killed due to memory usage"
	}
	c.end(reason, orNow(r.FinishedAt, now))
	c.Exited, c.ExitCode = true, r.ExitCode
}

// end says that the container does not run, and will not.
func (c *Container) end(reason string, at time.Time) {
	if !c.Phase.before(Ended) {
		return
	}
	c.Phase, c.Reason, c.FinishedAt, c.Retry = Ended, Clip(reason), at, Retry{}
}

// settle draws the conclusions: what one container's end means for the others, and where the task is.
func (t *Task) settle(now time.Time) {
	for again := true; again; again = t.giveUp(now) { // the end of one may be that of those that wait for it
		if slices.ContainsFunc(t.Containers, func(c Container) bool { return c.Essential && !c.Phase.before(Ended) }) {
			t.wantStop(now)
		}
	}
	if t.all(Ended) {
		t.wantStop(now)
	}
	switch {
	case t.Desired == Stopped && t.Last != Stopped && t.all(Removed) && t.Disconnected:
		t.Last, t.StoppedAt = Stopped, now
	case t.Desired != Stopped && t.Last == Pending && t.allBegan():
		t.Last, t.RunningAt = Running, now
	}
}

func (t *Task) wantStop(now time.Time) {
	if t.Desired != Stopped {
		t.Desired, t.StoppingAt = Stopped, now
	}
	for i := range t.Containers {
		if t.Containers[i].Phase.before(Created) {
			t.Containers[i].end("", now)
		}
	}
}

// all reports whether every container has come at least as far as p.
func (t *Task) all(p Phase) bool {
	return !slices.ContainsFunc(t.Containers, func(c Container) bool { return c.Phase.before(p) })
}

// allBegan reports whether every container runs, or did, or never will.
func (t *Task) allBegan() bool {
	return !slices.ContainsFunc(t.Containers, func(c Container) bool { return c.Phase.before(Started) && c.Round == 0 })
}

func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return plain(t)
}

// plain makes a time equal to itself after a journey through JSON.
func plain(t time.Time) time.Time { return t.UTC().Round(0) }

// Clip is as much of a reason as is kept.
func Clip(reason string) string {
	count := 0
	for end := range reason {
		if count == MaxReason {
			return reason[:end]
		}
		count++
	}
	return reason
}
