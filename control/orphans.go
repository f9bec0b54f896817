package control

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// maxOrphans is how many tasks one transaction writes.
const maxOrphans = 250

// Orphans looks after tasks whose container instance is deregistered or gone. A node that is connected keeps
// their statuses and their resources, and is told to stop them: until it says that it has, containers run
// there and hold what another task would be given. Of a node that is not connected nobody may ever hear again,
// so it is said here that its orphans are STOPPED. If it comes back, dispatch tells it to stop what it still
// runs of them.
//
//	node connected:      Desired = STOPPED, if nobody has said so --> dispatch --> the node reports STOPPED
//	node not connected:  STOPPED, resources given back
//
// Its keys are nodes.
func Orphans() Controller {
	return Controller{
		Name: "orphans",
		Concerns: func(c state.Change) []string {
			if i, ok := gone[state.Instance](c); ok {
				return []string{i.NodeID}
			}
			if i, ok := c.New.(state.Instance); ok && i.Status == "INACTIVE" {
				return []string{i.NodeID}
			}
			if n, ok := gone[state.Node](c); ok {
				return []string{n.ID}
			}
			if n, ok := c.New.(state.Node); ok && !n.Connected {
				if before, _ := c.Old.(state.Node); before.Connected { // its resources change all the time
					return []string{n.ID}
				}
			}
			// Placement reads the instance in the transaction that makes a task, so none is new on one that
			// is gone. This is for what is there at the start, or offered again.
			if t, ok := c.New.(state.Task); ok && c.Old == nil && t.Last != lifecycle.Stopped && t.InstanceARN != "" {
				return []string{t.NodeID}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			n, _ := state.Nodes.Get(tx, key)
			count := 0
			for t := range state.Tasks.By(tx, "unstopped on node", key) {
				if n.Connected && t.Desired == lifecycle.Stopped {
					continue // the node will say when it has stopped
				}
				if i, _ := state.Instances.Peek(tx, t.InstanceARN); i.Has(t) {
					continue
				}
				if count++; count > maxOrphans {
					return 1, nil // the rest at once, in a transaction of their own
				}
				i, _ := state.Instances.Get(tx, t.InstanceARN) // guarded
				t, _ = state.Tasks.Get(tx, t.ARN)
				t = toStop(t, i, now)
				if !n.Connected {
					t = placement.Release(tx, stopped(t, now))
				}
				t.Version++
				state.Tasks.Put(tx, t)
			}
			return 0, nil
		},
	}
}

// toStop is the task told to stop, as ECS words it for one whose container instance was deregistered, or is
// simply gone. Who has told it before has said why.
func toStop(t state.Task, i state.Instance, now time.Time) state.Task {
	if t.StopCode == "" {
		if i.Status == "INACTIVE" {
			t.StopCode = types.TaskStopCodeUserInitiated
			t.StoppedReason = "Container instance deregistration forced by user"
		} else {
			id := t.InstanceARN[strings.LastIndexByte(t.InstanceARN, '/')+1:]
			t.StopCode = types.TaskStopCodeTerminationNotice
			t.StoppedReason = "Host EC2 (instance " + id + ") terminated."
		}
	}
	if t.StoppingAt.IsZero() {
		t.StoppingAt = now
	}
	t.Desired = lifecycle.Stopped
	return t
}

// stopped is the task at its end, of which nobody knows more than that.
func stopped(t state.Task, now time.Time) state.Task {
	t.Last, t.StoppedAt = lifecycle.Stopped, now
	containers := make([]state.Container, len(t.Containers))
	for n, c := range t.Containers {
		c.Last = lifecycle.Stopped
		containers[n] = c
	}
	t.Containers = containers
	return t
}
