package control

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// maxOrphans is how many tasks one transaction speaks for.
const maxOrphans = 250

// Orphans speaks for container instances that will never speak again: the tasks of one that is
// deregistered, or gone, are STOPPED. Where the node is still there, dispatch tells it to stop them.
func Orphans() Controller {
	return Controller{
		Name: "orphans",
		Concerns: func(c state.Change) []string {
			if i, ok := gone[state.Instance](c); ok {
				return []string{i.ARN}
			}
			if i, ok := c.New.(state.Instance); ok && i.Status == "INACTIVE" {
				return []string{i.ARN}
			}
			// Placement reads the instance in the transaction that makes a task, so none is new on one that
			// is gone. This is for what is there at the start, or offered again.
			if t, ok := c.New.(state.Task); ok && c.Old == nil && t.Last != lifecycle.Stopped && t.InstanceARN != "" {
				return []string{t.InstanceARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			i, ok := state.Instances.Get(tx, key)
			if ok && i.Status != "INACTIVE" {
				return 0, nil
			}
			count := 0
			for t := range state.Tasks.By(tx, "instance", key) {
				if t.Last == lifecycle.Stopped {
					continue
				}
				if count++; count > maxOrphans {
					return 1, nil // the rest at once, in a transaction of their own
				}
				t, _ = state.Tasks.Get(tx, t.ARN) // guarded
				t = orphaned(t, ok, now)
				state.Tasks.Put(tx, placement.Release(tx, t))
			}
			return 0, nil
		},
	}
}

// orphaned is the task as ECS shows it after its container instance was deregistered, or is simply gone.
func orphaned(t state.Task, deregistered bool, now time.Time) state.Task {
	if t.StopCode == "" {
		if deregistered {
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
	t.Desired, t.Last, t.StoppedAt = lifecycle.Stopped, lifecycle.Stopped, now
	containers := make([]state.Container, len(t.Containers))
	for n, c := range t.Containers {
		c.Last = lifecycle.Stopped
		containers[n] = c
	}
	t.Containers = containers
	t.Version++
	return t
}
