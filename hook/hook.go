// Package hook calls the lifecycle hooks of service deployments that are to be asked over HTTP.
//
//	control --starts a run--> HookRun: IN_PROGRESS, call at T
//	                             |
//	                    hook: POST event ---> the hook's URL
//	                             |                 |
//	                             |    SUCCEEDED, FAILED: the run ends, and control goes on or back
//	                             |    IN_PROGRESS:       call again after callBackDelay, with the hookDetails it gave
//	                             |    nobody there:      call again, a few times; then FAILED
//	                             v
//	                    control: times out
//
// It decides nothing: what an answer means for the deployment is rollout's. All that it must remember stands in the run,
// so a new start goes on where the last one was; a call that was under way then is made again, so a hook may be called
// more than once for one answer, with one executionId.
package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// maxAttempts is how often in a row nobody may be there; what is waited between doubles from firstRetry on.
const (
	maxAttempts = 4
	firstRetry  = time.Second
)

// maxCalls is how many calls are under way at once. A hook that lets others wait that long is in its own way.
const maxCalls = 100

// Caller calls hooks.
type Caller struct {
	store  *state.Store
	client *http.Client
	log    *slog.Logger
}

// New returns a caller that calls nobody yet.
func New(store *state.Store, log *slog.Logger) *Caller {
	return &Caller{store: store, client: newClient(), log: log}
}

// due is a run to be called.
type due struct {
	deployment string // ARN
	run        string // ID
}

// Run calls whoever is to be called, until ctx ends.
func (c *Caller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var calls, watch sync.WaitGroup
	defer func() {
		cancel()
		calls.Wait()
		watch.Wait()
		c.client.CloseIdleConnections()
	}()
	changed := make(chan struct{}, 1)
	ended := make(chan struct{})
	from := c.store.Revision()
	watch.Go(func() {
		defer close(ended)
		for commit := range c.store.Watch(ctx, from) {
			if concerns(commit) {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	})
	done := make(chan due)
	under := map[due]bool{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		all, wake := c.due(time.Now(), under)
		for _, one := range all[:min(len(all), maxCalls-len(under))] {
			under[one] = true
			calls.Go(func() {
				c.Call(ctx, one.deployment, one.run)
				select {
				case done <- one:
				case <-ctx.Done():
				}
			})
		}
		if wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(wake))
		}
		select {
		case <-changed:
		case <-timer.C:
		case one := <-done:
			delete(under, one)
		case <-ended:
			if ctx.Err() == nil {
				return errors.New("cannot follow the state any more")
			}
			return nil
		}
	}
}

// concerns reports whether a commit can have changed who is to be called.
func concerns(c state.Commit) bool {
	for _, change := range c.Changes {
		if d, ok := change.New.(state.ServiceDeployment); ok && len(d.Hooks) > 0 {
			return true
		}
	}
	return false
}

// due are the runs that are to be called now and are not under way, and when the next one is.
func (c *Caller) due(now time.Time, under map[due]bool) (all []due, wake time.Time) {
	c.store.View(func(r *state.Reader) {
		for d := range state.ServiceDeployments.All(r) {
			for _, run := range d.Hooks {
				one := due{d.ARN, run.ID}
				switch {
				case !waits(d, run) || under[one]:
				case !run.CallAt.After(now):
					all = append(all, one)
				case wake.IsZero() || run.CallAt.Before(wake):
					wake = run.CallAt
				}
			}
		}
	})
	return all, wake
}

// waits reports whether a deployment waits for what the hook of a run says.
func waits(d state.ServiceDeployment, run state.HookRun) bool {
	return run.Status == types.DeploymentLifecycleHookStatusInProgress && run.Hook < len(d.Configuration.LifecycleHooks) &&
		(d.Status == types.ServiceDeploymentStatusInProgress || d.Status == types.ServiceDeploymentStatusRollbackInProgress)
}

// Call asks the hook of one run once, and writes down what it said.
func (c *Caller) Call(ctx context.Context, deployment, run string) {
	var body []byte
	var url string
	var err error
	c.store.View(func(r *state.Reader) {
		d, _ := state.ServiceDeployments.Get(r, deployment)
		for _, h := range d.Hooks {
			if h.ID == run && waits(d, h) {
				url = aws.ToString(d.Configuration.LifecycleHooks[h.Hook].HookTargetArn)
				body, err = json.Marshal(eventOf(d, h))
			}
		}
	})
	if url == "" {
		return
	}
	var said answer
	if err == nil {
		said, err = call(ctx, c.client, url, body)
	}
	if ctx.Err() != nil {
		return // it is called again by whoever comes next
	}
	now := time.Now()
	writing := c.store.Update(ctx, func(tx *state.Tx) error {
		d, ok := state.ServiceDeployments.Get(tx, deployment)
		if !ok {
			return nil
		}
		hooks := append([]state.HookRun(nil), d.Hooks...)
		for i := range hooks {
			if hooks[i].ID == run && waits(d, hooks[i]) {
				hooks[i] = after(hooks[i], url, said, err, now)
				d.Hooks = hooks
				state.ServiceDeployments.Put(tx, d)
			}
		}
		return nil
	})
	if writing != nil && ctx.Err() == nil {
		c.log.Error("cannot write down what a lifecycle hook said", "deployment", deployment, "hook", run, "error", writing)
	}
}

// after is a run after its hook was called. The words of the reasons are of the Developer Guide, "Troubleshooting
// Amazon ECS blue/green deployments".
func after(run state.HookRun, url string, said answer, err error, now time.Time) state.HookRun {
	end := func(status types.DeploymentLifecycleHookStatus, reason string) state.HookRun {
		run.Status, run.Reason = status, reason
		run.CallAt, run.Attempts, run.Details = time.Time{}, 0, ""
		return run
	}
	switch {
	case errors.Is(err, errUnreachable):
		if run.Attempts++; run.Attempts < maxAttempts {
			run.CallAt = now.Add(firstRetry << (run.Attempts - 1))
			return run
		}
		return end(types.DeploymentLifecycleHookStatusFailed, fmt.Sprintf("ECS was unable to invoke hook target %s due to %v", url, err))
	case err != nil:
		return end(types.DeploymentLifecycleHookStatusFailed, fmt.Sprintf("ECS was unable to parse the response from %s due to %v", url, err))
	case said.HookStatus == "SUCCEEDED":
		return end(types.DeploymentLifecycleHookStatusSucceeded, "")
	case said.HookStatus == "FAILED":
		reason := fmt.Sprintf("Lifecycle hook target %s returned FAILED status.", url)
		if said.Reason != "" {
			reason += fmt.Sprintf(" Reason: %.*s", maxQuote, said.Reason)
		}
		return end(types.DeploymentLifecycleHookStatusFailed, reason)
	}
	run.CallAt, run.Attempts = now.Add(said.delay()), 0
	if len(said.HookDetails) > 0 && string(said.HookDetails) != "null" {
		run.Details = string(said.HookDetails)
	}
	return run
}
