package control

import (
	"reflect"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/rollout"
	"havn/state"
)

// DefaultSteadyAfter is how long a task that has no health check at all must be RUNNING to count as healthy, as in ECS.
// API Reference, "DeploymentConfiguration", minimumHealthyPercent.
const DefaultSteadyAfter = 40 * time.Second

// The limits of a deploy's transaction. What is left over follows at once, in the next.
const (
	maxStarts = 50
	maxStops  = 50
)

// retryPlace is how long a service that waits for a place waits if nothing is told to change. Whatever gives a place is
// a commit, and brings it back at once; this is for what no commit of nodes tells: another task that a constraint names.
const retryPlace = time.Minute

// Deploy keeps services at what their users want: so many tasks, of that revision. Three steps: it gathers what is
// known of the service, asks rollout what to do, and writes that down.
//
//	Service, its deployment, tasks, targets, nodes --> view --> rollout.Next --> tasks placed, tasks told to stop,
//	                                                                             the deployment, events
//
// Its keys are services.
func Deploy(steadyAfter time.Duration) Controller {
	return Controller{
		Name:     "deploy",
		Concerns: concernsService,
		Reaches:  reachesService,
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			s, ok := state.Services.Get(tx, key)
			if !ok || s.Status == "INACTIVE" {
				return 0, nil
			}
			d, ok := state.ServiceDeployments.Get(tx, s.DeploymentARN)
			if !ok && s.Status == "ACTIVE" && !external(s) {
				return 0, nil
			}
			if d.Status == types.ServiceDeploymentStatusPending {
				d = begin(tx, d)
			}
			g := gather(tx, s, d, steadyAfter, now)
			g.view.Unroutable = g.unroutable(tx)
			plan := rollout.Next(g.view, now)
			w := writer{tx: tx, gathered: g, now: now}
			return w.write(plan)
		},
	}
}

// concernsService are the services that a change names.
func concernsService(c state.Change) []string {
	switch r := either(c).(type) {
	case state.Service:
		return []string{r.ARN}
	case state.ServiceDeployment:
		return []string{r.ServiceARN}
	case state.TaskSet:
		return []string{r.ServiceARN}
	case state.Task:
		if r.ServiceARN != "" {
			return []string{r.ServiceARN}
		}
	}
	return nil
}

// either is the record as it is now, or as it was when it went.
func either(c state.Change) any {
	if c.New == nil {
		return c.Old
	}
	return c.New
}

// reachesService are the services that a change matters to and does not name: those of a target's task; and where a node
// can take more than before, or takes none any more, those that have something there or could.
func reachesService(r *state.Reader, c state.Change) []string {
	switch record := either(c).(type) {
	case state.Target:
		if t, ok := state.Tasks.Get(r, record.TaskARN); ok && t.ServiceARN != "" {
			return []string{t.ServiceARN}
		}
	case state.Instance:
		before, _ := c.Old.(state.Instance)
		return servicesAt(r, record, before.Status != record.Status || c.New == nil || !reflect.DeepEqual(before.Attributes, record.Attributes))
	case state.Node:
		before, _ := c.Old.(state.Node)
		moved := before.Connected != record.Connected || before.Condition.Impaired() != record.Condition.Impaired() ||
			!reflect.DeepEqual(before.Attributes, record.Attributes)
		if !moved && !roomier(before.Remaining, record.Remaining) {
			return nil
		}
		var all []string
		for i := range state.Instances.By(r, "node", record.ID) {
			all = append(all, servicesAt(r, i, moved)...)
		}
		return all
	}
	return nil
}

// servicesAt are the services of a container instance's cluster that wait for a place; if the instance itself has
// changed, also those that have tasks there, those that want one on each, and those that look at zones.
func servicesAt(r *state.Reader, i state.Instance, changed bool) []string {
	all := servicesWaiting(r, i.ClusterARN)
	if !changed {
		return all
	}
	for t := range state.Tasks.By(r, "unstopped on instance", i.ARN) {
		if t.ServiceARN != "" {
			all = append(all, t.ServiceARN)
		}
	}
	for s := range state.Services.By(r, "cluster", i.ClusterARN) {
		if s.Scheduling == types.SchedulingStrategyDaemon || s.Rebalancing == types.AvailabilityZoneRebalancingEnabled {
			all = append(all, s.ARN)
		}
	}
	return all
}

// roomier reports whether something of a node's resources is left that was not before.
func roomier(before, after state.Resources) bool {
	return after.CPU > before.CPU || after.Memory > before.Memory || len(after.GPUs) > len(before.GPUs) ||
		len(after.TCPPorts) < len(before.TCPPorts) || len(after.UDPPorts) < len(before.UDPPorts)
}

// supersede ends all other deployments of a service when a new one begins.
func supersede(tx *state.Tx, d state.ServiceDeployment, now time.Time) {
	for other := range state.ServiceDeployments.By(tx, "service", d.ServiceARN) {
		if other.ARN == d.ARN || !isOpen(other) && !other.Waiting {
			continue
		}
		other, _ := state.ServiceDeployments.Get(tx, other.ARN)
		if isOpen(other) {
			other.Status = types.ServiceDeploymentStatusStopped
			other.StatusReason = "Service deployment stopped because a new service deployment was started."
			other.StoppedAt, other.FinishedAt = now, now
		}
		other.Waiting, other.UpdatedAt = false, now
		state.ServiceDeployments.Put(tx, other)
	}
}

// finish makes a DRAINING service INACTIVE, once nothing of it is left.
func finish(tx *state.Tx, s state.Service) {
	forgetSets(tx, s)
	s.PrimaryTaskSet = ""
	s.Status = "INACTIVE"
	state.Services.Put(tx, s)
}

// stopsOf is a task that its service stops.
func stopOf(t state.Task, reason string, now time.Time) state.Task {
	t.Desired, t.StoppingAt = lifecycle.Stopped, now
	t.StopCode, t.StoppedReason = types.TaskStopCodeServiceSchedulerInitiated, reason
	t.Counted = true
	t.Version++
	return t
}
