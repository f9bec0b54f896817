package ecs

import (
	"context"
	"slices"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
	"havn/wire"
)

// The limits of task sets. AWS General Reference, "Amazon ECS endpoints and quotas"; API Reference, "CreateTaskSet".
const (
	maxTaskSets   = 5
	maxExternalID = 1024
)

// CreateTaskSet makes a set of tasks of a service with an external controller. Control starts and stops its tasks.
func (s *Server) CreateTaskSet(ctx context.Context, in *ecs.CreateTaskSetInput) (*ecs.CreateTaskSetOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := refuseInService(unsupportedInTaskSet(in)); err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(deref(in.ExternalId)) > maxExternalID {
		return nil, invalid("externalId must be at most %d characters.", maxExternalID)
	}
	scale, err := checkedScale(in.Scale)
	if err != nil {
		return nil, err
	}
	out := &ecs.CreateTaskSetOutput{}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		c, service, err := s.externalService(tx, in.Cluster, deref(in.Service))
		if err != nil {
			return err
		}
		rest := *in
		rest.ClientToken = nil
		token, known, err := requestToken(tx, "CreateTaskSet|"+service.ARN, deref(in.ClientToken), rest, wire.Now(ctx),
			"Creation of task set was not idempotent.")
		if err != nil {
			return err
		}
		if known {
			for set := range state.TaskSets.By(tx, "service", service.ARN) {
				if slices.Contains(token.TaskARNs, set.ARN) {
					out.TaskSet = ptr(describeTaskSet(tx, service, set, true))
					return nil
				}
			}
		}
		count := 0
		for range state.TaskSets.By(tx, "service", service.ARN) {
			count++
		}
		if count >= maxTaskSets {
			return limitExceeded("You have exceeded the maximum number of task sets of a service: %d.", maxTaskSets)
		}
		number := revisionNumber(tx.NewID())
		r := state.ServiceRevision{
			ARN: s.memberARN(kindRevision, c.Name, service.Name+"/"+number), ServiceARN: service.ARN, ClusterARN: c.ARN,
			DeploymentID: "ecs-svc/" + number, LoadBalancers: in.LoadBalancers, CreatedAt: wire.Now(ctx),
		}
		if err := capacityOf(c, service, &r, in.LaunchType, in.CapacityProviderStrategy); err != nil {
			return err
		}
		d, err := s.runnableDefinition(tx, deref(in.TaskDefinition))
		if err != nil {
			return err
		}
		r.DefinitionARN = d.ARN
		if err := s.checkLoadBalancers(tx, service, r, d); err != nil {
			return err
		}
		set := state.TaskSet{
			ARN: s.memberARN(kindTaskSet, c.Name, service.Name+"/"+r.DeploymentID), ID: r.DeploymentID,
			ServiceARN: service.ARN, ClusterARN: c.ARN, RevisionARN: r.ARN, ExternalID: deref(in.ExternalId), Scale: scale, Tags: in.Tags,
			Status: statusActive, CreatedAt: wire.Now(ctx), UpdatedAt: wire.Now(ctx), Stability: types.StabilityStatusStabilizing, StabilityAt: wire.Now(ctx),
		}
		state.ServiceRevisions.Put(tx, r)
		state.TaskSets.Put(tx, set)
		if token.Key != "" {
			token.TaskARNs = []string{set.ARN}
			state.ClientTokens.Put(tx, token)
		}
		out.TaskSet = ptr(describeTaskSet(tx, service, set, true))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateTaskSet scales a task set.
func (s *Server) UpdateTaskSet(ctx context.Context, in *ecs.UpdateTaskSetInput) (*ecs.UpdateTaskSetOutput, error) {
	scale, err := checkedScale(in.Scale)
	if err != nil {
		return nil, err
	}
	out := &ecs.UpdateTaskSetOutput{}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		service, set, err := s.taskSet(tx, in.Cluster, deref(in.Service), deref(in.TaskSet))
		if err != nil {
			return err
		}
		if set.Status != statusActive {
			return taskSetNotFound()
		}
		set.Scale, set.UpdatedAt = scale, wire.Now(ctx)
		state.TaskSets.Put(tx, set)
		out.TaskSet = ptr(describeTaskSet(tx, service, set, false))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteTaskSet makes a task set DRAINING. Control stops its tasks, and forgets it when none is left.
func (s *Server) DeleteTaskSet(ctx context.Context, in *ecs.DeleteTaskSetInput) (*ecs.DeleteTaskSetOutput, error) {
	out := &ecs.DeleteTaskSetOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		service, set, err := s.taskSet(tx, in.Cluster, deref(in.Service), deref(in.TaskSet))
		if err != nil {
			return err
		}
		if set.Scale.Value > 0 && !deref(in.Force) {
			return invalid("The task set cannot be deleted while it is scaled above 0.")
		}
		if set.Status == statusActive {
			set.Status, set.UpdatedAt = statusDraining, wire.Now(ctx)
			state.TaskSets.Put(tx, set)
		}
		if service.PrimaryTaskSet == set.ARN {
			service.PrimaryTaskSet = ""
			state.Services.Put(tx, service)
		}
		out.TaskSet = ptr(describeTaskSet(tx, service, set, false))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeTaskSets describes the task sets named, or all of a service.
func (s *Server) DescribeTaskSets(ctx context.Context, in *ecs.DescribeTaskSetsInput) (*ecs.DescribeTaskSetsOutput, error) {
	if len(in.TaskSets) > maxPage {
		return nil, invalid("Task sets can have at most %d items.", maxPage)
	}
	out := &ecs.DescribeTaskSetsOutput{TaskSets: []types.TaskSet{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		_, service, err := s.externalService(r, in.Cluster, deref(in.Service))
		if err != nil {
			return err
		}
		tags := slices.Contains(in.Include, types.TaskSetFieldTags)
		if len(in.TaskSets) == 0 {
			for set := range state.TaskSets.By(r, "service", service.ARN) {
				out.TaskSets = append(out.TaskSets, describeTaskSet(r, service, set, tags))
			}
		}
		for _, ref := range in.TaskSets {
			arn, err := s.taskSetARN(service, ref)
			if err != nil {
				return err
			}
			if set, ok := state.TaskSets.Get(r, arn); ok && set.ServiceARN == service.ARN {
				out.TaskSets = append(out.TaskSets, describeTaskSet(r, service, set, tags))
			} else {
				out.Failures = append(out.Failures, missing(arn))
			}
		}
		return nil
	})
}

// UpdateServicePrimaryTaskSet says which task set is the service's own: DescribeServices shows what it is made from.
func (s *Server) UpdateServicePrimaryTaskSet(ctx context.Context, in *ecs.UpdateServicePrimaryTaskSetInput) (*ecs.UpdateServicePrimaryTaskSetOutput, error) {
	out := &ecs.UpdateServicePrimaryTaskSetOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		service, set, err := s.taskSet(tx, in.Cluster, deref(in.Service), deref(in.PrimaryTaskSet))
		if err != nil {
			return err
		}
		if set.Status != statusActive {
			return taskSetNotFound()
		}
		if service.PrimaryTaskSet != set.ARN {
			service.PrimaryTaskSet, set.UpdatedAt = set.ARN, wire.Now(ctx)
			state.Services.Put(tx, service)
			state.TaskSets.Put(tx, set)
		}
		out.TaskSet = ptr(describeTaskSet(tx, service, set, false))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkedScale checks a task set's scale; without one it has no tasks.
func checkedScale(scale *types.Scale) (types.Scale, error) {
	if scale == nil {
		return types.Scale{Unit: types.ScaleUnitPercent}, nil
	}
	out := *scale
	if out.Unit == "" {
		out.Unit = types.ScaleUnitPercent
	}
	if out.Unit != types.ScaleUnitPercent {
		return out, invalid("The unit of a task set's scale must be PERCENT.")
	}
	if !(out.Value >= 0 && out.Value <= 100) { // NaN is neither
		return out, invalid("The scale of a task set must be between 0 and 100 percent.")
	}
	return out, nil
}

// externalService resolves a reference to an ACTIVE service whose tasks are in task sets.
func (s *Server) externalService(src state.Source, cluster *string, ref string) (state.Cluster, state.Service, error) {
	c, err := s.cluster(src, cluster)
	if err != nil {
		return c, state.Service{}, err
	}
	service, err := s.service(src, cluster, ref)
	switch {
	case err != nil:
		return c, service, err
	case service.Status != statusActive:
		return c, service, serviceNotActive()
	case service.Controller != types.DeploymentControllerTypeExternal:
		return c, service, invalid("Task sets are of services with an EXTERNAL deployment controller alone, and the deployment controller of this one is %s.", service.Controller)
	}
	return c, service, nil
}

// taskSet resolves a reference to a task set of such a service.
func (s *Server) taskSet(src state.Source, cluster *string, service, ref string) (state.Service, state.TaskSet, error) {
	_, of, err := s.externalService(src, cluster, service)
	if err != nil {
		return of, state.TaskSet{}, err
	}
	arn, err := s.taskSetARN(of, ref)
	if err != nil {
		return of, state.TaskSet{}, err
	}
	set, ok := state.TaskSets.Get(src, arn)
	if !ok || set.ServiceARN != of.ARN {
		return of, set, taskSetNotFound()
	}
	return of, set, nil
}

// taskSetARN resolves a reference to a task set: its ID, ecs-svc/NUMBER, or its ARN.
func (s *Server) taskSetARN(service state.Service, ref string) (string, error) {
	if !isARN(ref) {
		return s.arn(kindTaskSet, lastPart(service.ClusterARN)+"/"+service.Name+"/"+ref), nil
	}
	_, err := s.ours(ref, kindTaskSet)
	return ref, err
}

func taskSetNotFound() error {
	return &types.TaskSetNotFoundException{Message: ptr("The specified task set was not found.")}
}

// describeTaskSet is the task set as ECS prints it.
func describeTaskSet(src state.Source, service state.Service, set state.TaskSet, tags bool) types.TaskSet {
	r, _ := state.ServiceRevisions.Get(src, set.RevisionARN)
	var n counts
	for t := range state.Tasks.By(src, "unstopped of service", service.ARN) {
		if t.RevisionARN == set.RevisionARN && t.Desired != lifecycle.Stopped {
			n.add(t)
		}
	}
	out := types.TaskSet{
		CapacityProviderStrategy: r.CapacityProviderStrategy,
		ClusterArn:               ptr(set.ClusterARN),
		ComputedDesiredCount:     set.Share(service.Desired),
		CreatedAt:                known(set.CreatedAt),
		ExternalId:               present(set.ExternalID),
		Id:                       ptr(set.ID),
		LaunchType:               r.LaunchType,
		LoadBalancers:            listed(r.LoadBalancers),
		PendingCount:             n.pending,
		RunningCount:             n.running,
		Scale:                    &set.Scale,
		ServiceArn:               ptr(service.ARN),
		ServiceRegistries:        []types.ServiceRegistry{},
		StabilityStatus:          set.Stability,
		StabilityStatusAt:        known(set.StabilityAt),
		Status:                   ptr(set.Status),
		Tags:                     []types.Tag{},
		TaskDefinition:           ptr(r.DefinitionARN),
		TaskSetArn:               ptr(set.ARN),
		UpdatedAt:                known(set.UpdatedAt),
	}
	if service.PrimaryTaskSet == set.ARN {
		out.Status = ptr("PRIMARY")
	}
	if tags {
		out.Tags = listed(set.Tags)
	}
	return out
}

// describeTaskSets are all of a service.
func describeTaskSets(src state.Source, service state.Service) []types.TaskSet {
	var all []types.TaskSet
	for set := range state.TaskSets.By(src, "service", service.ARN) {
		all = append(all, describeTaskSet(src, service, set, false))
	}
	return all
}

// primaryRevision is what a service's primary task set is made from.
func primaryRevision(src state.Source, service state.Service) state.ServiceRevision {
	set, _ := state.TaskSets.Get(src, service.PrimaryTaskSet)
	r, _ := state.ServiceRevisions.Get(src, set.RevisionARN)
	return r
}
