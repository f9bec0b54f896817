package ecs

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
	"havn/wire"
)

// The Submit operations are how a node says what it saw. Reports may come twice, late and out of order;
// statuses only grow, so of two reports the larger is right and the smaller changes nothing.

// SubmitTaskStateChange takes in what a node saw of a task and its containers.
//
// A report about a task that nobody knows, or that is no longer the node's, is an invalid parameter: that is
// how an agent is told to forget it. A container that the task does not have says nothing of the others.
func (s *Server) SubmitTaskStateChange(ctx context.Context, in *ecs.SubmitTaskStateChangeInput) (*ecs.SubmitTaskStateChangeOutput, error) {
	if len(in.Attachments) > 0 {
		return nil, invalid("The task has no attachments.")
	}
	if len(in.ManagedAgents) > 0 {
		return nil, invalid("The task has no managed agents.")
	}
	status, err := reportedStatus(deref(in.Status))
	if err != nil {
		return nil, err
	}
	err = s.report(ctx, in.Cluster, deref(in.Task), func(t state.Task) (state.Task, error) {
		for _, c := range in.Containers {
			at := containerAt(t, deref(c.ContainerName))
			if at < 0 {
				continue
			}
			seen, err := reportedStatus(deref(c.Status))
			if err != nil {
				return t, err
			}
			t.Containers[at] = observeContainer(t.Containers[at], seen, c, wire.Now(ctx))
		}
		return observeTask(t, status, in, wire.Now(ctx)), nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.SubmitTaskStateChangeOutput{Acknowledgment: ptr("ACCEPT")}, nil
}

// SubmitContainerStateChange takes in what an older agent saw of one container.
func (s *Server) SubmitContainerStateChange(ctx context.Context, in *ecs.SubmitContainerStateChangeInput) (*ecs.SubmitContainerStateChangeOutput, error) {
	status, err := reportedStatus(deref(in.Status))
	if err != nil {
		return nil, err
	}
	err = s.report(ctx, in.Cluster, deref(in.Task), func(t state.Task) (state.Task, error) {
		at := containerAt(t, deref(in.ContainerName))
		if at < 0 {
			return t, invalid("Container %s is not in the task.", quoted(deref(in.ContainerName)))
		}
		t.Containers[at] = observeContainer(t.Containers[at], status, types.ContainerStateChange{
			RuntimeId: in.RuntimeId, ExitCode: in.ExitCode, Reason: in.Reason, NetworkBindings: in.NetworkBindings,
		}, wire.Now(ctx))
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.SubmitContainerStateChangeOutput{Acknowledgment: ptr("ACCEPT")}, nil
}

// SubmitAttachmentStateChanges refuses by name: no task has an attachment before awsvpc is acted on.
func (s *Server) SubmitAttachmentStateChanges(ctx context.Context, in *ecs.SubmitAttachmentStateChangesInput) (*ecs.SubmitAttachmentStateChangesOutput, error) {
	if err := s.view(func(r *state.Reader) error { _, err := s.cluster(r, in.Cluster); return err }); err != nil {
		return nil, err
	}
	if len(in.Attachments) == 0 {
		return nil, invalid("attachments cannot be empty.")
	}
	return nil, invalid("Attachment %s was not found.", deref(in.Attachments[0].AttachmentArn))
}

// report changes one task by what was seen of it. What says nothing new changes nothing.
func (s *Server) report(ctx context.Context, cluster *string, ref string, observe func(state.Task) (state.Task, error)) error {
	arn, err := s.reportedTask(cluster, ref)
	if err != nil {
		return err
	}
	return s.Store.Update(ctx, func(tx *state.Tx) error {
		before, ok := state.Tasks.Get(tx, arn)
		if !ok {
			return taskNotFound()
		}
		if before.Last == lifecycle.Stopped {
			return nil // STOPPED is final
		}
		// Who is deregistered and not connected has no say: control speaks for it. See lifecycle.Moves. It is not
		// told to forget the report, as by an invalid parameter: should it connect before control has spoken,
		// nobody else would.
		if i, _ := state.Instances.Get(tx, before.InstanceARN); !i.Has(before) {
			if n, _ := state.Nodes.Get(tx, before.NodeID); !n.Connected {
				return clientError("The container instance of the task is not registered.")
			}
		}
		t := before
		t.Containers = slices.Clone(t.Containers)
		if t, err = observe(t); err != nil {
			return err
		}
		if t.ConnectedAt.IsZero() {
			t.ConnectedAt = wire.Now(ctx)
		}
		if reflect.DeepEqual(before, t) {
			return nil
		}
		t.Version++
		if t.Last == lifecycle.Stopped {
			t = placement.Release(tx, t)
		}
		state.Tasks.Put(tx, t)
		return nil
	})
}

// reportedTask is the ARN of the task that a report is about. The cluster of the report only completes a
// reference that names none: an agent says where it registered, and a node that serves every cluster runs
// tasks of all of them.
func (s *Server) reportedTask(cluster *string, ref string) (string, error) {
	if a, ok := parseARN(ref); ok && strings.Contains(a.Rest, "/") {
		return ref, nil
	}
	name, err := s.clusterName(cluster)
	if err != nil {
		return "", err
	}
	return s.member(kindTask, name, ref)
}

func reportedStatus(text string) (lifecycle.Status, error) {
	switch status := lifecycle.Status(text); status {
	case lifecycle.Pending, lifecycle.Running, lifecycle.Stopped:
		return status, nil
	}
	return "", invalid("Invalid status: %s", quoted(text))
}

// observeTask folds a report into a task whose containers have been brought up to date.
func observeTask(t state.Task, status lifecycle.Status, in *ecs.SubmitTaskStateChangeInput, now time.Time) state.Task {
	if seen := in.PullStartedAt; seen != nil && (t.PullStartedAt.IsZero() || seen.Before(t.PullStartedAt)) {
		t.PullStartedAt = *seen // of the first pull
	}
	if seen := in.PullStoppedAt; seen != nil && seen.After(t.PullStoppedAt) {
		t.PullStoppedAt = *seen // of the last
	}
	if seen := in.ExecutionStoppedAt; seen != nil && (t.ExecutionStoppedAt.IsZero() || status == lifecycle.Stopped) {
		t.ExecutionStoppedAt = *seen // the last report knows best
	}
	t.Last = lifecycle.Latest(t.Last, status)
	switch t.Last {
	case lifecycle.Running:
		if t.StartedAt.IsZero() {
			t.StartedAt = now
		}
	case lifecycle.Stopped:
		t = stopped(t, deref(in.Reason), now)
	}
	return t
}

// stopped is the task at its end. Whoever told it to stop has said why. Otherwise it is worked out here: a
// node tells only what was wrong with the task as a whole, and that is then the reason; what was wrong with a
// container stays with the container. Developer Guide, "Amazon ECS stopped tasks error messages".
func stopped(t state.Task, reason string, now time.Time) state.Task {
	if t.StopCode == "" {
		if failedToStart(t) {
			t.StopCode, t.StoppedReason = types.TaskStopCodeTaskFailedToStart, "Task failed to start"
		} else {
			t.StopCode, t.StoppedReason = types.TaskStopCodeEssentialContainerExited, "Essential container in task exited"
		}
		if reason != "" {
			t.StoppedReason = lifecycle.Clip(reason)
		}
	}
	if t.StoppingAt.IsZero() {
		// Nobody told it to stop: it began to when the first essential container ended, if the node's clock
		// can be believed.
		t.StoppingAt = now
		if at := t.ExecutionStoppedAt; at.After(t.CreatedAt) && at.Before(now) {
			t.StoppingAt = at
		}
	}
	for i := range t.Containers {
		t.Containers[i].Last = lifecycle.Stopped
	}
	t.Desired, t.StoppedAt = lifecycle.Stopped, now
	return t
}

// failedToStart reports whether a task that has ended was never RUNNING because of something that did not
// start. One that ran too briefly for anybody to be told did not fail to start.
func failedToStart(t state.Task) bool {
	if !t.StartedAt.IsZero() {
		return false
	}
	ran := false
	for _, c := range t.Containers {
		if c.ExitCode != nil && c.RuntimeID != "" {
			ran = true
		} else if c.Reason != "" && !strings.HasPrefix(c.Reason, notBegun) {
			return true
		}
	}
	return !ran
}

// notBegun is the reason of a container that was not to start any more, because another had ended.
const notBegun = "TaskStoppedBeforePullBeginError"

func containerAt(t state.Task, name string) int {
	return slices.IndexFunc(t.Containers, func(c state.Container) bool { return c.Name == name })
}

// observeContainer folds in what was seen of a container. A report that is late may still know what nobody
// knew. An exit code counts once the container has stopped: before, it is that of an earlier run.
func observeContainer(c state.Container, status lifecycle.Status, seen types.ContainerStateChange, now time.Time) state.Container {
	late := status.Before(c.Last)
	c.Last = lifecycle.Latest(c.Last, status)
	c.ImageDigest = later(c.ImageDigest, seen.ImageDigest, late)
	c.RuntimeID = later(c.RuntimeID, seen.RuntimeId, late)
	c.Reason = later(c.Reason, seen.Reason, late)
	if c.StoppedAt.IsZero() && c.Last == lifecycle.Stopped {
		c.StoppedAt = now
	}
	if seen.ExitCode != nil && status == lifecycle.Stopped {
		c.ExitCode = seen.ExitCode
	}
	if len(seen.NetworkBindings) > 0 && (len(c.Bindings) == 0 || !late) {
		c.Bindings = nil
		for _, b := range seen.NetworkBindings {
			c.Bindings = append(c.Bindings, binding(c.Name, b))
		}
	}
	return c
}

// later is what counts of two words about the same thing. A report may be as long as a request; a record keeps
// of each word as much as of a reason.
func later(known string, seen *string, late bool) string {
	if deref(seen) == "" || known != "" && late {
		return known
	}
	return lifecycle.Clip(*seen)
}

func binding(container string, b types.NetworkBinding) lifecycle.Binding {
	return lifecycle.Binding{
		Container: container, BindIP: deref(b.BindIP), Protocol: string(b.Protocol),
		ContainerPort: uint16(deref(b.ContainerPort)), HostPort: uint16(deref(b.HostPort)),
		ContainerPortRange: deref(b.ContainerPortRange), HostPortRange: deref(b.HostPortRange),
	}
}
