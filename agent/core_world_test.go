package agent_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"havn/agent"
	"havn/lifecycle"
	"havn/protocol"
	"havn/sim"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	cluster  = "arn:aws:ecs:us-east-1:000000000000:cluster/demo"
	instance = "arn:aws:ecs:us-east-1:000000000000:container-instance/demo/0123456789abcdef0123456789abcdef"
)

func arnOf(n int) string { return fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/demo/%032x", n) }

// world is one node with its Core, the simulation's Runtime, a journal that is a map, and a server that
// assigns, listens and checks. One thread, one seed.
type world struct {
	*rand.Rand
	now     time.Time
	core    *agent.Core
	runtime *sim.Runtime
	healed  bool

	journal  map[string]string // ARN -> record, in JSON
	unsaved  []agent.Plan      // the writer beside the loop has not come to them yet; a crash loses them
	timeline int64

	assigned map[string]bool // ARN -> told to stop
	docs     map[string]protocol.Task
	messages map[string][]string // id -> ARNs told to stop
	mustStop map[string]bool     // the node has acknowledged it, and must never forget it
	serial   int
	flying   []agent.StateChange // reports under way
	heard    map[string]lifecycle.Report
	lately   map[string]lifecycle.Status // by this process; one that died may have told more than it wrote down
	trouble  string
}

var programs = map[string]sim.Program{
	"server":   {TermTime: 50 * time.Millisecond},
	"stubborn": {IgnoresTerm: true},
	"job":      {RunsFor: 300 * time.Millisecond},
	"worker":   {RunsFor: 1500 * time.Millisecond},
	"fails":    {RunsFor: 10 * time.Millisecond, ExitCode: 1},
	"broken":   {NoCommand: true},
	"sick":     {ProbeCode: 1},
	"hangs":    {ProbeTime: time.Hour},
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 2))
	rarely := func() float64 { return float64(r.IntN(2)) * 0.2 * r.Float64() }
	w := &world{Rand: r, now: epoch, journal: map[string]string{}, assigned: map[string]bool{}, docs: map[string]protocol.Task{},
		mustStop: map[string]bool{}, messages: map[string][]string{}, heard: map[string]lifecycle.Report{}}
	w.runtime = sim.NewRuntime(sim.RuntimeConfig{Seed: seed, Programs: programs, Faults: sim.RuntimeFaults{
		SlowPull: rarely(), PullError: rarely(), ConnectError: rarely(), CreateError: rarely(), StartError: rarely(), SlowStop: rarely(),
		StopError: rarely(), RemoveError: rarely(), DisconnError: rarely(), DiscardError: rarely(), Exit: rarely(), OutOfMemory: rarely(), Sick: rarely()}})
	w.boot()
	return w
}

// boot is the start of an agent's process.
func (w *world) boot() {
	var records []agent.Record
	for _, arn := range slices.Sorted(maps.Keys(w.journal)) {
		var r agent.Record
		if err := json.Unmarshal([]byte(w.journal[arn]), &r); err != nil {
			w.broken("the journal cannot be read: %v", err)
		}
		records = append(records, r)
	}
	w.flying, w.unsaved, w.lately = nil, nil, map[string]lifecycle.Status{}
	w.core = agent.NewCore(agent.CoreConfig{Cluster: "demo", Records: records, Timeline: w.timeline, Held: w.runtime.Held(),
		Settings: lifecycle.Settings{StopTimeout: time.Second, CleanupWait: time.Minute}}, w.now)
}

func (w *world) crash() {
	w.runtime.Crash(w.now)
	w.boot()
}

func (w *world) broken(format string, args ...any) {
	if w.trouble == "" {
		w.trouble = fmt.Sprintf(format, args...)
	}
}

// turn is one turn of the shell's loop. It returns when the core wants to be woken.
func (w *world) turn() (wake time.Time) {
	p := w.core.Next(w.now)
	w.checkPlan(p)
	w.unsaved = append(w.unsaved, p)
	if p.SaveFirst {
		w.save()
		if w.strikes() {
			return w.now
		}
	}
	for _, c := range p.Cancel {
		w.runtime.Cancel(c.Task, c.Effect, w.now)
	}
	for _, job := range p.Start {
		w.runtime.Begin(job.Task, job.Effect, w.now)
	}
	if !p.SaveFirst {
		if w.strikes() {
			return w.now
		}
		if w.IntN(3) == 0 {
			w.save()
		}
	}
	for _, m := range p.Replies {
		w.hearReply(m)
	}
	w.flying = append(w.flying, p.Reports...)
	w.checkNode()
	return p.Wake
}

// strikes is the agent's death at an awkward moment.
func (w *world) strikes() bool {
	if w.healed || w.IntN(30) > 0 {
		return false
	}
	w.crash()
	return true
}

func (w *world) save() {
	for _, p := range w.unsaved {
		w.write(p)
	}
	w.unsaved = nil
}

func (w *world) write(p agent.Plan) {
	for _, r := range p.Save {
		b, err := json.Marshal(r)
		if err != nil {
			w.broken("the journal cannot be written: %v", err)
		}
		var back agent.Record
		if w.IntN(16) == 0 && (json.Unmarshal(b, &back) != nil || !reflect.DeepEqual(r, back)) {
			w.broken("the journal changes a record:\n%+v\n%+v", r, back)
		}
		w.journal[r.Task.ARN] = string(b)
	}
	for _, arn := range p.Forget {
		delete(w.journal, arn)
	}
	if p.Timeline != 0 {
		w.timeline = p.Timeline
	}
}

func (w *world) checkPlan(p agent.Plan) {
	for _, job := range p.Start {
		record, there := w.core.Task(job.Task.ARN)
		switch {
		case !there:
			w.broken("%v starts for a task that is forgotten", job.Effect)
		case w.runtime.OutOfOrder(job.Task.ARN, job.Effect, record.Life) != "":
			w.broken("%s", w.runtime.OutOfOrder(job.Task.ARN, job.Effect, record.Life))
		case record.Life.Desired == lifecycle.Stopped && slices.Contains([]lifecycle.Verb{lifecycle.Connect, lifecycle.Pull, lifecycle.Create,
			lifecycle.Start}, job.Effect.Verb):
			w.broken("%v starts for a task that should stop", job.Effect)
		case record.Life.Desired != lifecycle.Stopped && w.mustStop[job.Task.ARN]:
			w.broken("%v starts; the node acknowledged that the task should stop", job.Effect)
		}
	}
	if n := len(w.flying) + len(p.Reports); n > agent.MaxReports {
		w.broken("%d reports under way", n)
	}
	for _, s := range p.Reports {
		if slices.ContainsFunc(w.flying, func(f agent.StateChange) bool { return f.Task == s.Task }) {
			w.broken("two reports on one task under way")
		}
		if s.Report.Status == lifecycle.Stopped && len(w.runtime.Running(s.Task)) > 0 {
			w.broken("STOPPED is told, and there run %v", w.runtime.Running(s.Task))
		}
	}
}

func (w *world) checkNode() {
	if amiss := w.runtime.Amiss(); amiss != "" {
		w.broken("%s", amiss)
	}
	for arn, doc := range w.docs {
		for _, c := range doc.Containers {
			if n := w.runtime.Starts(arn, c.Name); n > 1 {
				w.broken("%s %s was started %d times", arn, c.Name, n)
			}
		}
	}
}

func (w *world) hearReply(m protocol.Message) {
	switch m := m.(type) {
	case *protocol.Ack:
		for _, arn := range w.messages[m.MessageID] {
			w.mustStop[arn] = true
			if _, there := w.journal[arn]; !there && w.heard[arn].Status != lifecycle.Stopped {
				w.broken("acknowledged, and not in the journal: %s", arn)
			}
		}
	case *protocol.StopVerification:
		w.core.Receive(&protocol.StopVerificationAck{MessageID: m.MessageID, StopTasks: m.StopCandidates}, w.now)
	}
}

func (w *world) assign() {
	w.serial++
	doc := protocol.Task{ARN: arnOf(w.serial), ClusterARN: cluster, DesiredStatus: "RUNNING"}
	images := slices.Sorted(maps.Keys(programs))
	images = append(images, "missing")
	for i := range 1 + w.IntN(3) {
		doc.Containers = append(doc.Containers, protocol.Container{Name: fmt.Sprint("c", i), Image: images[w.IntN(len(images))],
			Essential: i == 0 || w.IntN(2) == 0, PortMappings: []protocol.PortMapping{{ContainerPort: 80, HostPort: uint16(w.IntN(3)) * 8000}}})
		w.drawLife(&doc.Containers[i], doc.Containers[:i])
	}
	w.docs[doc.ARN], w.assigned[doc.ARN] = doc, false
	w.send(doc)
}

// drawLife draws what a container waits for, whether it is started again, and how its health is found out.
func (w *world) drawLife(c *protocol.Container, before []protocol.Container) {
	if w.IntN(2) == 0 {
		c.HealthCheckType = "docker"
		c.DockerConfig = &protocol.DockerConfig{Config: fmt.Sprintf(`{"Healthcheck":{"Test":["CMD","check"],"Interval":%d,"Timeout":1000000000,"Retries":%d}}`,
			time.Duration(1+w.IntN(3))*time.Second, 1+w.IntN(2))}
	}
	if w.IntN(3) == 0 {
		c.RestartPolicy = &protocol.RestartPolicy{Enabled: true, RestartAttemptPeriod: 1, IgnoredExitCodes: []int{w.IntN(3)}}
	}
	c.StartTimeout = int64(w.IntN(3) * 3)
	for _, on := range before {
		switch condition := []string{"START", "COMPLETE", "SUCCESS", "HEALTHY"}[w.IntN(4)]; {
		case w.IntN(3) > 0 || condition == "HEALTHY" && on.HealthCheckType == "":
		default:
			c.DependsOn = append(c.DependsOn, protocol.Dependency{Container: on.Name, Condition: condition})
		}
	}
}

// resend says again, or for the first time, where a task should get to.
func (w *world) resend(stop bool) {
	arns := slices.Sorted(maps.Keys(w.docs))
	if len(arns) == 0 {
		return
	}
	arn := arns[w.IntN(len(arns))]
	if w.heard[arn].Status == lifecycle.Stopped {
		return // the server knows that it is over
	}
	doc := w.docs[arn]
	if stop || w.assigned[arn] {
		w.assigned[arn] = true
		doc = protocol.Task{ARN: arn, DesiredStatus: "STOPPED"}
	}
	w.send(doc)
}

func (w *world) send(doc protocol.Task) {
	id := fmt.Sprint("message ", len(w.messages))
	w.messages[id] = nil
	if doc.DesiredStatus == "STOPPED" {
		w.messages[id] = []string{doc.ARN}
	}
	w.core.Receive(&protocol.Payload{MessageID: id, ClusterARN: cluster, ContainerInstanceARN: instance, Tasks: []protocol.Task{doc}}, w.now)
}

// answer lets the server take a report; or lose it, and take it when it is sent again.
func (w *world) answer() {
	if len(w.flying) == 0 {
		return
	}
	i := w.IntN(len(w.flying))
	s := w.flying[i]
	if last := w.lately[s.Task]; s.Report.Status.Before(last) {
		w.broken("told %s after %s", s.Report.Status, last)
	}
	w.lately[s.Task] = s.Report.Status
	w.checkReport(s)
	if w.heard[s.Task].Status != lifecycle.Stopped {
		w.heard[s.Task] = s.Report
	}
	w.flying = slices.Delete(w.flying, i, i+1)
	w.core.Reported(s)
}

func (w *world) checkReport(s agent.StateChange) {
	if s.Report.Status == lifecycle.Stopped && len(s.Report.Containers) == 0 && !w.assigned[s.Task] {
		w.broken("%s was assigned, and forgotten", s.Task)
	}
	for _, c := range s.Report.Containers {
		if strings.HasPrefix(c.Reason, "ContainerVanishedError") {
			w.broken("%s %s was removed before its exit was written down", s.Task, c.Name)
		}
	}
}

func (w *world) step() {
	wake := w.turn()
	switch n := w.IntN(100); {
	case n < 10 && !w.healed:
		w.assign()
	case n < 15 && !w.healed:
		w.resend(true)
	case n < 18 && !w.healed:
		w.resend(false)
	case n == 18 && !w.healed:
		w.crash()
	case n == 19 && !w.healed:
		w.manifest()
	case n < 50:
		w.answer()
	default:
		w.pass(wake)
	}
}

// manifest lists everything but what should stop: the node must find that out by itself.
func (w *world) manifest() {
	m := &protocol.Manifest{MessageID: fmt.Sprint("manifest ", w.timeline), ClusterARN: cluster, ContainerInstanceARN: instance, Timeline: w.timeline + 1}
	for arn, stop := range w.assigned {
		if !stop {
			m.Tasks = append(m.Tasks, protocol.TaskIdentity{TaskARN: arn, ClusterARN: cluster, DesiredStatus: "RUNNING"})
		}
	}
	w.core.Receive(m, w.now)
}

// pass lets time pass until something happens, or a little.
func (w *world) pass(wake time.Time) {
	next := w.now.Add(time.Duration(1+w.IntN(1000)) * time.Millisecond)
	if at, ok := w.runtime.Wake(); ok && at.Before(next) {
		next = at
	}
	if !wake.IsZero() && (wake.Before(next) || w.healed && len(w.flying) == 0 && w.runtime.Underway() == 0) {
		next = wake
	}
	if next.After(w.now) {
		w.now = next
	}
	for _, d := range w.runtime.Tick(w.now) {
		w.core.Observe(d.Task, d.Result, w.now)
	}
}

// finish heals everything, stops every task, and demands that nothing is left.
func (w *world) finish() {
	w.healed = true
	w.runtime.Heal()
	for arn := range w.docs {
		w.assigned[arn] = true
	}
	for _, arn := range slices.Sorted(maps.Keys(w.docs)) {
		if w.heard[arn].Status != lifecycle.Stopped {
			w.send(protocol.Task{ARN: arn, DesiredStatus: "STOPPED"})
		}
	}
	for range 20_000 {
		w.step()
		if known, _ := w.core.Tasks(); known == 0 || w.trouble != "" {
			break
		}
	}
	w.save()
	known, _ := w.core.Tasks()
	switch {
	case known > 0:
		record, _ := w.core.Task(w.core.ARNs()[0])
		w.broken("after %v the node still knows %d tasks: %+v\nunder way %v", w.now.Sub(epoch), known, record, w.core.Underway(record.Task.ARN))
	case len(w.journal) > 0:
		w.broken("the journal still has %v", slices.Collect(maps.Keys(w.journal)))
	case len(w.runtime.Held()) > 0:
		w.broken("the node still holds %v", w.runtime.Held())
	}
	for arn := range w.docs {
		if w.heard[arn].Status != lifecycle.Stopped {
			w.broken("the server was never told that %s is STOPPED, but %+v", arn, w.heard[arn])
		}
	}
}

// TestNodesKeepTheirPromises runs Core on the simulation's Runtime, one node a seed, with faults and
// crashes.
func TestNodesKeepTheirPromises(t *testing.T) {
	seeds := uint64(500)
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		w := newWorld(seed)
		for range 150 {
			w.step()
		}
		w.finish()
		if w.trouble != "" {
			t.Fatalf("seed %d: %s", seed, w.trouble)
		}
	}
}
