package rollout

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// property is a service under a user and a world that do what they like.
type property struct {
	*model
	bad   map[string]bool // revisions whose tasks never become healthy
	again time.Time
}

func newProperty(t *rapid.T, daemon bool) *property {
	p := &property{model: newModel(), bad: map[string]bool{}}
	p.view.Service.Daemon = daemon
	for n := range rapid.IntRange(1, 4).Draw(t, "nodes") {
		p.view.Nodes = append(p.view.Nodes, Node{ID: fmt.Sprint("n", n), Zone: string(rune('a' + n%2))})
	}
	p.view.Service.Desired = rapid.IntRange(0, 5).Draw(t, "desired")
	p.view.Service.Rebalance = !daemon && rapid.Bool().Draw(t, "rebalance")
	p.settings(t)
	p.begin(t)
	return p
}

func (p *property) settings(t *rapid.T) {
	p.view.Deployment.Settings = Settings{
		Strategy: Rolling,
		Minimum:  rapid.SampledFrom([]int{0, 34, 50, 100}).Draw(t, "min"),
		Maximum:  rapid.SampledFrom([]int{100, 125, 150, 200}).Draw(t, "max"),
		Breaker:  rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "breaker"),
		RollBack: rapid.Bool().Draw(t, "rollback"), ResetOnHealthy: rapid.Bool().Draw(t, "reset"),
		Bake:  rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "bake"),
		Early: EarlySuccess{On: rapid.Bool().Draw(t, "early"), Percent: 50, LeavesOlder: rapid.Bool().Draw(t, "deferred")},
	}
}

func (p *property) begin(t *rapid.T) {
	revision := fmt.Sprint("v", len(p.view.Names)+1)
	p.deploy(revision)
	p.bad[revision] = rapid.IntRange(0, 3).Draw(t, "bad") == 0
}

// bounds are what the minimum and the maximum allow now.
func (p *property) bounds() (lower, upper int) {
	want := p.view.Service.Desired
	if p.view.Service.Daemon {
		want = 0
		for _, n := range p.view.Nodes {
			if !n.Down {
				want++
			}
		}
	}
	s := p.view.Deployment.Settings
	return (want*s.Minimum + 99) / 100, want * s.Maximum / 100
}

func (p *property) number(of func(Task) bool) int {
	n := 0
	for _, t := range p.view.Tasks {
		if of(t) {
			n++
		}
	}
	return n
}

func isHealthy(t Task) bool { return t.Phase == Healthy }

// act does one step of the rollout and holds it to its promises.
func (p *property) act(t *rapid.T) (changed bool) {
	before := slices.Clone(p.view.Tasks)
	deployment := p.view.Deployment
	plan := Next(p.view, p.now)
	p.again = plan.Again
	if !reflect.DeepEqual(before, p.view.Tasks) {
		t.Fatal("Next has changed what it was given")
	}
	for _, s := range plan.Stop {
		if task := p.task(s.Task); !task.Live() || task.Protected && task.Phase != Unhealthy && p.view.Service.Active {
			t.Fatalf("stops %s, which is %v, protected %t", s.Task, task.Phase, task.Protected)
		}
	}
	stopsHealthy := slices.ContainsFunc(plan.Stop, func(s Stop) bool { return p.task(s.Task).Phase == Healthy })
	p.do(plan)
	lower, upper := p.bounds()
	if p.view.Service.Active {
		if h := p.number(isHealthy); stopsHealthy && h < lower {
			t.Fatalf("%d are healthy, and the minimum is %d\n%s%s", h, lower, p.show(deployment, plan, p.now), p.tasks())
		}
		if n := p.number(Task.Live); len(plan.Start) > 0 && n > upper && !p.downDaemons() {
			t.Fatalf("%d are there, and the maximum is %d\n%s%s", n, upper, p.show(deployment, plan, p.now), p.tasks())
		}
	}
	if p.view.Service.Daemon {
		p.oneEach(t, plan)
	}
	for _, s := range plan.Start {
		if deployment.Status == Halted && s.Revision == deployment.Target {
			t.Fatalf("starts %s, whose deployment was halted", s.Revision)
		}
	}
	return len(plan.Start)+len(plan.Stop)+len(plan.Count)+len(plan.Healthy) > 0 || !reflect.DeepEqual(deployment, plan.Deployment)
}

// downDaemons: what runs on a node that is down counts for nothing.
func (p *property) downDaemons() bool {
	return p.view.Service.Daemon && slices.ContainsFunc(p.view.Nodes, func(n Node) bool { return n.Down })
}

// oneEach: a DAEMON service has one task on each node, and while it may have no more than one in all for each, none is
// started where one has not stopped.
func (p *property) oneEach(t *rapid.T, plan Plan) {
	for _, s := range plan.Start {
		here := p.number(func(task Task) bool { return task.Node == s.Node })
		most := 1
		if p.view.Deployment.Settings.Maximum > 100 {
			most = 1 + p.number(func(task Task) bool {
				return task.Node == s.Node && (task.Revision != s.Revision || !task.Live())
			})
		}
		if here > most {
			t.Fatalf("starts one on %s, where now are %d\n%s", s.Node, here, p.tasks())
		}
	}
}

// move lets something happen.
func (p *property) move(t *rapid.T) {
	p.now = p.now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
	if len(p.view.Tasks) > 0 {
		task := &p.view.Tasks[rapid.IntRange(0, len(p.view.Tasks)-1).Draw(t, "task")]
		switch how := rapid.IntRange(0, 9).Draw(t, "how"); {
		case task.Phase == Stopping:
			p.become("stopped", task.ID)
		case task.Phase == Stopped || !task.Live():
		case how == 0:
			p.become("failed", task.ID) // injected, or because it is bad
		case how == 1:
			p.become("unhealthy", task.ID)
		case how == 2:
			task.Protected = !task.Protected
		case how == 3 && !p.view.Service.Daemon: // of a DAEMON service, the node would be none of its any more
			task.Drained = true
		case task.Phase == Starting:
			task.Phase = Running
		case !p.bad[task.Revision]:
			p.become("healthy", task.ID)
		default:
			p.become("failed", task.ID)
		}
	}
	switch rapid.IntRange(0, 15).Draw(t, "event") {
	case 0:
		p.begin(t)
	case 1:
		p.view.Service.Desired = rapid.IntRange(0, 5).Draw(t, "desired")
	case 2:
		p.view.Deployment.StopAsked = rapid.SampledFrom([]string{"", "ABORT", "ROLLBACK"}).Draw(t, "ask")
	case 3:
		n := &p.view.Nodes[rapid.IntRange(0, len(p.view.Nodes)-1).Draw(t, "node")]
		n.Down = !n.Down
	case 4:
		p.settings(t)
	case 5:
		p.noPlace = !p.noPlace
	}
}

// heal ends all trouble but that of bad revisions.
func (p *property) heal() {
	p.noPlace = false
	for i := range p.view.Nodes {
		p.view.Nodes[i].Down = false
	}
	for i := range p.view.Tasks {
		p.view.Tasks[i].Protected = false
	}
}

// settle lets tasks do what they do until nothing changes any more.
func (p *property) settle(t *rapid.T) {
	for range 400 {
		changed := p.act(t)
		for _, task := range slices.Clone(p.view.Tasks) {
			switch {
			case task.Phase == Stopping:
				p.become("stopped", task.ID)
			case !task.Live() || task.Phase == Healthy:
				continue
			case task.Phase == Unhealthy:
				continue
			case p.bad[task.Revision]:
				p.become("failed", task.ID)
			default:
				p.become("healthy", task.ID)
			}
			changed = true
		}
		p.now = p.now.Add(20 * time.Minute)
		if !changed && p.again.IsZero() {
			return
		}
	}
	t.Fatalf("there is no end to it: %+v\n%s", p.view.Deployment, p.tasks())
}

func testProperties(t *rapid.T, daemon bool) {
	p := newProperty(t, daemon)
	for range rapid.IntRange(0, 60).Draw(t, "steps") {
		p.move(t)
		p.act(t)
	}
	p.heal()
	d := p.view.Deployment
	if p.bad[d.Heading] && (d.Status != InProgress && d.Status != Pending || d.Settings.Breaker == 0) {
		return // it goes on trying for ever, as it should
	}
	if p.bad[d.Stable] {
		return
	}
	p.settle(t)
	p.judge(t)
}

// judge: what a service has come to when all is quiet.
func (p *property) judge(t *rapid.T) {
	d := p.view.Deployment
	lower, upper := p.bounds()
	want := p.view.Service.Desired
	if p.view.Service.Daemon {
		want = len(p.view.Nodes)
	}
	live := p.number(Task.Live)
	stalled := d.Status == Halted && (d.Stable == "" || d.Stable == d.Target) // nothing starts in anything's stead
	if live != p.number(isHealthy) && !stalled || live > max(upper, want) {
		t.Fatalf("of %d, all should be healthy: %+v\n%s", want, d, p.tasks())
	}
	heading := p.number(func(task Task) bool { return task.Revision == d.Heading && !task.Drained })
	switch {
	case stalled:
		if live > want {
			t.Fatalf("halted, with %d of %d\n%s", live, want, p.tasks())
		}
	case d.Status == Halted:
		if live != want {
			t.Fatalf("halted, with %d of %d\n%s", live, want, p.tasks())
		}
	case want > 0 && lower == want && upper == want && live == want && heading < want: // neither more nor fewer: it can never end
		if d.Steady {
			t.Fatalf("%s and steady, and old tasks are left\n%s", d.Status, p.tasks())
		}
	default:
		if heading != want || live != want || d.Open() || !d.Steady {
			t.Fatalf("%s with %d of %d, steady %t: %+v\n%s", d.Status, heading, want, d.Steady, d, p.tasks())
		}
	}
	if d.Status == RollbackSuccessful && live != p.number(func(task Task) bool { return task.Revision == d.Stable }) {
		t.Fatalf("rolled back, and not all are of %s\n%s", d.Stable, p.tasks())
	}
}

// TestPromises: whatever happens, Next never goes below the minimum or above the maximum, and when things are quiet it
// brings the service to what is wanted, or back to what worked.
func TestPromises(t *testing.T) {
	t.Run("replica", rapid.MakeCheck(func(t *rapid.T) { testProperties(t, false) }))
	t.Run("daemon", rapid.MakeCheck(func(t *rapid.T) { testProperties(t, true) }))
}
