package ecs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
	"havn/wire"
)

// How many service deployments, and revisions, one request may name; and how many a page of ListServiceDeployments has
// where the request does not say. API Reference, "DescribeServiceDeployments", "DescribeServiceRevisions",
// "ListServiceDeployments".
const (
	maxDescribedDeployments = 20
	maxDeploymentsPage      = 20
)

// ListServiceDeployments lists the deployments of a service, the latest first.
func (s *Server) ListServiceDeployments(ctx context.Context, in *ecs.ListServiceDeploymentsInput) (*ecs.ListServiceDeploymentsOutput, error) {
	out := &ecs.ListServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeploymentBrief{}}
	return out, s.view(func(r *state.Reader) error {
		service, err := s.service(r, in.Cluster, deref(in.Service))
		if err != nil {
			return err
		}
		var found []state.ServiceDeployment
		for d := range state.ServiceDeployments.By(r, "service", service.ARN) {
			if (len(in.Status) == 0 || slices.Contains(in.Status, d.Status)) && createdWithin(d, in.CreatedAt) {
				found = append(found, d)
			}
		}
		key := func(d state.ServiceDeployment) string { return fmt.Sprintf("%020d|%s", d.CreatedAt.UnixNano(), d.ARN) }
		slices.SortFunc(found, func(a, b state.ServiceDeployment) int { return strings.Compare(key(b), key(a)) })
		request := pageRequest{Max: in.MaxResults, Token: in.NextToken, Descending: true, Query: fmt.Sprint(service.ARN, in.Status)}
		if request.Max == nil {
			request.Max = ptr(int32(maxDeploymentsPage))
		}
		if c := in.CreatedAt; c != nil {
			request.Query = fmt.Sprint(service.ARN, in.Status, deref(c.After), deref(c.Before))
		}
		if found, out.NextToken, err = page(found, key, request); err != nil {
			return err
		}
		for _, d := range found {
			out.ServiceDeployments = append(out.ServiceDeployments, briefDeployment(d))
		}
		return nil
	})
}

func createdWithin(d state.ServiceDeployment, c *types.CreatedAt) bool {
	return c == nil ||
		(c.After == nil || !d.CreatedAt.Before(*c.After)) &&
			(c.Before == nil || !d.CreatedAt.After(*c.Before))
}

func briefDeployment(d state.ServiceDeployment) types.ServiceDeploymentBrief {
	return types.ServiceDeploymentBrief{
		ClusterArn:               ptr(d.ClusterARN),
		CreatedAt:                known(d.CreatedAt),
		FinishedAt:               known(d.FinishedAt),
		ServiceArn:               ptr(d.ServiceARN),
		ServiceDeploymentArn:     ptr(d.ARN),
		StartedAt:                known(d.StartedAt),
		Status:                   d.Status,
		StatusReason:             present(d.StatusReason),
		TargetServiceRevisionArn: ptr(d.RevisionARN),
	}
}

// DescribeServiceDeployments describes the service deployments named.
func (s *Server) DescribeServiceDeployments(ctx context.Context, in *ecs.DescribeServiceDeploymentsInput) (*ecs.DescribeServiceDeploymentsOutput, error) {
	if err := atMost(maxDescribedDeployments, len(in.ServiceDeploymentArns), "Service deployment arns"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		for _, arn := range in.ServiceDeploymentArns {
			if _, err := s.ours(arn, kindDeployment); err != nil {
				return err
			}
			d, ok := state.ServiceDeployments.Get(r, arn)
			if !ok {
				out.Failures = append(out.Failures, missing(arn))
				continue
			}
			out.ServiceDeployments = append(out.ServiceDeployments, describeServiceDeployment(r, d))
		}
		return nil
	})
}

func describeServiceDeployment(src state.Source, d state.ServiceDeployment) types.ServiceDeployment {
	service, _ := state.Services.Get(src, d.ServiceARN)
	target, _ := state.ServiceRevisions.Get(src, d.RevisionARN)
	desired := desiredOf(src, service, target)
	_, by := countService(src, d.ServiceARN)
	out := types.ServiceDeployment{
		Alarms:                   &types.ServiceDeploymentAlarms{Status: types.ServiceDeploymentRollbackMonitorsStatusDisabled, AlarmNames: []string{}, TriggeredAlarmNames: []string{}},
		ClusterArn:               ptr(d.ClusterARN),
		CreatedAt:                known(d.CreatedAt),
		DeploymentCircuitBreaker: describeBreaker(d, desired),
		DeploymentConfiguration:  describeConfiguration(d.Configuration, d.HookDetails),
		FinishedAt:               known(d.FinishedAt),
		LifecycleHookDetails:     []types.DeploymentLifecycleHookDetail{},
		LifecycleStage:           d.Stage,
		ServiceArn:               ptr(d.ServiceARN),
		ServiceDeploymentArn:     ptr(d.ARN),
		SourceServiceRevisions:   []types.ServiceRevisionSummary{},
		StartedAt:                known(d.StartedAt),
		Status:                   d.Status,
		StatusReason:             present(d.StatusReason),
		StoppedAt:                known(d.StoppedAt),
		UpdatedAt:                known(d.UpdatedAt),
	}
	shifts := d.Configuration.Strategy != types.DeploymentStrategyRolling && len(target.LoadBalancers) > 0
	summary := func(arn string, production, test float64) types.ServiceRevisionSummary {
		n := by[arn]
		one := types.ServiceRevisionSummary{Arn: ptr(arn), RequestedTaskCount: n.wanted, RunningTaskCount: n.running, PendingTaskCount: n.pending}
		if arn == d.Heading() && d.ARN == service.DeploymentARN {
			one.RequestedTaskCount = desired
		}
		if shifts {
			one.RequestedProductionTrafficWeight, one.RequestedTestTrafficWeight = &production, &test
		}
		return one
	}
	for _, arn := range d.SourceARNs {
		production, test := 0.0, 0.0
		if arn == d.BlueARN || d.BlueARN == "" && arn == d.SourceARNs[0] {
			production, test = 100-d.ProductionTraffic, 100-d.TestTraffic
		}
		out.SourceServiceRevisions = append(out.SourceServiceRevisions, summary(arn, production, test))
	}
	out.TargetServiceRevision = ptr(summary(d.RevisionARN, d.ProductionTraffic, d.TestTraffic))
	if back := d.Rollback; back.RevisionARN != "" {
		out.Rollback = &types.Rollback{Reason: present(back.Reason), ServiceRevisionArn: ptr(back.RevisionARN), StartedAt: known(back.StartedAt)}
	}
	for _, run := range d.Hooks {
		out.LifecycleHookDetails = append(out.LifecycleHookDetails, describeHook(run, d.Configuration))
	}
	return out
}

// describeBreaker is what the circuit breaker of a deployment of so many tasks has seen.
func describeBreaker(d state.ServiceDeployment, desired int32) *types.ServiceDeploymentCircuitBreaker {
	b := d.Configuration.DeploymentCircuitBreaker
	if b == nil || !b.Enable {
		return &types.ServiceDeploymentCircuitBreaker{Status: types.ServiceDeploymentRollbackMonitorsStatusDisabled}
	}
	out := &types.ServiceDeploymentCircuitBreaker{FailureCount: d.Failed, Threshold: int32(state.BreakerThreshold(b.ThresholdConfiguration, int(desired)))}
	switch {
	case out.FailureCount >= out.Threshold:
		out.Status = types.ServiceDeploymentRollbackMonitorsStatusTriggered
	case underWay(d):
		out.Status = types.ServiceDeploymentRollbackMonitorsStatusMonitoring
	default:
		out.Status = types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete
	}
	return out
}

func describeHook(run state.HookRun, c types.DeploymentConfiguration) types.DeploymentLifecycleHookDetail {
	out := types.DeploymentLifecycleHookDetail{
		ExpiresAt:     known(run.EndsAt),
		HookId:        ptr(run.ID),
		Status:        run.Status,
		TimeoutAction: types.DeploymentLifecycleHookActionRollback,
	}
	if run.Hook < 0 || run.Hook >= len(c.LifecycleHooks) {
		return out
	}
	h := c.LifecycleHooks[run.Hook]
	out.TargetType, out.TargetArn = h.TargetType, h.HookTargetArn
	if h.TimeoutConfiguration != nil && h.TimeoutConfiguration.Action != "" {
		out.TimeoutAction = h.TimeoutConfiguration.Action
	}
	return out
}

// DescribeServiceRevisions describes the service revisions named.
func (s *Server) DescribeServiceRevisions(ctx context.Context, in *ecs.DescribeServiceRevisionsInput) (*ecs.DescribeServiceRevisionsOutput, error) {
	if err := atMost(maxDescribedDeployments, len(in.ServiceRevisionArns), "Service revision arns"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeServiceRevisionsOutput{ServiceRevisions: []types.ServiceRevision{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		for _, arn := range in.ServiceRevisionArns {
			if _, err := s.ours(arn, kindRevision); err != nil {
				return err
			}
			revision, ok := state.ServiceRevisions.Get(r, arn)
			if !ok {
				out.Failures = append(out.Failures, missing(arn))
				continue
			}
			out.ServiceRevisions = append(out.ServiceRevisions, describeRevision(r, revision))
		}
		return nil
	})
}

func describeRevision(src state.Source, r state.ServiceRevision) types.ServiceRevision {
	out := types.ServiceRevision{
		CapacityProviderStrategy: r.CapacityProviderStrategy,
		ClusterArn:               ptr(r.ClusterARN),
		ContainerImages:          []types.ContainerImage{},
		CreatedAt:                known(r.CreatedAt),
		LaunchType:               r.LaunchType,
		LoadBalancers:            listed(r.LoadBalancers),
		NetworkConfiguration:     r.NetworkConfiguration,
		PlatformVersion:          present(r.PlatformVersion),
		ServiceArn:               ptr(r.ServiceARN),
		ServiceRegistries:        listed(r.ServiceRegistries),
		ServiceRevisionArn:       ptr(r.ARN),
		TaskDefinition:           ptr(r.DefinitionARN),
	}
	// The images of the definition, each with its digest once that is known.
	d, _ := state.TaskDefinitions.Get(src, r.DefinitionARN)
	for _, c := range d.Spec.ContainerDefinitions {
		image := types.ContainerImage{ContainerName: c.Name, Image: c.Image}
		for _, pinned := range r.Images {
			if deref(pinned.ContainerName) == deref(c.Name) {
				image.ImageDigest = pinned.ImageDigest
			}
		}
		out.ContainerImages = append(out.ContainerImages, image)
	}
	if len(r.LoadBalancers) == 0 {
		return out
	}
	out.ResolvedConfiguration = &types.ResolvedConfiguration{}
	for n, l := range r.LoadBalancers {
		one := types.ServiceRevisionLoadBalancer{TargetGroupArn: present(r.Group(n))}
		if a := l.AdvancedConfiguration; a != nil {
			one.ProductionListenerRule = a.ProductionListenerRule
		}
		out.ResolvedConfiguration.LoadBalancers = append(out.ResolvedConfiguration.LoadBalancers, one)
	}
	return out
}

// underWay reports whether a deployment has neither ended nor begun to go back.
func underWay(d state.ServiceDeployment) bool {
	return d.Status == types.ServiceDeploymentStatusPending || d.Status == types.ServiceDeploymentStatusInProgress
}

// StopServiceDeployment has the deployment that is under way go back, or stop where it is. Control does it.
func (s *Server) StopServiceDeployment(ctx context.Context, in *ecs.StopServiceDeploymentInput) (*ecs.StopServiceDeploymentOutput, error) {
	stop := in.StopType
	if stop == "" {
		stop = types.StopServiceDeploymentStopTypeRollback
	}
	err := s.changeDeployment(ctx, deref(in.ServiceDeploymentArn), func(tx *state.Tx, d *state.ServiceDeployment) error {
		service, _ := state.Services.Get(tx, d.ServiceARN)
		if !underWay(*d) || service.DeploymentARN != d.ARN || d.Stop.Type != "" && d.Stop.Type != stop {
			return &types.ConflictException{
				Message:     ptr("The service deployment cannot be stopped, because it is not in progress."),
				ResourceIds: []string{d.ARN},
			}
		}
		if d.Stop.Type == "" {
			d.Stop = state.StopAsked{Type: stop, At: wire.Now(ctx)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.StopServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, nil
}

// ContinueServiceDeployment answers a lifecycle hook at which a deployment waits. Control goes on from there.
func (s *Server) ContinueServiceDeployment(ctx context.Context, in *ecs.ContinueServiceDeploymentInput) (*ecs.ContinueServiceDeploymentOutput, error) {
	action := in.Action
	if action == "" {
		action = types.DeploymentLifecycleHookActionContinue
	}
	err := s.changeDeployment(ctx, deref(in.ServiceDeploymentArn), func(_ *state.Tx, d *state.ServiceDeployment) error {
		at := slices.IndexFunc(d.Hooks, func(h state.HookRun) bool { return h.ID == deref(in.HookId) })
		if at < 0 {
			return invalid("The lifecycle hook %s was not found in the service deployment.", deref(in.HookId))
		}
		answered := slices.ContainsFunc(d.Answers, func(a state.HookAnswer) bool { return a.HookID == *in.HookId })
		if d.Hooks[at].Status != types.DeploymentLifecycleHookStatusAwaitingAction || answered {
			return invalid("The lifecycle hook %s is not awaiting an action.", *in.HookId)
		}
		d.Answers = append(slices.Clone(d.Answers), state.HookAnswer{HookID: *in.HookId, Action: action, At: wire.Now(ctx)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.ContinueServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, nil
}

// changeDeployment writes a change to a service deployment.
func (s *Server) changeDeployment(ctx context.Context, arn string, change func(*state.Tx, *state.ServiceDeployment) error) error {
	if _, err := s.ours(arn, kindDeployment); err != nil {
		return err
	}
	return s.Store.Update(ctx, func(tx *state.Tx) error {
		d, ok := state.ServiceDeployments.Get(tx, arn)
		if !ok {
			return &types.ServiceDeploymentNotFoundException{Message: ptr("Service deployment not found.")}
		}
		if err := change(tx, &d); err != nil {
			return err
		}
		state.ServiceDeployments.Put(tx, d)
		return nil
	})
}
