package control

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/state"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func arn(kind, name string) string {
	return "arn:aws:ecs:us-east-1:000000000000:" + kind + "/" + name
}

// world is a state in one thread with a loop.
type world struct {
	t     *testing.T
	store *state.Store
	loop  *Loop
	now   time.Time
	shown state.Revision
}

func newWorld(t *testing.T, controllers ...Controller) *world {
	t.Helper()
	ids := 0
	store, err := state.Open(context.Background(), &state.Memory{}, state.Config{
		Synchronous: true,
		NewID:       func() string { ids++; return fmt.Sprintf("s%d", ids) },
	})
	if err != nil {
		t.Fatal(err)
	}
	loop := NewLoop(Config{Store: store, Controllers: controllers, Seed: 1, Log: slog.New(slog.DiscardHandler)})
	return &world{t: t, store: store, loop: loop, now: epoch}
}

func (w *world) update(f func(*state.Tx)) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
	w.shown = w.store.Revision()
}

// settle steps until there is nothing to do at this time.
func (w *world) settle() (steps int) {
	for w.loop.Step(context.Background(), w.now) || !w.loop.Wake().After(w.now) {
		if steps++; steps > 10_000 {
			w.t.Fatal("the loop does not come to rest")
		}
	}
	return steps
}

// pass lets time go by, with every stop on the way that the loop asks for.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for w.settle(); !w.loop.Wake().After(end); w.settle() {
		w.now = w.loop.Wake()
	}
	w.now = end
}

// changes shows what has happened since it was last asked.
func (w *world) changes() string {
	var b strings.Builder
	for _, c := range w.store.Since(w.shown) {
		for _, change := range c.Changes {
			verb := "changed"
			switch {
			case change.New == nil:
				verb = "forgot"
			case change.Old == nil:
				verb = "made"
			}
			if h, ok := change.New.(state.ServiceHistory); ok {
				before, _ := change.Old.(state.ServiceHistory)
				for _, e := range slices.Backward(h.Events[:len(h.Events)-len(before.Events)]) {
					fmt.Fprintf(&b, "told %s\n", e.Message)
				}
				continue
			}
			fmt.Fprintf(&b, "%s %s %s%s\n", verb, change.Table, change.Key[strings.IndexByte(change.Key, '/')+1:], detail(change.New))
		}
		w.shown = c.Revision
	}
	return b.String()
}

func detail(record any) string {
	switch r := record.(type) {
	case state.Task:
		s := fmt.Sprintf(": %s, wants %s, %s %q, stopping %s, stopped %s", r.Last, r.Desired, r.StopCode, r.StoppedReason,
			since(r.StoppingAt), since(r.StoppedAt))
		if r.Attached {
			s += ", attached"
		}
		for _, c := range r.Containers {
			s += fmt.Sprintf(", %s %s", c.Name, c.Last)
		}
		return s
	case state.Instance:
		return fmt.Sprintf(": %s, node %s, automatic %t", r.Status, r.NodeID, r.Automatic)
	case state.Target:
		s := fmt.Sprintf(": of %q, zone %q", r.TaskARN[strings.LastIndexByte(r.TaskARN, '/')+1:], r.Zone)
		if !r.DrainingSince.IsZero() {
			s += ", draining since " + since(r.DrainingSince)
		}
		return s
	case state.Node:
		return fmt.Sprintf(": remaining %d", r.Remaining.CPU)
	}
	return ""
}

func since(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Sub(epoch).String()
}

// TestControllers runs the transcripts: all controllers together on one state. Commands, each of which
// lets the controllers settle and shows what they did:
//
//	cluster NAME [status=S]
//	node ID [every-cluster] [connected]
//	instance CLUSTER/ID node=N [status=S] [automatic]     registered now, or deregistered, if INACTIVE
//	task CLUSTER/ID [on=CLUSTER/I] [definition=D] [desired=S] [last=S] [code=C]
//	definition NAME status=S
//	token KEY
//	refusal CLUSTER definition=D
//	(group|listener|rule|service|revision|target) ...     see runBalance
//	forget (cluster|node|instance|task) NAME
//	pass D                                                some time goes by
func TestControllers(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.HasPrefix(path, "testdata/deploy/") || strings.HasPrefix(path, "testdata/traffic/") { // TestDeploy's, TestTraffic's
			return
		}
		w := newWorld(t, All()...)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			w.run(t, d)
			out := w.changes()
			if out == "" {
				return "nothing\n"
			}
			return out
		})
	})
}

func (w *world) run(t *testing.T, d *datadriven.TestData) {
	value := func(key, otherwise string) string {
		if arg, ok := d.Arg(key); ok {
			return arg.Vals[0]
		}
		return otherwise
	}
	name := d.CmdArgs[0].Key
	status := value("status", "ACTIVE")
	switch d.Cmd {
	case "cluster":
		c := state.Cluster{ARN: arn("cluster", name), Name: name, Status: status, CreatedAt: epoch}
		if status == "INACTIVE" {
			c.DeletedAt = w.now
		}
		w.update(func(tx *state.Tx) { state.Clusters.Put(tx, c) })
	case "node":
		w.update(func(tx *state.Tx) {
			n, _ := state.Nodes.Get(tx, name)
			n.ID, n.EveryCluster, n.Connected = name, d.HasArg("every-cluster"), d.HasArg("connected")
			n.EC2InstanceID = "i-" + name
			state.Nodes.Put(tx, n)
		})
	case "instance":
		cluster, _, _ := strings.Cut(name, "/")
		i := state.Instance{
			ARN: arn("container-instance", name), ClusterARN: arn("cluster", cluster), NodeID: value("node", ""),
			Status: status, Automatic: d.HasArg("automatic"), RegisteredAt: w.now,
		}
		if status == "INACTIVE" {
			i.DeregisteredAt = w.now
		}
		w.update(func(tx *state.Tx) { state.Instances.Put(tx, i) })
	case "task":
		w.update(func(tx *state.Tx) { w.putTask(tx, name, value) })
	case "definition":
		w.update(func(tx *state.Tx) {
			definition := state.TaskDefinition{ARN: arn("task-definition", name), Status: types.TaskDefinitionStatus(status)}
			if d.HasArg("host") {
				definition.Spec.NetworkMode = types.NetworkModeHost
			}
			state.TaskDefinitions.Put(tx, definition)
		})
	case "refusal":
		w.update(func(tx *state.Tx) {
			state.Refusals.Put(tx, state.Refusal{ClusterARN: arn("cluster", name), DefinitionARN: value("definition", ""), LastAt: w.now})
		})
	case "token":
		w.update(func(tx *state.Tx) { state.ClientTokens.Put(tx, state.ClientToken{Key: name, CreatedAt: w.now}) })
	case "forget":
		w.update(func(tx *state.Tx) {
			switch key := d.CmdArgs[1].Key; name {
			case "cluster":
				state.Clusters.Delete(tx, arn("cluster", key))
			case "node":
				state.Nodes.Delete(tx, key)
			case "instance":
				state.Instances.Delete(tx, arn("container-instance", key))
			case "task":
				state.Tasks.Delete(tx, arn("task", key))
			}
		})
	case "pass":
		after, err := time.ParseDuration(name)
		if err != nil {
			t.Fatal(err)
		}
		w.pass(after)
	default:
		if !w.runBalance(d, name, value) {
			t.Fatal("unknown command ", d.Cmd)
		}
	}
	w.pass(0)
}

func (w *world) putTask(tx *state.Tx, name string, value func(key, otherwise string) string) {
	cluster, _, _ := strings.Cut(name, "/")
	task, ok := state.Tasks.Get(tx, arn("task", name))
	if !ok {
		i, _ := state.Instances.Get(tx, arn("container-instance", value("on", "")))
		task = state.Task{
			ARN: arn("task", name), ClusterARN: arn("cluster", cluster), DefinitionARN: arn("task-definition", value("definition", "web:1")),
			InstanceARN: i.ARN, NodeID: i.NodeID, Desired: lifecycle.Running, Last: lifecycle.Pending, CreatedAt: w.now,
			Reserved: state.Resources{CPU: 100}, Containers: []state.Container{{Name: "web", Last: lifecycle.Pending}},
		}
	}
	w.putCopy(&task, value)
	task.Desired = lifecycle.Status(value("desired", string(task.Desired)))
	task.Last = lifecycle.Status(value("last", string(task.Last)))
	task.StopCode = types.TaskStopCode(value("code", string(task.StopCode)))
	if task.Last == lifecycle.Stopped && task.StoppedAt.IsZero() {
		task.StoppedAt = w.now
	}
	state.Tasks.Put(tx, task)
}
