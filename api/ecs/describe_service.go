package ecs

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// withServiceTags: whoever makes or changes a service is shown its tags.
var withServiceTags = []types.ServiceField{types.ServiceFieldTags}

// counts are how many tasks there are of something: those that run, those on their way to that, and those that are
// wanted still. A task that was told to stop is in none, for it is no copy of the service any more.
type counts struct{ running, pending, wanted, there int32 }

func (n *counts) add(t state.Task) {
	n.there++
	if t.Desired == lifecycle.Stopped {
		return
	}
	n.wanted++
	switch {
	case t.Last == lifecycle.Running:
		n.running++
	case t.Last.Before(lifecycle.Running):
		n.pending++
	}
}

// countService counts a service's tasks, altogether and by revision.
func countService(src state.Source, arn string) (all counts, by map[string]counts) {
	by = map[string]counts{}
	for t := range state.Tasks.By(src, "unstopped of service", arn) {
		all.add(t)
		n := by[t.RevisionARN]
		n.add(t)
		by[t.RevisionARN] = n
	}
	return all, by
}

// describeService is the service as ECS prints it. Lists that ECS always prints are never left out.
func describeService(src state.Source, service state.Service, include []types.ServiceField) types.Service {
	all, by := countService(src, service.ARN)
	d, deployed := state.ServiceDeployments.Get(src, service.DeploymentARN)
	heading, _ := state.ServiceRevisions.Get(src, d.Heading())
	if service.Controller == types.DeploymentControllerTypeExternal {
		heading = primaryRevision(src, service)
	}
	out := types.Service{
		AvailabilityZoneRebalancing:   cmp.Or(service.Rebalancing, types.AvailabilityZoneRebalancingDisabled),
		CapacityProviderStrategy:      heading.CapacityProviderStrategy,
		ClusterArn:                    ptr(service.ClusterARN),
		CreatedAt:                     known(service.CreatedAt),
		CreatedBy:                     present(service.CreatedBy),
		CurrentServiceRevisions:       []types.ServiceCurrentRevisionSummary{},
		DeploymentConfiguration:       describeConfiguration(service.Configuration, service.HookDetails),
		DeploymentController:          &types.DeploymentController{Type: service.Controller},
		Deployments:                   []types.Deployment{},
		DesiredCount:                  desiredOf(src, service, heading),
		EnableECSManagedTags:          service.EnableManagedTags,
		EnableExecuteCommand:          service.EnableExecuteCommand,
		Events:                        []types.ServiceEvent{},
		HealthCheckGracePeriodSeconds: service.GracePeriod,
		LaunchType:                    heading.LaunchType,
		LoadBalancers:                 listed(heading.LoadBalancers),
		NetworkConfiguration:          heading.NetworkConfiguration,
		PendingCount:                  all.pending,
		PlacementConstraints:          listed(service.PlacementConstraints),
		PlacementStrategy:             listed(service.PlacementStrategy),
		PlatformVersion:               present(heading.PlatformVersion),
		PropagateTags:                 cmp.Or(service.PropagateTags, types.PropagateTagsNone),
		ResourceManagementType:        types.ResourceManagementTypeCustomer,
		RoleArn:                       present(service.RoleARN),
		RunningCount:                  all.running,
		SchedulingStrategy:            service.Scheduling,
		ServiceArn:                    ptr(service.ARN),
		ServiceName:                   ptr(service.Name),
		ServiceRegistries:             listed(heading.ServiceRegistries),
		Status:                        ptr(service.Status),
		TaskDefinition:                present(heading.DefinitionARN),
		TaskSets:                      describeTaskSets(src, service),
	}
	if slices.Contains(include, types.ServiceFieldTags) {
		out.Tags = listed(service.Tags)
	}
	if history, ok := state.ServiceEvents.Get(src, service.ARN); ok {
		for _, e := range history.Events {
			out.Events = append(out.Events, types.ServiceEvent{Id: ptr(e.ID), CreatedAt: ptr(e.At), Message: ptr(e.Message)})
		}
	}
	if !deployed {
		return out
	}
	out.CurrentServiceDeployment = present(d.ARN)
	for _, r := range revisionsOf(src, service, d, by) {
		n := by[r.ARN]
		wanted := n.wanted
		if r.ARN == d.Heading() {
			wanted = out.DesiredCount
		}
		out.Deployments = append(out.Deployments, describeDeployment(src, r, d, n, wanted, out.DesiredCount))
		out.CurrentServiceRevisions = append(out.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{
			Arn: ptr(r.ARN), RequestedTaskCount: wanted, RunningTaskCount: n.running, PendingTaskCount: n.pending})
	}
	return out
}

// desiredOf is how many tasks a service is to have: of a DAEMON service, one on each container instance that takes them.
func desiredOf(src state.Source, service state.Service, r state.ServiceRevision) int32 {
	if service.Scheduling != types.SchedulingStrategyDaemon || service.Status != statusActive {
		return service.Desired
	}
	return int32(placement.DaemonCount(src, service, r))
}

// revisionsOf are the revisions that stand among a service's deployments: the one that it is to come to, first, and those
// of which there are tasks yet, the latest first.
func revisionsOf(src state.Source, service state.Service, d state.ServiceDeployment, by map[string]counts) []state.ServiceRevision {
	var all []state.ServiceRevision
	for arn, n := range by {
		if r, ok := state.ServiceRevisions.Get(src, arn); ok && n.there > 0 && arn != d.Heading() {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b state.ServiceRevision) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ARN, b.ARN))
	})
	if r, ok := state.ServiceRevisions.Get(src, d.Heading()); ok && service.Status != statusInactive {
		all = slices.Insert(all, 0, r)
	}
	return all
}

// describeDeployment is a revision as one of a service's deployments.
func describeDeployment(src state.Source, r state.ServiceRevision, latest state.ServiceDeployment, n counts, wanted, desired int32) types.Deployment {
	out := types.Deployment{
		CapacityProviderStrategy: r.CapacityProviderStrategy,
		CreatedAt:                known(r.CreatedAt),
		DesiredCount:             wanted,
		Id:                       ptr(r.DeploymentID),
		LaunchType:               r.LaunchType,
		NetworkConfiguration:     r.NetworkConfiguration,
		PendingCount:             n.pending,
		PlatformVersion:          present(r.PlatformVersion),
		RunningCount:             n.running,
		Status:                   ptr("ACTIVE"),
		TaskDefinition:           ptr(r.DefinitionARN),
		UpdatedAt:                known(r.CreatedAt),
	}
	if r.ARN == latest.Heading() {
		out.Status = ptr("PRIMARY")
	}
	own, ok := deploymentTo(src, r, latest)
	if !ok {
		return out
	}
	if out.UpdatedAt = known(own.UpdatedAt); out.UpdatedAt == nil {
		out.UpdatedAt = known(own.CreatedAt)
	}
	switch r.ARN {
	case own.RevisionARN:
		out.FailedTasks = own.Failed
	case own.Rollback.RevisionARN:
		out.FailedTasks = own.Rollback.Failed
	}
	if own.ARN != latest.ARN && own.Status == types.ServiceDeploymentStatusStopped {
		own.Status = types.ServiceDeploymentStatusInProgress // what it still has was under way when the next one came
	}
	tripped := describeBreaker(own, desired).Status == types.ServiceDeploymentRollbackMonitorsStatusTriggered
	out.RolloutState, out.RolloutStateReason = rollout(r, own, tripped)
	return out
}

// deploymentTo is the deployment that says how a revision's rollout goes: the latest where that heads for it or was made
// for it, else the one that was made for it.
func deploymentTo(src state.Source, r state.ServiceRevision, latest state.ServiceDeployment) (state.ServiceDeployment, bool) {
	if latest.RevisionARN == r.ARN || latest.Heading() == r.ARN {
		return latest, true
	}
	var own state.ServiceDeployment
	for d := range state.ServiceDeployments.By(src, "service", r.ServiceARN) {
		if d.RevisionARN == r.ARN && !d.CreatedAt.Before(own.CreatedAt) {
			own = d
		}
	}
	return own, own.ARN != ""
}

// rollout is how the rollout of a revision goes, in ECS's words.
func rollout(r state.ServiceRevision, d state.ServiceDeployment, tripped bool) (types.DeploymentRolloutState, *string) {
	say := func(format string, args ...any) *string { return ptr(fmt.Sprintf("ECS deployment "+format, args...)) }
	back := d.Rollback.RevisionARN == r.ARN && d.RevisionARN != r.ARN
	switch {
	case d.Status == types.ServiceDeploymentStatusSuccessful, d.Status == types.ServiceDeploymentStatusRollbackSuccessful && back:
		return types.DeploymentRolloutStateCompleted, say("%s completed.", r.DeploymentID)
	case underWay(d):
		return types.DeploymentRolloutStateInProgress, say("%s in progress.", r.DeploymentID)
	case back && d.Status != types.ServiceDeploymentStatusRollbackFailed && d.Status != types.ServiceDeploymentStatusStopped:
		if tripped {
			return types.DeploymentRolloutStateInProgress, say("circuit breaker: rolling back to deploymentId %s.", r.DeploymentID)
		}
		return types.DeploymentRolloutStateInProgress, say("%s in progress.", r.DeploymentID)
	case tripped:
		return types.DeploymentRolloutStateFailed, say("circuit breaker: tasks failed to start.")
	case d.StatusReason != "":
		return types.DeploymentRolloutStateFailed, ptr(d.StatusReason)
	}
	return types.DeploymentRolloutStateFailed, say("%s failed.", r.DeploymentID)
}
