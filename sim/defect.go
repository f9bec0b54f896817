package sim

import (
	"context"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/agent"
	"havn/lifecycle"
	"havn/state"
)

// Defect is a part of the world that is broken on purpose. A check that no defect can break is no check.
type Defect string

// The defects, and which promise each must be caught by.
const (
	StartsAnew       Defect = "an agent that starts its containers anew after a crash"
	StopsTooSoon     Defect = "an agent that reports STOPPED while its containers run"
	IgnoresStop      Defect = "an agent that forgets in a crash that a task should stop"
	ForgetsTokens    Defect = "an API that does not look at client tokens"
	ForgetToSubtract Defect = "a placement that forgets to subtract"
	LogLies          Defect = "a log that acknowledges what it has not written"
	GoesBack         Defect = "somebody who makes a STOPPED task PENDING"
	SpeaksTooSoon    Defect = "control speaking for a node that is connected"
	WrongWriter      Defect = "dispatch writing what is the API's to write"
	LosesLastWord    Defect = "an agent whose last reports never arrive"
	KeepsNetworks    Defect = "a runtime that says it has disconnected what it has not"
	SharesPorts      Defect = "a runtime that gives two tasks one port"
	Overbooks        Defect = "a machine that turns out to be smaller"
	StopsTooMany     Defect = "a rollout that does not look at the minimum"
	StartsTooMany    Defect = "a rollout that does not look at the maximum"
	StartsBeside     Defect = "a rollout that starts a second daemon beside the first"
	NeverReplaces    Defect = "a rollout that does not make losses good"
)

// misremembered is a journal's record as an agent with a defect reads it.
func (n *node) misremembered(r agent.Record) agent.Record {
	for i := range r.Life.Containers {
		c := &r.Life.Containers[i]
		switch {
		case n.w.options.Defect == StartsAnew && c.Phase == lifecycle.Started && r.Life.Desired != lifecycle.Stopped:
			c.Phase = lifecycle.Pulled
			if t := n.runtime.tasks[r.Task.ARN]; t != nil {
				delete(t.containers, c.Name)
			}
		case n.w.options.Defect == IgnoresStop && r.Life.Desired == lifecycle.Stopped && c.StartedAt.IsZero() && c.Name != "":
			r.Life.Desired, r.Life.Last, c.Phase = lifecycle.Running, lifecycle.Pending, lifecycle.Waiting
			r.Life.Connected, r.Life.Disconnected = false, false
		}
	}
	return r
}

// mistreat does to what a runtime has done what a runtime with a defect would.
func (n *node) mistreat(d Done) {
	t := n.runtime.tasks[d.Task]
	switch {
	case n.w.options.Defect == KeepsNetworks && d.Result.Effect.Verb == lifecycle.Disconnect:
		n.runtime.ports["kept"] = d.Task
	case n.w.options.Defect == SharesPorts && d.Result.Effect.Verb == lifecycle.Connect && t != nil:
		for i := range t.bindings {
			t.bindings[i].HostPort = 7777
		}
	}
}

// embellished is a report as an agent with a defect sends it.
func (p *process) embellished(s agent.StateChange) agent.StateChange {
	if p.w.options.Defect == StopsTooSoon && s.Report.Status == lifecycle.Running {
		s.Report.Status = lifecycle.Stopped
	}
	return s
}

// forgetToSubtract gives a node back what a task has just taken, if that is the defect.
func (u *users) forgetToSubtract(s *server, out *sdk.RunTaskOutput) {
	if u.w.options.Defect != ForgetToSubtract || out == nil || len(out.Tasks) == 0 || u.w.server != s {
		return
	}
	s.do(byUser, func(ctx context.Context) error { //nolint:errcheck // the next will do
		return s.store.Update(ctx, func(tx *state.Tx) error {
			if t, ok := state.Tasks.Get(tx, *out.Tasks[0].TaskArn); ok {
				n, _ := state.Nodes.Get(tx, t.NodeID)
				n.Remaining.CPU += t.Reserved.CPU
				n.Remaining.Memory += t.Reserved.Memory
				state.Nodes.Put(tx, n)
			}
			return nil
		})
	})
}

// startAnother makes a copy of a service's task, that holds nothing.
func startAnother(tx *state.Tx, strategy types.SchedulingStrategy) {
	for t := range state.Tasks.All(tx) {
		if v, _ := state.Services.Get(tx, t.ServiceARN); v.Scheduling == strategy && t.Desired != lifecycle.Stopped && t.Last != lifecycle.Stopped {
			t.ARN, t.Reserved = t.ARN+"0", state.Resources{}
			state.Tasks.Put(tx, t)
			return
		}
	}
}

// meddle commits what nobody should, if that is the defect.
func (s *server) meddle() {
	meddlers := map[Defect]struct {
		actor
		meddle func(*state.Tx)
	}{
		WrongWriter: {byDispatch, func(tx *state.Tx) {
			for n := range state.Nodes.All(tx) {
				n.EC2InstanceID = "i-meddle"
				state.Nodes.Put(tx, n)
			}
		}},
		GoesBack: {byNode, func(tx *state.Tx) {
			for t := range state.Tasks.All(tx) {
				if t.Last == lifecycle.Stopped {
					t.Last = lifecycle.Pending
					state.Tasks.Put(tx, t)
				}
			}
		}},
		SpeaksTooSoon: {byControl, func(tx *state.Tx) {
			for t := range state.Tasks.All(tx) {
				i, _ := state.Instances.Get(tx, t.InstanceARN)
				if n, _ := state.Nodes.Get(tx, t.NodeID); n.Connected && i.Status == "INACTIVE" && t.Last != lifecycle.Stopped {
					t.Last = lifecycle.Stopped
					state.Tasks.Put(tx, t)
				}
			}
		}},
		StopsTooMany: {byControl, func(tx *state.Tx) {
			for t := range state.Tasks.All(tx) {
				if !t.HealthyAt.IsZero() && t.Desired != lifecycle.Stopped {
					t.Desired, t.StopCode, t.StoppingAt = lifecycle.Stopped, types.TaskStopCodeServiceSchedulerInitiated, s.w.now
					state.Tasks.Put(tx, t)
				}
			}
		}},
		StartsTooMany: {byControl, func(tx *state.Tx) { startAnother(tx, types.SchedulingStrategyReplica) }},
		StartsBeside:  {byControl, func(tx *state.Tx) { startAnother(tx, types.SchedulingStrategyDaemon) }},
		NeverReplaces: {byControl, func(tx *state.Tx) {
			for d := range state.ServiceDeployments.All(tx) {
				if s.w.healed && d.Steady { // it takes the service for one that must wait
					d.StartAfter = s.w.now.Add(24 * time.Hour)
					state.ServiceDeployments.Put(tx, d)
				}
			}
		}},
	}
	if m, ok := meddlers[s.w.options.Defect]; ok {
		s.do(m.actor, func(ctx context.Context) error { //nolint:errcheck // the next will do
			return s.store.Update(ctx, func(tx *state.Tx) error { m.meddle(tx); return nil })
		})
	}
}
