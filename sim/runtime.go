package sim

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// Runtime is the simulation's agent.Runtime: container processes as values, time as an argument, chance
// from a seed. It has two forms. In the simulation, which has one thread, effects are begun and cancelled,
// and Tick tells which have ended by a time. Perform is built on that, for the suite of all runtimes; it
// takes the time from the clock of a testing/synctest bubble.
//
// What is on the node (containers, networks, logs) outlives the agent: Crash forgets the effects under
// way and leaves the rest.
type Runtime struct {
	performing performing // for Perform; the simulation has one thread

	programs map[string]Program
	faults   RuntimeFaults
	chance   *rand.Rand
	serial   int // orders events of the same instant, and makes ids

	tasks map[string]*heldTask
	ops   []*op // under way, in the order in which they began
	ports map[string]string
	past
}

// Program is what an image does when it runs. An image without a program does not exist.
type Program struct {
	NoCommand   bool          // the command is not in the image
	RunsFor     time.Duration // 0 = until it is stopped
	ExitCode    int           // when it has run for that long
	TermCode    int           // when it gets SIGTERM
	IgnoresTerm bool
	TermTime    time.Duration // from SIGTERM to the exit
	PullTime    time.Duration // 0 = by chance, a few milliseconds
	ProbeCode   int           // of its health check
	ProbeTime   time.Duration // 0 = by chance, a few milliseconds
}

// RuntimeFaults are the chances, from 0 to 1, that something goes wrong.
type RuntimeFaults struct {
	SlowPull     float64 // per pull: takes minutes
	PullError    float64
	ConnectError float64
	CreateError  float64
	StartError   float64
	SlowStop     float64 // per stop: the process takes longer than its grace, and is killed
	StopError    float64 // per attempt, as for the next three
	RemoveError  float64
	DisconnError float64
	DiscardError float64
	Exit         float64 // per process: exits by itself within a minute, with 1
	OutOfMemory  float64 // per process: is killed for its memory within a minute
	Sick         float64 // per probe: fails
}

// Done is an effect that has ended.
type Done struct {
	Task   string // ARN
	Result lifecycle.Result
}

// heldTask is what a node holds of a task.
type heldTask struct {
	connected  bool
	bindings   []lifecycle.Binding
	containers map[string]*container
	logs       bool
}

type container struct {
	id       string
	image    string
	round    int       // of its process
	started  time.Time // zero = not yet
	ends     time.Time // planned; zero = not by itself
	finished time.Time // zero = not yet
	code     int       // planned, then real
	oom      bool
	well     bool // a probe of this process has succeeded
}

func (c *container) runs() bool { return !c.started.IsZero() && c.finished.IsZero() }

// op is an effect under way.
type op struct {
	task      *protocol.Task
	effect    lifecycle.Effect
	serial    int
	begun     time.Time
	due       time.Time // when its next step comes; zero = with the container's exit
	signalled bool      // Stop: SIGTERM was sent
	canceled  bool
}

// RuntimeConfig is what a Runtime starts from.
type RuntimeConfig struct {
	Seed     uint64
	Programs map[string]Program // by image reference
	Faults   RuntimeFaults
}

// NewRuntime returns the runtime of a node that holds nothing.
func NewRuntime(c RuntimeConfig) *Runtime {
	return &Runtime{programs: c.Programs, faults: c.Faults, chance: rand.New(rand.NewPCG(c.Seed, 0x72756e74696d65)),
		tasks: map[string]*heldTask{}, ports: map[string]string{}, past: newPast()}
}

// Begin begins an effect.
func (r *Runtime) Begin(task *protocol.Task, e lifecycle.Effect, now time.Time) {
	r.serial++
	r.ops = append(r.ops, &op{task: task, effect: e, serial: r.serial, begun: now, due: now.Add(r.duration(task, e))})
}

// duration is how long an effect takes to its first step.
func (r *Runtime) duration(task *protocol.Task, e lifecycle.Effect) time.Duration {
	switch e.Verb {
	case lifecycle.Wait, lifecycle.Ship:
		return 0
	case lifecycle.Pull:
		if d := r.programs[imageOf(task, e.Container)].PullTime; d > 0 {
			return d
		}
		if r.happens(r.faults.SlowPull) {
			return time.Minute + r.upTo(10*time.Minute)
		}
		return time.Millisecond + r.upTo(20*time.Millisecond)
	case lifecycle.Probe:
		d := r.programs[imageOf(task, e.Container)].ProbeTime
		if d == 0 {
			d = time.Millisecond + r.upTo(20*time.Millisecond)
		}
		return min(d, e.Timeout)
	case lifecycle.Create, lifecycle.Start:
		return 5*time.Millisecond + r.upTo(30*time.Millisecond)
	}
	return time.Millisecond + r.upTo(5*time.Millisecond)
}

// Cancel cancels an effect: soon it ends, done or not.
func (r *Runtime) Cancel(task string, e lifecycle.Effect, now time.Time) {
	for _, o := range r.ops {
		if o.task.ARN == task && o.effect == e && !o.canceled {
			o.canceled = true
			if soon := now.Add(r.upTo(5 * time.Millisecond)); o.due.IsZero() || soon.Before(o.due) {
				o.due = soon
			}
		}
	}
}

// Crash is the death of the agent's process: containers stay as they are. What was being done is done, or
// is not, or half; nobody is told.
func (r *Runtime) Crash(now time.Time) {
	for _, o := range r.ops {
		switch o.effect.Verb {
		case lifecycle.Wait, lifecycle.Ship, lifecycle.Stop: // a sent signal stays sent; the kill after it does not come
		default:
			if r.happens(0.5) {
				r.act(o, now) // it was done, with nobody to tell
			}
		}
	}
	r.ops = nil
}

// Lose is the loss of the machine: all that it held is gone.
func (r *Runtime) Lose() {
	r.ops = nil
	for arn, t := range r.tasks {
		for name := range t.containers {
			r.remove(arn, t, name)
		}
	}
	clear(r.tasks)
	clear(r.ports)
}

// Heal ends the bad luck: from now on nothing goes wrong that has not been drawn yet.
func (r *Runtime) Heal() { r.faults = RuntimeFaults{} }

// Wake returns when the next event comes; false if none will.
func (r *Runtime) Wake() (at time.Time, ok bool) {
	for _, o := range r.ops {
		if due := r.dueOf(o); !due.IsZero() && (!ok || due.Before(at)) {
			at, ok = due, true
		}
	}
	for _, t := range r.tasks {
		for _, c := range t.containers {
			if c.runs() && !c.ends.IsZero() && (!ok || c.ends.Before(at)) {
				at, ok = c.ends, true
			}
		}
	}
	return at, ok
}

// dueOf is when an effect's next step comes; zero if that hangs on a process that has no planned end.
func (r *Runtime) dueOf(o *op) time.Time {
	if o.effect.Verb == lifecycle.Ship && !o.canceled {
		return o.due // never by itself
	}
	if o.due.IsZero() {
		if c := r.container(o); c == nil || !c.runs() {
			return o.begun // nothing to wait for any more
		}
	}
	return o.due
}

// Tick lets everything happen that is due by now, in order, and returns the effects that have ended.
func (r *Runtime) Tick(now time.Time) []Done {
	var done []Done
	for {
		at, ok := r.Wake()
		if !ok || at.After(now) {
			return done
		}
		r.endProcesses(at)
		due := slices.Clone(r.ops)
		slices.SortFunc(due, func(a, b *op) int { return cmp.Compare(a.serial, b.serial) })
		for _, o := range due {
			if d := r.dueOf(o); d.IsZero() || d.After(at) {
				continue
			}
			result, ended := r.step(o, at)
			if !ended {
				continue
			}
			r.ops = slices.DeleteFunc(r.ops, func(x *op) bool { return x == o })
			done = append(done, Done{o.task.ARN, result})
		}
	}
}

func (r *Runtime) endProcesses(at time.Time) {
	for _, t := range r.tasks {
		for _, c := range t.containers {
			if c.runs() && !c.ends.IsZero() && !c.ends.After(at) {
				c.finished = c.ends
			}
		}
	}
}

// step takes an effect one step on. It returns its result when that was the last.
func (r *Runtime) step(o *op, now time.Time) (lifecycle.Result, bool) {
	if o.canceled {
		return r.cancelled(o, now), true
	}
	switch o.effect.Verb {
	case lifecycle.Wait:
		return r.wait(o)
	case lifecycle.Stop:
		return r.stop(o, now)
	case lifecycle.Ship:
		o.due = time.Time{}
		return lifecycle.Result{}, false
	}
	return r.act(o, now), true
}

// cancelled ends a cancelled effect: it was too late and the work is done, or the work is done but its
// end was not waited for, or it is not done.
func (r *Runtime) cancelled(o *op, now time.Time) lifecycle.Result {
	switch o.effect.Verb {
	case lifecycle.Wait, lifecycle.Stop, lifecycle.Pull, lifecycle.Probe, lifecycle.Ship, lifecycle.Drain:
	default:
		switch r.chance.IntN(3) {
		case 0:
			return r.act(o, now)
		case 1:
			r.act(o, now)
		}
	}
	return lifecycle.Result{Effect: o.effect, Canceled: true}
}

func (r *Runtime) wait(o *op) (lifecycle.Result, bool) {
	c := r.container(o)
	switch {
	case c == nil || c.started.IsZero() || c.round != o.effect.Round:
		return failed(o, "ContainerVanishedError: No container matching saved ID found"), true
	case c.runs():
		o.due = time.Time{}
		return lifecycle.Result{}, false
	}
	return lifecycle.Result{Effect: o.effect, ExitCode: c.code, OutOfMemory: c.oom, FinishedAt: c.finished}, true
}

// stop sends the signal, then kills when the grace is over, and ends when all processes are gone.
func (r *Runtime) stop(o *op, now time.Time) (lifecycle.Result, bool) {
	if !o.signalled && r.happens(r.faults.StopError) {
		return failed(o, "CannotStopContainerError: injected"), true
	}
	var running []*container
	for _, c := range r.containers(o) {
		if c.runs() {
			running = append(running, c)
		}
	}
	if len(running) == 0 {
		return lifecycle.Result{Effect: o.effect}, true
	}
	for _, c := range running {
		p := r.programs[c.image]
		switch {
		case o.signalled:
			c.ends, c.code, c.oom = now, 137, false
		case !p.IgnoresTerm && !r.happens(r.faults.SlowStop):
			if end := now.Add(p.TermTime + time.Millisecond); c.ends.IsZero() || end.Before(c.ends) {
				c.ends, c.code, c.oom = end, p.TermCode, false
			}
		}
	}
	if o.signalled {
		r.endProcesses(now)
		return lifecycle.Result{Effect: o.effect}, true
	}
	o.signalled, o.due = true, time.Time{}
	killAt := now.Add(o.effect.Grace)
	for _, c := range running {
		if c.ends.IsZero() || c.ends.After(killAt) {
			o.due = killAt
			break
		}
		o.due = later(o.due, c.ends)
	}
	return lifecycle.Result{}, false
}

// act does what an effect of one step is about.
func (r *Runtime) act(o *op, now time.Time) lifecycle.Result {
	result := lifecycle.Result{Effect: o.effect}
	t, c := r.tasks[o.task.ARN], r.container(o)
	image := imageOf(o.task, o.effect.Container)
	program, exists := r.programs[image]
	switch o.effect.Verb {
	case lifecycle.Connect:
		return r.connect(o)
	case lifecycle.Pull:
		result.StartedAt, result.FinishedAt = o.begun, now
		switch {
		case c != nil: // it has its image
			result.Digest = fmt.Sprintf("sha256:%064x", len(image))
		case !exists:
			result.Reason = "CannotPullContainerError: no such image: " + image
		case r.happens(r.faults.PullError):
			result.Reason = "CannotPullContainerError: injected"
		default:
			result.Digest = fmt.Sprintf("sha256:%064x", len(image))
		}
	case lifecycle.Create:
		switch {
		case t == nil || !t.connected:
			result.Reason = "CannotCreateContainerError: the task has no network"
		case c != nil:
			result.RuntimeID = c.id
		case r.happens(r.faults.CreateError):
			result.Reason = "CannotCreateContainerError: injected"
		default:
			r.serial++
			t.containers[o.effect.Container] = &container{id: fmt.Sprintf("%064x", r.serial), image: image}
			t.logs = true
			result.RuntimeID = t.containers[o.effect.Container].id
		}
	case lifecycle.Start:
		switch {
		case c == nil:
			result.Reason = "CannotStartContainerError: no such container"
		case !c.started.IsZero() && o.effect.Round <= c.round:
			result.StartedAt = c.started
		case program.NoCommand:
			result.Reason = "CannotStartContainerError: no such file or directory"
		case r.happens(r.faults.StartError):
			result.Reason = "CannotStartContainerError: injected"
		default:
			r.started(o, c)
			*c = container{id: c.id, image: c.image, round: o.effect.Round}
			r.run(c, program, now)
			result.StartedAt = now
		}
	case lifecycle.Probe:
		r.probe(o, c, program, &result, now)
	case lifecycle.Remove:
		if r.happens(r.faults.RemoveError) {
			return failed(o, "CannotRemoveContainerError: injected")
		}
		for _, name := range r.names(o) {
			r.remove(o.task.ARN, t, name)
		}
	case lifecycle.Disconnect:
		if r.happens(r.faults.DisconnError) {
			return failed(o, "ContainerNetworkingError: injected")
		}
		r.disconnect(o.task.ARN)
	case lifecycle.Discard:
		if r.happens(r.faults.DiscardError) {
			return failed(o, "UnknownError: injected")
		}
		if t != nil {
			t.logs = false
		}
	}
	r.dropEmpty(o.task.ARN)
	return result
}

// run starts a process, and draws how it will end if nobody stops it.
func (r *Runtime) run(c *container, p Program, now time.Time) {
	c.started = now
	if p.RunsFor > 0 {
		c.ends, c.code = now.Add(p.RunsFor), p.ExitCode
	}
	exit, oom := r.happens(r.faults.Exit), r.happens(r.faults.OutOfMemory)
	end := now.Add(time.Millisecond + r.upTo(time.Minute))
	if (exit || oom) && (c.ends.IsZero() || end.Before(c.ends)) {
		c.ends, c.code = end, 1
		if oom {
			c.code, c.oom = 137, true
		}
	}
}

func (r *Runtime) connect(o *op) lifecycle.Result {
	t := r.tasks[o.task.ARN]
	if t != nil && t.connected {
		return lifecycle.Result{Effect: o.effect, Bindings: slices.Clone(t.bindings)}
	}
	if r.happens(r.faults.ConnectError) {
		return failed(o, "CannotStartContainerError: injected")
	}
	var bindings []lifecycle.Binding
	var taken []string
	for _, c := range o.task.Containers {
		for _, m := range c.PortMappings {
			b := lifecycle.Binding{Container: c.Name, BindIP: "0.0.0.0", ContainerPort: m.ContainerPort, HostPort: m.HostPort,
				Protocol: cmp.Or(m.Protocol, "tcp")}
			if b.HostPort == 0 {
				b.HostPort = r.freePort(b.Protocol)
			}
			name := portName(b)
			if owner := r.ports[name]; owner != "" {
				for _, port := range taken {
					delete(r.ports, port)
				}
				return failed(o, fmt.Sprintf("CannotStartContainerError: port %s is already allocated", name))
			}
			r.ports[name] = o.task.ARN
			taken, bindings = append(taken, name), append(bindings, b)
		}
	}
	if t == nil {
		t = &heldTask{containers: map[string]*container{}}
		r.tasks[o.task.ARN] = t
	}
	t.connected, t.bindings = true, bindings
	return lifecycle.Result{Effect: o.effect, Bindings: slices.Clone(bindings)}
}

func (r *Runtime) freePort(protocol string) uint16 {
	for port := uint16(32768); ; port++ {
		if r.ports[portName(lifecycle.Binding{HostPort: port, Protocol: protocol})] == "" {
			return port
		}
	}
}

func portName(b lifecycle.Binding) string { return fmt.Sprintf("%d/%s", b.HostPort, b.Protocol) }

func (r *Runtime) disconnect(arn string) {
	maps.DeleteFunc(r.ports, func(_, owner string) bool { return owner == arn })
	if t := r.tasks[arn]; t != nil {
		t.connected, t.bindings = false, nil
	}
}

func (r *Runtime) dropEmpty(arn string) {
	if t := r.tasks[arn]; t != nil && !t.connected && !t.logs && len(t.containers) == 0 {
		delete(r.tasks, arn)
	}
}

func (r *Runtime) container(o *op) *container {
	if t := r.tasks[o.task.ARN]; t != nil {
		return t.containers[o.effect.Container]
	}
	return nil
}

// names are those of the containers that an effect is about: the named one, or all. Sorted: chance must not
// hang on the order of a map.
func (r *Runtime) names(o *op) []string {
	t := r.tasks[o.task.ARN]
	if t == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(t.containers)), func(name string) bool {
		return o.effect.Container != "" && o.effect.Container != name
	})
}

func (r *Runtime) containers(o *op) []*container {
	var found []*container
	for _, name := range r.names(o) {
		found = append(found, r.tasks[o.task.ARN].containers[name])
	}
	return found
}

// Held lists the ARNs of all tasks that the node holds anything of, sorted.
func (r *Runtime) Held() []string { return slices.Sorted(maps.Keys(r.tasks)) }

// Running lists the containers of a task whose processes run, sorted. For checkers.
func (r *Runtime) Running(arn string) []string {
	var names []string
	if t := r.tasks[arn]; t != nil {
		for name, c := range t.containers {
			if c.runs() {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Underway returns how many effects have begun and not ended.
func (r *Runtime) Underway() int { return len(r.ops) }

func (r *Runtime) happens(probability float64) bool {
	return probability > 0 && r.chance.Float64() < probability
}

func (r *Runtime) upTo(d time.Duration) time.Duration {
	return time.Duration(r.chance.Int64N(int64(d)))
}

func imageOf(task *protocol.Task, name string) string {
	for _, c := range task.Containers {
		if c.Name == name {
			name, _, _ := strings.Cut(c.Image, "@") // the digest of its only version
			return name
		}
	}
	return ""
}

func failed(o *op, reason string) lifecycle.Result {
	return lifecycle.Result{Effect: o.effect, Reason: reason}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
