// Package runtimetest says what every agent.Runtime must do. Each implementation runs the same suite: the
// one on containerd, and the simulation's, which would otherwise drift into a world of its own.
//
// Whoever runs the suite names the programs. A program is a container of a task document, as a server
// would send it: an image, perhaps a command. The suite gives it a name and puts it into tasks.
package runtimetest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"havn/agent"
	"havn/lifecycle"
	"havn/protocol"
)

// Config is what the suite needs to know of an implementation.
type Config struct {
	// Open returns a node. It may be the same one for every test: each uses tasks of its own, and leaves
	// nothing of them behind.
	Open func(t *testing.T) Node
	// Run runs one test; t.Run if nil. A simulation makes its virtual time here.
	Run func(t *testing.T, name string, f func(t *testing.T))

	// NetworkMode is that of the tasks. With bridge, ports are tested too.
	NetworkMode string

	// The programs.
	Obedient       protocol.Container // runs until SIGTERM, then exits 0
	Stubborn       protocol.Container // runs, and ignores SIGTERM
	ExitsThree     protocol.Container // exits 3 at once
	MissingImage   protocol.Container // its image does not exist, and can be asked for
	MissingCommand protocol.Container // its image does, the command in it does not
	// The same as Obedient, with health checks that succeed, exit 1, and do not end by themselves.
	Well, Sick, Hanging protocol.Container
	// SlowPull is an image of which a pull takes until it is cancelled; no image = not tested.
	SlowPull protocol.Container
}

// Node is a machine with a Runtime.
type Node struct {
	Runtime agent.Runtime
	// Reopen is what a kill -9 of the agent and a new start make of the Runtime: a fresh one over the same
	// state. The old one is not used again.
	Reopen func(t *testing.T) agent.Runtime
}

// patience is how long an effect may take before the test gives up. Nothing is measured by it.
const patience = 2 * time.Minute

// Test runs the suite.
func Test(t *testing.T, c Config) {
	run := c.Run
	if run == nil {
		run = func(t *testing.T, name string, f func(t *testing.T)) { t.Run(name, f) }
	}
	for _, test := range []struct {
		name string
		f    func(*bench)
	}{
		{"a task runs, exits and leaves nothing", wholeLife},
		{"every verb can be performed again", again},
		{"a process that ran is never started again", neverTwice},
		{"a process that exited while the agent was away has its exit code", exitWhileAway},
		{"a running container is adopted", adopted},
		{"a new agent goes on from any step", resumeAnywhere},
		{"cancelling Wait leaves the container alone", cancelWait},
		{"a cancelled effect never fails", cancelledBefore},
		{"a cancelled Pull ends", cancelPull},
		{"an obedient process ends by SIGTERM", stopObedient},
		{"a stubborn process is killed after its grace", stopStubborn},
		{"what does not run can be stopped", stopNothing},
		{"what never existed can be removed", removeNothing},
		{"a running container can be removed", removeRunning},
		{"a task of which only the name is known can be removed", removeUnknown},
		{"waiting for nothing fails", waitForNothing},
		{"a missing image fails the Pull", missingImage},
		{"a missing command fails the container", missingCommand},
		{"containers of one task live apart", twoContainers},
		{"ports are given once", ports},
		{"a container is started again, once a round", restarts},
		{"a container that was started again is adopted", restartedAdopted},
		{"a probe tells how the health check ended", probes},
		{"a probe that takes too long is ended", probeTooLong},
		{"a cancelled Probe ends", cancelProbe},
		{"what does not run is not well", probeNothing},
	} {
		run(t, test.name, func(t *testing.T) {
			node := c.Open(t)
			b := &bench{T: t, c: c, node: node, runtime: node.Runtime}
			defer b.clearUp()
			test.f(b)
		})
	}
}

// bench is one test's view of a node.
type bench struct {
	*testing.T
	c       Config
	node    Node
	runtime agent.Runtime
	tasks   []*protocol.Task
}

var serial atomic.Int64

// task makes a document of programs, which get the names c0, c1 ...
func (b *bench) task(programs ...protocol.Container) *protocol.Task {
	arn := fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/suite/%016x%016x", time.Now().UnixNano(), serial.Add(1))
	task := &protocol.Task{ARN: arn, ClusterARN: "arn:aws:ecs:us-east-1:000000000000:cluster/suite", Family: "suite", Version: "1",
		DesiredStatus: "RUNNING", NetworkMode: b.c.NetworkMode}
	for i, p := range programs {
		p.Name, p.Essential = fmt.Sprintf("c%d", i), true
		task.Containers = append(task.Containers, p)
	}
	b.tasks = append(b.tasks, task)
	return task
}

// clearUp leaves nothing of the test's tasks, and insists that nothing is left.
func (b *bench) clearUp() {
	for _, task := range b.tasks {
		for _, c := range task.Containers {
			b.do(task, lifecycle.Stop, c.Name)
			b.do(task, lifecycle.Remove, c.Name)
		}
		b.do(task, lifecycle.Disconnect, "")
		b.do(task, lifecycle.Discard, "")
		if b.holds(task) {
			b.Errorf("after Discard the runtime still lists %s", task.ARN)
		}
	}
}

// perform performs an effect and checks what must hold for every result.
func (b *bench) perform(ctx context.Context, task *protocol.Task, verb lifecycle.Verb, container string) lifecycle.Result {
	b.Helper()
	e := lifecycle.Effect{Verb: verb, Container: container}
	if verb == lifecycle.Stop {
		e.Grace = time.Second
	}
	return b.effect(ctx, task, e)
}

func (b *bench) effect(ctx context.Context, task *protocol.Task, e lifecycle.Effect) lifecycle.Result {
	b.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := b.runtime.Perform(ctx, task, e)
	if r.Effect != e {
		b.Errorf("%s %s: the result is of %v", e.Verb, e.Container, r.Effect)
	}
	if r.Canceled && r.Reason != "" {
		b.Errorf("%s %s: canceled, and a reason: %s", e.Verb, e.Container, r.Reason)
	}
	if ctx.Err() == context.DeadlineExceeded {
		b.Fatalf("%s %s did not end", e.Verb, e.Container)
	}
	return r
}

// do performs an effect that must succeed.
func (b *bench) do(task *protocol.Task, verb lifecycle.Verb, container string) lifecycle.Result {
	b.Helper()
	r := b.perform(context.Background(), task, verb, container)
	if r.Canceled || r.Reason != "" {
		b.Fatalf("%s %s: canceled %v, reason %q", verb, container, r.Canceled, r.Reason)
	}
	return r
}

// begin performs an effect beside the test. The channel gives its result.
func (b *bench) begin(ctx context.Context, task *protocol.Task, verb lifecycle.Verb, container string) <-chan lifecycle.Result {
	done := make(chan lifecycle.Result, 1)
	runtime := b.runtime
	go func() { done <- runtime.Perform(ctx, task, lifecycle.Effect{Verb: verb, Container: container}) }()
	return done
}

func (b *bench) await(done <-chan lifecycle.Result) lifecycle.Result {
	b.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(patience):
		b.Fatal("the effect did not end")
		panic("unreachable")
	}
}

// up brings all containers of a task to run.
func (b *bench) up(task *protocol.Task) {
	b.Helper()
	b.do(task, lifecycle.Connect, "")
	for _, c := range task.Containers {
		b.do(task, lifecycle.Pull, c.Name)
		b.do(task, lifecycle.Create, c.Name)
		b.do(task, lifecycle.Start, c.Name)
	}
}

func (b *bench) reopen() { b.runtime = b.node.Reopen(b.T) }

func (b *bench) holds(task *protocol.Task) bool {
	b.Helper()
	arns, err := b.runtime.Tasks(context.Background())
	if err != nil {
		b.Fatalf("Tasks: %v", err)
	}
	return slices.Contains(arns, task.ARN)
}

func (b *bench) exits(r lifecycle.Result, code int) {
	b.Helper()
	if r.Canceled || r.Reason != "" || r.ExitCode != code {
		b.Errorf("Wait: exit code %d, canceled %v, reason %q; want exit code %d", r.ExitCode, r.Canceled, r.Reason, code)
	}
	if r.FinishedAt.IsZero() {
		b.Error("Wait: it does not say when the process ended")
	}
}

var runtimeID = regexp.MustCompile(`^[0-9a-f]{64}$`)

func wholeLife(b *bench) {
	task := b.task(b.c.ExitsThree)
	if b.holds(task) {
		b.Error("the runtime lists a task that never was")
	}
	b.do(task, lifecycle.Connect, "")
	pull := b.do(task, lifecycle.Pull, "c0")
	if pull.StartedAt.IsZero() || pull.FinishedAt.Before(pull.StartedAt) {
		b.Errorf("Pull: from %v to %v", pull.StartedAt, pull.FinishedAt)
	}
	if pull.Digest != "" && !strings.HasPrefix(pull.Digest, "sha256:") {
		b.Errorf("Pull: digest %q", pull.Digest)
	}
	if id := b.do(task, lifecycle.Create, "c0").RuntimeID; !runtimeID.MatchString(id) {
		b.Errorf("Create: runtime id %q, not 64 hex digits", id)
	}
	if !b.holds(task) {
		b.Error("the runtime does not list a task with a container")
	}
	start := b.do(task, lifecycle.Start, "c0")
	if start.StartedAt.IsZero() {
		b.Error("Start: it does not say when the process began")
	}
	wait := b.do(task, lifecycle.Wait, "c0")
	b.exits(wait, 3)
	if wait.FinishedAt.Before(start.StartedAt) {
		b.Errorf("the process ended at %v, before it began at %v", wait.FinishedAt, start.StartedAt)
	}
	b.do(task, lifecycle.Remove, "c0")
	b.do(task, lifecycle.Disconnect, "")
	b.do(task, lifecycle.Discard, "")
	if b.holds(task) {
		b.Error("the runtime still lists a discarded task")
	}
}

func again(b *bench) {
	task := b.task(b.c.Obedient)
	twice := func(verb lifecycle.Verb, container string) (first, second lifecycle.Result) {
		b.Helper()
		return b.do(task, verb, container), b.do(task, verb, container)
	}
	twice(lifecycle.Connect, "")
	pulled, two := twice(lifecycle.Pull, "c0")
	if pulled.Digest != two.Digest {
		b.Errorf("Pull: digest %s, then %s", pulled.Digest, two.Digest)
	}
	if one, two := twice(lifecycle.Create, "c0"); one.RuntimeID != two.RuntimeID {
		b.Errorf("Create: runtime id %s, then %s", one.RuntimeID, two.RuntimeID)
	}
	twice(lifecycle.Start, "c0")
	if late := b.do(task, lifecycle.Pull, "c0"); late.Digest != pulled.Digest {
		b.Errorf("Pull of what runs: digest %s, not %s", late.Digest, pulled.Digest)
	}
	twice(lifecycle.Stop, "c0")
	one, two := twice(lifecycle.Wait, "c0")
	b.exits(one, 0)
	if one.ExitCode != two.ExitCode || !one.FinishedAt.Equal(two.FinishedAt) {
		b.Errorf("Wait: %d at %v, then %d at %v", one.ExitCode, one.FinishedAt, two.ExitCode, two.FinishedAt)
	}
	twice(lifecycle.Remove, "c0")
	twice(lifecycle.Disconnect, "")
	twice(lifecycle.Discard, "")
}

func neverTwice(b *bench) {
	task := b.task(b.c.ExitsThree)
	b.up(task)
	first := b.do(task, lifecycle.Wait, "c0")
	b.exits(first, 3)
	startAgain := func() {
		b.Helper()
		if again := b.do(task, lifecycle.Start, "c0"); again.StartedAt.After(first.FinishedAt) {
			b.Errorf("Start says that the process began at %v; it ended at %v", again.StartedAt, first.FinishedAt)
		}
	}
	startAgain()
	b.reopen()
	b.do(task, lifecycle.Create, "c0")
	startAgain()
	second := b.do(task, lifecycle.Wait, "c0")
	b.exits(second, 3)
	if !first.FinishedAt.Equal(second.FinishedAt) {
		b.Errorf("the process ended at %v, then at %v: it ran twice", first.FinishedAt, second.FinishedAt)
	}
}

func exitWhileAway(b *bench) {
	task := b.task(b.c.ExitsThree)
	b.up(task)
	b.reopen()
	b.exits(b.do(task, lifecycle.Wait, "c0"), 3)
}

func adopted(b *bench) {
	task := b.task(b.c.Obedient)
	b.up(task)
	b.reopen()
	if !b.holds(task) {
		b.Error("a new agent does not find the running task")
	}
	waiting := b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.await(waiting), 0)
}

func resumeAnywhere(b *bench) {
	task := b.task(b.c.Obedient)
	b.do(task, lifecycle.Connect, "")
	b.reopen()
	b.do(task, lifecycle.Connect, "")
	b.do(task, lifecycle.Pull, "c0")
	b.reopen()
	b.do(task, lifecycle.Pull, "c0")
	id := b.do(task, lifecycle.Create, "c0").RuntimeID
	b.reopen()
	if again := b.do(task, lifecycle.Create, "c0").RuntimeID; again != id {
		b.Errorf("Create by a new agent: runtime id %s, not %s", again, id)
	}
	b.do(task, lifecycle.Start, "c0")
	b.reopen()
	b.do(task, lifecycle.Start, "c0")
	b.do(task, lifecycle.Stop, "c0")
	b.reopen()
	b.exits(b.do(task, lifecycle.Wait, "c0"), 0)
	b.do(task, lifecycle.Remove, "c0")
	b.reopen()
	b.do(task, lifecycle.Remove, "c0")
	b.do(task, lifecycle.Disconnect, "")
	b.reopen()
	b.do(task, lifecycle.Disconnect, "")
}

func cancelWait(b *bench) {
	task := b.task(b.c.Obedient)
	b.up(task)
	ctx, cancel := context.WithCancel(context.Background())
	waiting := b.begin(ctx, task, lifecycle.Wait, "c0")
	cancel()
	if r := b.await(waiting); !r.Canceled {
		b.Errorf("a cancelled Wait: %+v", r)
	}
	waiting = b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.await(waiting), 0)
}

// cancelledBefore: what was cancelled is either done or canceled. A reason would be told to the user.
func cancelledBefore(b *bench) {
	task := b.task(b.c.Obedient)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	check := func(verb lifecycle.Verb, container string) {
		b.Helper()
		if r := b.perform(ctx, task, verb, container); r.Reason != "" {
			b.Errorf("%s, cancelled before it began: %s", verb, r.Reason)
		}
		if verb != lifecycle.Wait {
			b.do(task, verb, container)
		}
	}
	check(lifecycle.Connect, "")
	check(lifecycle.Pull, "c0")
	check(lifecycle.Create, "c0")
	check(lifecycle.Start, "c0")
	check(lifecycle.Wait, "c0")
	check(lifecycle.Stop, "c0")
	b.exits(b.do(task, lifecycle.Wait, "c0"), 0)
	check(lifecycle.Remove, "c0")
	check(lifecycle.Disconnect, "")
	check(lifecycle.Discard, "")
}

func cancelPull(b *bench) {
	if b.c.SlowPull.Image == "" {
		b.Skip("this implementation names no image that is slow to pull")
	}
	task := b.task(b.c.SlowPull)
	ctx, cancel := context.WithCancel(context.Background())
	pulling := b.begin(ctx, task, lifecycle.Pull, "c0")
	select {
	case r := <-pulling:
		b.Fatalf("the slow pull ended by itself: %+v", r)
	default:
	}
	cancel()
	if r := b.await(pulling); !r.Canceled || r.Reason != "" {
		b.Errorf("a cancelled Pull: %+v", r)
	}
}

func stopObedient(b *bench) {
	task := b.task(b.c.Obedient)
	b.up(task)
	waiting := b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.await(waiting), 0)
}

func stopStubborn(b *bench) {
	task := b.task(b.c.Stubborn)
	b.up(task)
	waiting := b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Stop, "c0")
	r := b.await(waiting)
	b.exits(r, 137)
	if r.OutOfMemory {
		b.Error("a killed process is said to have run out of memory")
	}
}

func stopNothing(b *bench) {
	task := b.task(b.c.ExitsThree)
	b.do(task, lifecycle.Stop, "c0") // nothing of it exists
	b.do(task, lifecycle.Connect, "")
	b.do(task, lifecycle.Pull, "c0")
	b.do(task, lifecycle.Create, "c0")
	b.do(task, lifecycle.Stop, "c0") // created, not started
	b.do(task, lifecycle.Remove, "c0")
	b.do(task, lifecycle.Stop, "c0") // removed

	task = b.task(b.c.ExitsThree)
	b.up(task)
	b.exits(b.do(task, lifecycle.Wait, "c0"), 3)
	b.do(task, lifecycle.Stop, "c0") // exited
	b.exits(b.do(task, lifecycle.Wait, "c0"), 3)
}

func removeNothing(b *bench) {
	task := b.task(b.c.Obedient)
	b.do(task, lifecycle.Remove, "c0")
	b.do(task, lifecycle.Disconnect, "")
	b.do(task, lifecycle.Discard, "")
	if b.holds(task) {
		b.Error("removing made it exist")
	}
}

func removeRunning(b *bench) {
	task := b.task(b.c.Stubborn)
	b.up(task)
	waiting := b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Remove, "c0")
	if r := b.await(waiting); r.Canceled { // whether it saw the kill or only that the container is gone
		b.Errorf("Wait for a removed container: %+v", r)
	}
	b.do(task, lifecycle.Remove, "c0")
}

func removeUnknown(b *bench) {
	task := b.task(b.c.Obedient, b.c.Obedient)
	b.up(task)
	b.reopen()
	unknown := &protocol.Task{ARN: task.ARN}
	b.do(unknown, lifecycle.Stop, "")
	b.do(unknown, lifecycle.Remove, "")
	b.do(unknown, lifecycle.Disconnect, "")
	b.do(unknown, lifecycle.Discard, "")
	if b.holds(task) {
		b.Error("the runtime still lists the task")
	}
}

func waitForNothing(b *bench) {
	task := b.task(b.c.Obedient)
	if r := b.perform(context.Background(), task, lifecycle.Wait, "c0"); r.Reason == "" || r.Canceled {
		b.Errorf("Wait for a container that never was: %+v, want a reason", r)
	}
}

func missingImage(b *bench) {
	task := b.task(b.c.MissingImage)
	r := b.perform(context.Background(), task, lifecycle.Pull, "c0")
	if !strings.HasPrefix(r.Reason, "CannotPullContainerError: ") && !strings.HasPrefix(r.Reason, "CannotPullImageManifestError: ") {
		b.Errorf("Pull: reason %q", r.Reason)
	}
}

func missingCommand(b *bench) {
	task := b.task(b.c.MissingCommand)
	b.do(task, lifecycle.Connect, "")
	b.do(task, lifecycle.Pull, "c0")
	r := b.perform(context.Background(), task, lifecycle.Create, "c0")
	if r.Reason == "" {
		r = b.perform(context.Background(), task, lifecycle.Start, "c0")
	}
	if !strings.HasPrefix(r.Reason, "CannotStartContainerError: ") && !strings.HasPrefix(r.Reason, "CannotCreateContainerError: ") {
		b.Errorf("reason %q", r.Reason)
	}
	b.do(task, lifecycle.Stop, "c0")
	b.do(task, lifecycle.Remove, "c0")
}

func twoContainers(b *bench) {
	task := b.task(b.c.Obedient, b.c.ExitsThree)
	b.up(task)
	b.exits(b.do(task, lifecycle.Wait, "c1"), 3)
	b.do(task, lifecycle.Remove, "c1")
	waiting := b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.await(waiting), 0)
}

func ports(b *bench) {
	if b.c.NetworkMode != "bridge" {
		b.Skip("ports are tested in bridge mode")
	}
	program := b.c.Obedient
	program.PortMappings = []protocol.PortMapping{{ContainerPort: 8080}, {ContainerPort: 8081, Protocol: "udp"}}
	one, two := b.task(program), b.task(program)
	first := b.do(one, lifecycle.Connect, "").Bindings
	other := b.do(two, lifecycle.Connect, "").Bindings
	if len(first) != 2 || len(other) != 2 {
		b.Fatalf("Connect: bindings %+v and %+v, want two each", first, other)
	}
	for i, want := range program.PortMappings {
		got := first[i]
		protocol := want.Protocol
		if protocol == "" {
			protocol = "tcp"
		}
		if got.Container != "c0" || got.ContainerPort != want.ContainerPort || got.HostPort == 0 || got.Protocol != protocol {
			b.Errorf("Connect: binding %+v of %+v", got, want)
		}
		if got.HostPort == other[i].HostPort {
			b.Errorf("Connect: two tasks have port %d", got.HostPort)
		}
	}
	b.reopen()
	if again := b.do(one, lifecycle.Connect, "").Bindings; !slices.Equal(first, again) {
		b.Errorf("Connect by a new agent: %+v, was %+v", again, first)
	}
}
