package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/agent"
	"havn/api/ecs"
	"havn/dispatch"
	"havn/lifecycle"
	"havn/protocol"
)

// node is a machine: what outlives the agent's process.
type node struct {
	w           *world
	id          string
	cluster     string // to be a container instance of; empty = of every cluster
	cpu, memory int64
	rack        string
	settings    lifecycle.Settings

	runtime *Runtime
	ticking alarm
	journal journal
	agent   *process // nil while it is down
	cutOff  bool
	skew    time.Duration // of its clock

	dirty     bool               // something may have changed that is checked
	disturbed bool               // it has lost its containers or its journal, or was taken out of a cluster while it was away
	mayStart  map[agent.Work]int // of tasks that should stop: how often each container may have been started
}

// journal is what is on the node's disk, as it would be.
type journal struct {
	records  map[string][]byte
	instance string
	timeline int64
}

// drawNodes draws the machines: some serve every cluster, some one.
func drawNodes(w *world) []*node {
	var nodes []*node
	for n := range 1 + w.chance.IntN(4) {
		one := &node{
			w: w, id: fmt.Sprintf("node-%d", n),
			cpu: pick(w, []int64{512, 1024, 2048, 4096}), memory: pick(w, []int64{256, 1024, 4096}), rack: pick(w, []string{"r1", "r2"}),
			settings: lifecycle.Settings{CleanupWait: pick(w, []time.Duration{time.Minute, 10 * time.Minute})},
		}
		if w.chance.IntN(2) == 0 {
			one.cluster = pick(w, clusterNames)
		}
		one.begin(w.chance.Uint64())
		nodes = append(nodes, one)
	}
	return nodes
}

// begin makes the machine, on which there is nothing yet.
func (n *node) begin(seed uint64) {
	n.mayStart = map[agent.Work]int{}
	n.runtime = NewRuntime(RuntimeConfig{Seed: seed, Programs: programs, Faults: n.w.faults.Runtime})
}

func (n *node) clusterName() string {
	if n.cluster == "" {
		return "default"
	}
	return n.cluster
}

// clock is what the machine's clock says.
func (n *node) clock() time.Time { return n.w.now.Add(n.skew) }

// tick lets the runtime go on, and tells the agent what has ended.
func (n *node) tick() {
	n.dirty = true
	for _, d := range n.runtime.Tick(n.w.now) {
		n.mistreat(d)
		if p := n.agent; p != nil {
			n.w.say(n.id, "ended %s %s%s", short(d.Task), showEffect(d.Result.Effect), showResult(d.Result))
			p.core.Observe(d.Task, d.Result, n.clock())
			p.wake(n.w.now)
		}
	}
	if at, ok := n.runtime.Wake(); ok {
		n.w.wake(&n.ticking, at, n.tick)
	}
}

func (n *node) wake() {
	if n.agent != nil {
		n.agent.wake(n.w.now)
	}
}

// boot starts an agent's process.
func (n *node) boot() {
	if n.agent != nil {
		return
	}
	n.tick()
	p := &process{node: n, w: n.w, connecting: 25 * time.Millisecond}
	n.agent = p
	config := agent.CoreConfig{Settings: n.settings, Cluster: n.clusterName(), Timeline: n.journal.timeline, Held: n.runtime.Held()}
	for _, arn := range slices.Sorted(maps.Keys(n.journal.records)) {
		var r agent.Record
		if err := json.Unmarshal(n.journal.records[arn], &r); err != nil {
			n.w.fail("every journal record decodes", "%s: %v", short(arn), err)
		}
		config.Records = append(config.Records, n.misremembered(r))
	}
	p.core = agent.NewCore(config, n.clock())
	known, live := p.core.Tasks()
	n.w.say(n.id, "starts; %d tasks known, %d not stopped", known, live)
	p.wake(n.w.now)
	p.session()
}

// crash ends the agent's process. A new one comes after a while.
func (n *node) crash(why string) {
	n.w.say(n.id, "%s", why)
	if n.agent == nil {
		return // the one that comes will find out
	}
	n.w.stats.Crashes++
	n.agent.end()
	n.agent = nil
	n.runtime.Tick(n.w.now)
	n.runtime.Crash(n.w.now)
	n.dirty = true
	n.w.after(n.w.upTo(30*time.Second), n.boot)
}

// write is the journal's transaction.
func (n *node) write(p *agent.Plan) {
	if n.journal.records == nil {
		n.journal.records = map[string][]byte{}
	}
	for _, r := range p.Save {
		b, err := json.Marshal(r)
		if err != nil {
			n.w.fail("every journal record encodes", "%s: %v", short(r.Task.ARN), err)
		}
		n.journal.records[r.Task.ARN] = b
		if r.Life.Desired == lifecycle.Stopped {
			n.toldToStop(r)
		}
	}
	for _, arn := range p.Forget {
		delete(n.journal.records, arn)
	}
	if p.Timeline != 0 {
		n.journal.timeline = p.Timeline
	}
}

// process is one run of the agent, from its start to its death. It does in virtual time what the agent's
// loop, session and reporter do.
type process struct {
	node *node
	w    *world
	core *agent.Core
	dead bool

	turning    alarm
	instance   string
	link       *link
	away       bool // for an hour, because it was deregistered
	connecting time.Duration
	reporting  []*reporting
}

func (p *process) end() {
	p.dead = true
	if p.link != nil && p.link.there {
		p.link.there = false
		p.link.serverSees()
	}
}

// wake gives the loop a turn.
func (p *process) wake(at time.Time) {
	p.w.wake(&p.turning, at, func() {
		if !p.dead {
			p.turn()
		}
	})
}

// turn asks for a plan and carries it out, as agent's loop does. It may be killed at any point of it.
func (p *process) turn() {
	n, w := p.node, p.w
	plan := p.core.Next(n.clock())
	died := func(where string) bool {
		if w.happens(w.faults.AgentDies) {
			n.crash("dies " + where)
			return true
		}
		return false
	}
	if plan.SaveFirst {
		if died("before it has saved") {
			return
		}
		n.write(&plan)
		if died("after it has saved") {
			return
		}
	}
	for _, c := range plan.Cancel {
		w.say(n.id, "cancels %s %s", short(c.Task), showEffect(c.Effect))
		n.runtime.Cancel(c.Task, c.Effect, w.now)
	}
	for _, job := range plan.Start {
		p.checkStart(job)
		w.say(n.id, "begins %s %s", short(job.Task.ARN), showEffect(job.Effect))
		n.runtime.Begin(job.Task, job.Effect, w.now)
	}
	n.tickSoon()
	for _, change := range plan.Reports {
		p.report(change)
	}
	p.tellHealth(plan.Health)
	if !plan.SaveFirst {
		if died("before it has saved what it saw") {
			return
		}
		n.write(&plan)
	}
	for _, m := range plan.Replies {
		if p.link != nil && p.link.there {
			p.link.reply(m)
		}
	}
	if !plan.Wake.IsZero() {
		p.wake(plan.Wake.Add(-n.skew))
	}
}

func (n *node) tickSoon() {
	if at, ok := n.runtime.Wake(); ok {
		n.w.wake(&n.ticking, at, n.tick)
	}
}

// errTimeout is what a caller sees of an answer that does not come.
var errTimeout = errors.New("context deadline exceeded")

// call calls the API, if the world lets it, and gives the answer to a process that still lives.
func (p *process) call(a actor, do func(context.Context, *ecs.Server) error, answer func(error)) {
	w, f := p.w, &p.w.faults
	back := func(d time.Duration, err error) {
		w.after(d, func() {
			if !p.dead {
				answer(err)
			}
		})
	}
	arrive := func() (err error, there bool) {
		if w.server == nil {
			return errDied, false
		}
		s := w.server
		return s.do(a, func(ctx context.Context) error { return do(ctx, s.api) }), true
	}
	delay := 100*time.Microsecond + w.upTo(time.Millisecond)
	if w.happens(f.CallLate) {
		delay += w.upTo(20 * time.Second)
	}
	if p.node.cutOff || w.happens(f.CallLost) {
		w.stats.Lost++
		back(30*time.Second, errTimeout)
		return
	}
	if w.happens(f.CallTwice) { // a proxy that repeats it, also much later
		w.after(delay+w.upTo(2*time.Minute), func() { arrive() })
	}
	w.after(delay, func() {
		err, there := arrive()
		switch {
		case there && (p.node.cutOff || w.happens(f.AnswerLost)):
			w.stats.Lost++
			back(30*time.Second, errTimeout)
		default:
			back(delay, err)
		}
	})
}

// session registers if that is due, and connects.
func (p *process) session() {
	if p.dead {
		return
	}
	if p.instance == "" {
		p.register()
		return
	}
	p.w.dial(p, dispatch.Hello{Instance: p.instance, Cluster: p.node.clusterName(), AgentVersion: "sim", AgentHash: "sim",
		DockerVersion: "DockerVersion: sim"}, p.connected, func(err error) {
		if !p.dead {
			p.disconnected(nil, err)
		}
	})
}

func (p *process) register() {
	n := p.node
	var instance string
	p.call(byRegister, func(ctx context.Context, api *ecs.Server) error {
		out, err := api.RegisterContainerInstance(ctx, n.registration())
		if err == nil {
			instance = *out.ContainerInstance.ContainerInstanceArn
		}
		return err
	}, func(err error) {
		switch {
		case code(err) == "ClusterNotFoundException" && n.cluster == "":
			p.call(byUser, func(ctx context.Context, api *ecs.Server) error {
				_, err := api.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: aws.String("default")})
				return err
			}, func(error) { p.again(p.connecting) })
		case err != nil:
			p.w.say(n.id, "cannot register: %v", err)
			p.disconnected(nil, err)
		default:
			if n.journal.instance != instance {
				n.journal.instance, n.journal.timeline = instance, 0
				p.core.Anew()
				p.wake(p.w.now)
			}
			p.instance = instance
			p.session()
		}
	})
}

func (p *process) connected(l *link) {
	if p.dead {
		l.there = false
		l.serverSees()
		return
	}
	p.link = l
	p.connecting = 25 * time.Millisecond
	l.listen()
	p.tellAllHealth(l)
	for _, r := range slices.Clone(p.reporting) {
		r.hurry()
	}
}

// disconnected tries again, after a while.
func (p *process) disconnected(l *link, err error) {
	if l != nil && p.link != l {
		return
	}
	p.link = nil
	p.w.say(p.node.id, "is not connected: %v", err)
	var refusal *dispatch.Refusal
	if errors.As(err, &refusal) {
		switch refusal.Name {
		case protocol.InactiveInstance:
			p.instance, p.away = "", true
			p.w.after(inactiveWait, func() {
				p.away = false
				p.session()
			})
			return
		case protocol.InvalidInstance, protocol.InvalidCluster:
			p.instance = ""
		}
	}
	p.again(p.connecting)
	p.connecting = min(p.connecting*3/2, 2*time.Minute)
}

// inactiveWait is how long an agent stays away that was deregistered. When all is healed, somebody has
// restarted it.
const inactiveWait = time.Hour

func (p *process) again(d time.Duration) { p.w.after(d, p.session) }

// registration is what an agent says of its machine.
func (n *node) registration() *sdk.RegisterContainerInstanceInput {
	with := map[string]string{"ecs.os-type": "linux", "ecs.os-family": "LINUX", "ecs.cpu-architecture": "x86_64",
		"havn.node-id": n.id, "ecs.capability.full-sync": "", "rack": n.rack}
	if n.cluster == "" {
		with["havn.every-cluster"] = "true"
	}
	for _, name := range []string{"container-ordering", "container-health-check", "container-restart-policy"} {
		with["ecs.capability."+name] = ""
	}
	for api := 17; api <= 29; api++ {
		with[fmt.Sprintf("com.amazonaws.ecs.capability.docker-remote-api.1.%d", api)] = ""
	}
	in := &sdk.RegisterContainerInstanceInput{Cluster: aws.String(n.clusterName()),
		TotalResources: []types.Resource{
			{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: int32(n.cpu)},
			{Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: int32(n.memory)},
			{Name: aws.String("PORTS"), Type: aws.String("STRINGSET"), StringSetValue: []string{"22"}},
			{Name: aws.String("PORTS_UDP"), Type: aws.String("STRINGSET"), StringSetValue: []string{}},
		}}
	if n.w.options.Defect == Overbooks && n.journal.instance != "" {
		in.TotalResources[0].IntegerValue = 1
	}
	if n.journal.instance != "" {
		in.ContainerInstanceArn = aws.String(n.journal.instance)
	}
	for _, name := range slices.Sorted(maps.Keys(with)) {
		a := types.Attribute{Name: aws.String(name)}
		if with[name] != "" {
			a.Value = aws.String(with[name])
		}
		in.Attributes = append(in.Attributes, a)
	}
	return in
}

// reporting is a report under way: it is sent until the server has accepted it, or has refused it for good.
type reporting struct {
	p      *process
	change agent.StateChange
	delay  time.Duration
	number int // of attempts; a later one makes the wait of an earlier moot
	done   bool
	asking bool
}

func (p *process) report(change agent.StateChange) {
	r := &reporting{p: p, change: p.embellished(change), delay: 50 * time.Millisecond}
	p.reporting = append(p.reporting, r)
	r.try()
}

func (r *reporting) hurry() {
	if !r.asking && !r.done {
		r.delay = 50 * time.Millisecond
		r.try()
	}
}

func (r *reporting) try() {
	if r.p.dead || r.done {
		return
	}
	r.number++
	number, in := r.number, r.change.Input()
	r.asking = true
	r.p.call(byNode, func(ctx context.Context, api *ecs.Server) error {
		if r.p.w.options.Defect == LosesLastWord && r.change.Report.Status == lifecycle.Stopped {
			return errTimeout
		}
		_, err := api.SubmitTaskStateChange(ctx, in)
		return err
	}, func(err error) {
		r.asking = false
		w := r.p.w
		if err == nil || code(err) == "InvalidParameterException" {
			w.say(r.p.node.id, "reported %s %s%s", short(r.change.Task), r.change.Report.Status, showError(err))
			r.done = true
			r.p.reporting = slices.DeleteFunc(r.p.reporting, func(x *reporting) bool { return x == r })
			r.p.core.Reported(r.change)
			r.p.wake(w.now)
			return
		}
		w.say(r.p.node.id, "cannot report %s %s: %v", short(r.change.Task), r.change.Report.Status, err)
		w.after(r.delay, func() {
			if r.number == number {
				r.try()
			}
		})
		r.delay = min(2*r.delay, 30*time.Second)
	})
}
