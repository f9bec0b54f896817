package rollout

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// model is a service whose plans are done.
type model struct {
	view    View
	now     time.Time
	count   int // of tasks that were ever started
	noPlace bool
	told    map[string]bool // what is told once, since the service was steady
}

func newModel() *model {
	return &model{told: map[string]bool{}, now: epoch, view: View{Service: Service{Active: true}, Names: map[string]string{}}}
}

// deploy begins a deployment.
func (m *model) deploy(revision string) {
	last := m.view.Deployment
	stable := last.Stable
	if last.Status == Successful || last.Status == RollbackSuccessful {
		stable = last.Heading
	}
	m.view.Names[revision] = "ecs-svc/" + revision
	m.view.Deployment = Deployment{Settings: last.Settings, Heading: revision, Target: revision, Stable: stable, Status: Pending, CreatedAt: m.now}
}

// do does a plan.
func (m *model) do(p Plan) {
	m.view.Deployment = p.Deployment
	for _, s := range p.Stop {
		t := m.task(s.Task)
		t.Phase, t.Failed = Stopping, false
	}
	for _, id := range p.Count {
		t := m.task(id)
		t.Failed = false
		if t.Phase == Stopped {
			m.remove(id)
		}
	}
	for _, id := range p.Healthy {
		m.task(id).HealthyAt = m.now
	}
	for _, s := range p.Start {
		for range s.Count {
			if !m.noPlace {
				m.start(s)
			}
		}
	}
}

func (m *model) start(s Start) {
	m.count++
	t := Task{ID: fmt.Sprintf("t%d", m.count), Revision: s.Revision, CreatedAt: m.now, Node: s.Node, Zone: s.Zone}
	best := -1
	for _, n := range m.view.Nodes { // where there are fewest, in zones and then on nodes
		if n.Down || n.Full || s.Node != "" && n.ID != s.Node || s.Zone != "" && n.Zone != s.Zone {
			continue
		}
		load := 0
		for _, other := range m.view.Tasks {
			if other.Live() && other.Zone == n.Zone {
				load += 100
			}
			if other.Live() && other.Node == n.ID {
				load++
			}
		}
		if best < 0 || load < best {
			best, t.Node, t.Zone = load, n.ID, n.Zone
		}
	}
	m.view.Tasks = append(m.view.Tasks, t)
}

func (m *model) task(id string) *Task {
	for i := range m.view.Tasks {
		if m.view.Tasks[i].ID == id {
			return &m.view.Tasks[i]
		}
	}
	panic("no task " + id)
}

func (m *model) remove(id string) {
	m.view.Tasks = slices.DeleteFunc(m.view.Tasks, func(t Task) bool { return t.ID == id })
}

// become moves tasks on.
func (m *model) become(phase string, ids ...string) {
	for _, id := range ids {
		t := m.task(id)
		switch phase {
		case "starting":
			t.Phase = Starting
		case "running":
			t.Phase = Running
		case "healthy":
			t.Phase, t.Why, t.Reason = Healthy, "", ""
		case "unhealthy":
			t.Phase, t.Why, t.Reason = Unhealthy, "(task "+id+") failed container health checks.", "Task failed container health checks"
		case "failed":
			t.Phase, t.Failed = Stopped, true
		case "stopped":
			m.remove(id)
		}
	}
}

// those are the tasks that are named, or all that a word stands for.
func (m *model) those(names []string) []string {
	var ids []string
	for _, name := range names {
		for _, t := range m.view.Tasks {
			if t.ID == name || t.Revision == name && t.Live() || name == "all" && t.Live() || name == "stopping" && t.Phase == Stopping {
				ids = append(ids, t.ID)
			}
		}
	}
	return ids
}

// step does what is planned now, and tells.
func (m *model) step() (string, bool) {
	before := m.view.Deployment
	p := Next(m.view, m.now)
	said := m.show(before, p, m.now)
	m.do(p)
	return said, len(p.Start)+len(p.Stop)+len(p.Count)+len(p.Healthy) > 0 || !reflect.DeepEqual(before, p.Deployment)
}

func (m *model) show(before Deployment, p Plan, now time.Time) string {
	var b strings.Builder
	why := map[string][]string{}
	for _, s := range p.Stop {
		why[s.Reason] = append(why[s.Reason], s.Task)
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		fmt.Fprintf(&b, "stop %s: %s\n", strings.Join(why[reason], " "), reason)
	}
	for _, s := range p.Start {
		fmt.Fprintf(&b, "start %d of %s", s.Count, s.Revision)
		if s.Node+s.Zone != "" {
			fmt.Fprintf(&b, " at %s%s", s.Node, s.Zone)
		}
		b.WriteString("\n")
	}
	if len(p.Count) > 0 {
		fmt.Fprintf(&b, "counted: %s\n", strings.Join(p.Count, " "))
	}
	for _, e := range p.Events {
		if e.Once && m.told[e.Message] {
			continue
		}
		m.told[e.Message] = e.Once
		fmt.Fprintf(&b, "tells %q\n", e.Message)
	}
	if p.Deployment.Steady {
		clear(m.told)
	}
	d := p.Deployment
	if before.Status != d.Status || before.Heading != d.Heading {
		fmt.Fprintf(&b, "%s to %s", d.Status, d.Heading)
		if d.Reason != "" {
			fmt.Fprintf(&b, ": %s", d.Reason)
		}
		b.WriteString("\n")
	}
	if p.Finished {
		b.WriteString("finished\n")
	}
	if !p.Again.IsZero() {
		fmt.Fprintf(&b, "again in %v\n", p.Again.Sub(now))
	}
	return b.String()
}

func (m *model) tasks() string {
	var b strings.Builder
	for _, t := range m.view.Tasks {
		fmt.Fprintf(&b, "%s of %s is %s", t.ID, t.Revision, []string{"starting", "running", "healthy", "unhealthy", "stopping", "stopped"}[t.Phase])
		if t.Node != "" {
			fmt.Fprintf(&b, " on %s", t.Node)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestTranscripts reads as what becomes of a service. Commands; after each, what is planned is done until nothing more
// is, and told:
//
//	service [desired=N] [min=P] [max=P] [breaker=N] [rollback] [no-reset] [bake=D] [early=P] [deferred] [daemon] [rebalance]
//	deploy REVISION
//	node ID [zone=Z] [down] [full]
//	become (running|healthy|unhealthy|failed|stopped) TASK...    by ID, by revision, all; those that are stopping; it takes a second
//	protect TASK | drain TASK
//	no-place | place
//	ask ABORT | ROLLBACK
//	delete
//	pass D
//	tasks
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.HasPrefix(path, "testdata/shift/") {
			return // TestShifts reads those
		}
		m := newModel()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			m.run(t, d)
			if d.Cmd == "tasks" {
				return m.tasks()
			}
			var b strings.Builder
			for again, n := true, 0; again; n++ {
				if n > 100 {
					t.Fatalf("%s: there is no end to it:\n%s", d.Pos, b.String())
				}
				var said string
				said, again = m.step()
				b.WriteString(said)
				if m.noPlace {
					break
				}
			}
			if b.Len() == 0 {
				return "nothing\n"
			}
			return b.String()
		})
	})
}

func (m *model) run(t *testing.T, d *datadriven.TestData) {
	number := func(key string, otherwise int) int {
		if arg, ok := d.Arg(key); ok {
			var n int
			if _, err := fmt.Sscan(arg.Vals[0], &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		return otherwise
	}
	var names []string
	for _, arg := range d.CmdArgs {
		names = append(names, arg.Key)
	}
	switch d.Cmd {
	case "service":
		s := &m.view.Service
		s.Desired = number("desired", s.Desired)
		s.Daemon, s.Rebalance = d.HasArg("daemon"), d.HasArg("rebalance")
		e := EarlySuccess{On: d.HasArg("early"), Percent: number("early", 0), LeavesOlder: d.HasArg("deferred")}
		m.view.Deployment.Settings = Settings{Strategy: Rolling, Minimum: number("min", 100), Maximum: number("max", 200),
			Breaker: number("breaker", 0), RollBack: d.HasArg("rollback"), ResetOnHealthy: !d.HasArg("no-reset"), Early: e}
		if arg, ok := d.Arg("bake"); ok {
			m.view.Deployment.Settings.Bake, _ = time.ParseDuration(arg.Vals[0])
		}
	case "deploy":
		m.deploy(names[0])
	case "node":
		n := Node{ID: names[0], Down: d.HasArg("down"), Full: d.HasArg("full")}
		if arg, ok := d.Arg("zone"); ok {
			n.Zone = arg.Vals[0]
		}
		m.view.Nodes = slices.DeleteFunc(m.view.Nodes, func(o Node) bool { return o.ID == n.ID })
		m.view.Nodes = append(m.view.Nodes, n)
	case "become":
		m.now = m.now.Add(time.Second)
		m.become(names[0], m.those(names[1:])...)
	case "protect":
		for _, id := range m.those(names) {
			m.task(id).Protected = true
		}
	case "drain":
		for _, id := range m.those(names) {
			m.task(id).Drained = true
		}
	case "no-place", "place":
		m.noPlace = d.Cmd == "no-place"
	case "ask":
		m.view.Deployment.StopAsked = names[0]
	case "delete":
		m.view.Service.Active = false
	case "pass":
		after, err := time.ParseDuration(names[0])
		if err != nil {
			t.Fatal(err)
		}
		m.now = m.now.Add(after)
	case "tasks":
	default:
		t.Fatal("unknown command ", d.Cmd)
	}
}
