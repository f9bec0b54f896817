package dispatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	clusterARN    = "arn:aws:ecs:us-east-1:000000000000:cluster/demo"
	definitionARN = "arn:aws:ecs:us-east-1:000000000000:task-definition/web:1"
)

func taskARN(id string) string {
	return "arn:aws:ecs:us-east-1:000000000000:task/demo/" + id
}

func instanceARN(id string) string {
	return "arn:aws:ecs:us-east-1:000000000000:container-instance/demo/" + id
}

// last is the end of an ARN, which is what transcripts show of it.
func last(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
}

// world is a state in one thread, and what tests do to it.
type world struct {
	t     failer
	store *state.Store
	now   time.Time
	older *Session // before the one that a transcript speaks of
}

func newWorld(t failer) *world {
	t.Helper()
	ids := 0
	store, err := state.Open(context.Background(), &state.Memory{}, state.Config{
		Synchronous: true,
		NewID:       func() string { ids++; return fmt.Sprintf("s%d", ids-1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, now: epoch}
	w.update(func(tx *state.Tx) { putDefinition(tx) })
	return w
}

func (w *world) update(f func(*state.Tx)) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func putDefinition(tx *state.Tx) {
	state.TaskDefinitions.Put(tx, state.TaskDefinition{
		ARN: definitionARN, Family: "web", Revision: 1, Status: types.TaskDefinitionStatusActive,
		Spec: types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("web"), Image: aws.String("web:1"), Memory: aws.Int32(64),
		}}},
	})
}

func putNode(tx *state.Tx, id string, everyCluster bool, attributes ...string) {
	n, _ := state.Nodes.Get(tx, id)
	n.ID, n.EveryCluster = id, everyCluster
	n.Attributes = nil
	for _, name := range attributes {
		n.Attributes = append(n.Attributes, types.Attribute{Name: aws.String(name)})
	}
	state.Nodes.Put(tx, n)
}

func putInstance(tx *state.Tx, id, node, status string) {
	state.Instances.Put(tx, state.Instance{ARN: instanceARN(id), ClusterARN: clusterARN, NodeID: node, Status: status})
}

// putTask places a task, or changes its statuses.
func (w *world) putTask(tx *state.Tx, id, instance string, desired, last lifecycle.Status) {
	t, ok := state.Tasks.Get(tx, taskARN(id))
	if !ok {
		i, _ := state.Instances.Get(tx, instanceARN(instance))
		t = state.Task{
			ARN: taskARN(id), ClusterARN: clusterARN, DefinitionARN: definitionARN,
			InstanceARN: i.ARN, NodeID: i.NodeID, CreatedAt: w.now, LaunchType: types.LaunchTypeEc2,
		}
	}
	t.Desired, t.Last = desired, last
	state.Tasks.Put(tx, t)
}

func (w *world) connect(h Hello) (*Session, error) {
	var s *Session
	err := w.store.Update(context.Background(), func(tx *state.Tx) (err error) {
		s, err = Connect(tx, h, w.now)
		return err
	})
	return s, err
}

func (w *world) send(s *Session) (out []protocol.Message) {
	w.store.View(func(r *state.Reader) { out = s.Send(r, w.now) })
	return out
}

// show is a message in a line.
func show(m protocol.Message) string {
	var b strings.Builder
	switch m := m.(type) {
	case *protocol.Payload:
		fmt.Fprintf(&b, "payload %s:", m.MessageID)
		for _, t := range m.Tasks {
			fmt.Fprintf(&b, " %s=%s", last(t.ARN), t.DesiredStatus)
		}
	case *protocol.Manifest:
		fmt.Fprintf(&b, "manifest %s, number %d:", m.MessageID, m.Timeline)
		showIdentities(&b, m.Tasks)
	case *protocol.StopVerificationAck:
		fmt.Fprintf(&b, "confirmed %s:", m.MessageID)
		showIdentities(&b, m.StopTasks)
	case *protocol.Heartbeat:
		fmt.Fprintf(&b, "heartbeat %s", m.MessageID)
	case *protocol.Failure:
		fmt.Fprintf(&b, "%s: %s", m.Name, m.Message)
	default:
		fmt.Fprintf(&b, "unexpected %T", m)
	}
	return b.String()
}

func showIdentities(b *strings.Builder, tasks []protocol.TaskIdentity) {
	for _, t := range tasks {
		fmt.Fprintf(b, " %s=%s", last(t.TaskARN), t.DesiredStatus)
	}
}
