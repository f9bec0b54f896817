package rollout

import (
	"slices"
	"time"
)

// Hook is a lifecycle hook: at its stages, a deployment waits for somebody to say whether it may go on.
type Hook struct {
	Stages    []string
	Pause     bool // a user says so; otherwise, somebody who is called
	Timeout   time.Duration
	OnTimeout string // CONTINUE or ROLLBACK
}

// HookRun is one run of a hook.
type HookRun struct {
	ID        string // given by whoever stores it
	Hook      int    // which of Settings.Hooks
	Stage     string
	Status    string // as in ECS's DeploymentLifecycleHookStatus
	Reason    string
	Answer    string // what a user said: CONTINUE, ROLLBACK, or empty
	StartedAt time.Time
	EndsAt    time.Time // when it times out
}

// The statuses of a hook's run, as ECS names them.
const (
	HookAwaiting   = "AWAITING_ACTION"
	HookInProgress = "IN_PROGRESS"
	HookSucceeded  = "SUCCEEDED"
	HookFailed     = "FAILED"
	HookTimedOut   = "TIMED_OUT"
)

// What a user, or a timeout, lets a deployment do.
const (
	answerContinue = "CONTINUE"
	answerRollback = "ROLLBACK"
)

// Open reports whether the deployment waits for it.
func (h HookRun) Open() bool { return h.Status == HookAwaiting || h.Status == HookInProgress }

// startHooks starts all hooks of a stage, side by side. Developer Guide, "Pause hooks for Amazon ECS service
// deployments", "Multiple hooks at the same stage".
func (s *shifting) startHooks(stage string) {
	d := &s.plan.Deployment
	for i, h := range d.Settings.Hooks {
		if !slices.Contains(h.Stages, stage) {
			continue
		}
		run := HookRun{Hook: i, Stage: stage, Status: HookInProgress, StartedAt: s.now, EndsAt: s.now.Add(h.Timeout)}
		if h.Pause {
			run.Status = HookAwaiting
		}
		d.Hooks = append(d.Hooks, run)
		s.again(run.EndsAt)
	}
}

// settleHooks gives the open runs what users said, or what the time says.
func (s *shifting) settleHooks() {
	d := &s.plan.Deployment
	d.Hooks = slices.Clone(d.Hooks)
	for i := range d.Hooks {
		switch run := &d.Hooks[i]; {
		case !run.Open():
		case run.Answer == answerContinue:
			run.Status = HookSucceeded
		case run.Answer == answerRollback:
			run.Status, run.Reason = HookFailed, "A user answered "+run.ID+" with ROLLBACK."
		case !s.now.Before(run.EndsAt):
			run.Status = HookTimedOut
		default:
			s.again(run.EndsAt)
		}
	}
}

// dropHooks ends the open runs: nobody waits for them any more.
func (s *shifting) dropHooks() {
	d := &s.plan.Deployment
	for i := range d.Hooks {
		if run := &d.Hooks[i]; run.Open() {
			run.Status, run.Reason = HookFailed, "The deployment is rolled back."
		}
	}
}

// waitsForHooks reports whether there are open runs.
func (s *shifting) waitsForHooks() bool {
	return slices.ContainsFunc(s.plan.Deployment.Hooks, HookRun.Open)
}

// refusal is why a hook does not let the deployment go on; empty = none says no. The words are of the Developer Guide,
// "Troubleshooting Amazon ECS blue/green deployments".
func (s *shifting) refusal() string {
	d := s.plan.Deployment
	for _, run := range d.Hooks {
		hook := d.Settings.Hooks[run.Hook]
		switch because := "Service deployment rolled back because " + run.Stage; {
		case run.Status == HookFailed && run.Reason != "":
			return because + " lifecycle hook(s) failed. " + run.Reason
		case run.Status == HookFailed:
			return because + " lifecycle hook(s) failed."
		case run.Status == HookTimedOut && hook.OnTimeout != answerContinue && hook.Pause:
			return because + " pause hook timed out."
		case run.Status == HookTimedOut && hook.OnTimeout != answerContinue:
			return because + " lifecycle hook(s) timed out."
		}
	}
	return ""
}
