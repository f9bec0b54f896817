package ecs

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
	"havn/wire"
)

// statusDraining is the status of a service, and of a container instance, whose tasks are to go.
const statusDraining = "DRAINING"

// CreateService writes down that copies of a task definition are wanted. It starts none: control does, and keeps them
// running. An ACTIVE service of the name is answered with as it is if the request asks for the same.
func (s *Server) CreateService(ctx context.Context, in *ecs.CreateServiceInput) (*ecs.CreateServiceOutput, error) {
	if err := checkServiceRequest(in); err != nil {
		return nil, err
	}
	out := &ecs.CreateServiceOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		token, known, err := serviceToken(tx, c, in, wire.Now(ctx))
		if err != nil {
			return err
		}
		old, exists := state.Services.Get(tx, s.serviceARN(c.Name, *in.ServiceName))
		if known && exists && old.Status == statusActive {
			out.Service = ptr(describeService(tx, old, withServiceTags))
			return nil
		}
		service, revision, err := s.newService(ctx, tx, c, in)
		if err != nil {
			return err
		}
		switch {
		case exists && old.Status == statusDraining:
			return invalid("Unable to Start a service that is still Draining.")
		case exists && old.Status == statusActive:
			if !sameService(tx, old, service, revision) {
				return invalid("Creation of service was not idempotent.")
			}
			out.Service = ptr(describeService(tx, old, withServiceTags))
			return nil
		case exists:
			forgetService(tx, old)
		}
		if service.Controller == types.DeploymentControllerTypeEcs {
			s.deploy(tx, c, &service, revision, wire.Now(ctx))
		}
		state.Services.Put(tx, service)
		if token.Key != "" {
			state.ClientTokens.Put(tx, token)
		}
		out.Service = ptr(describeService(tx, service, withServiceTags))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// newService is the service that a request asks for, and the revision that its tasks are made from; of a service with
// an external controller there is none.
func (s *Server) newService(ctx context.Context, src state.Source, c state.Cluster, in *ecs.CreateServiceInput) (state.Service, state.ServiceRevision, error) {
	service := state.Service{
		ARN:                  s.serviceARN(c.Name, deref(in.ServiceName)),
		Name:                 deref(in.ServiceName),
		ClusterARN:           c.ARN,
		Scheduling:           in.SchedulingStrategy,
		Controller:           types.DeploymentControllerTypeEcs,
		CreatedAt:            wire.Now(ctx),
		CreatedBy:            wire.Caller(ctx).ARN,
		Status:               statusActive,
		Desired:              deref(in.DesiredCount),
		GracePeriod:          in.HealthCheckGracePeriodSeconds,
		Rebalancing:          in.AvailabilityZoneRebalancing,
		PlacementConstraints: in.PlacementConstraints,
		PlacementStrategy:    in.PlacementStrategy,
		PropagateTags:        in.PropagateTags,
		EnableManagedTags:    in.EnableECSManagedTags,
		Tags:                 in.Tags,
	}
	if service.Scheduling == "" {
		service.Scheduling = types.SchedulingStrategyReplica
	}
	if in.DeploymentController != nil {
		service.Controller = in.DeploymentController.Type
	}
	if service.PropagateTags == "" {
		service.PropagateTags = types.PropagateTagsNone
	}
	if in.DesiredCount == nil && service.Scheduling == types.SchedulingStrategyReplica && service.Controller == types.DeploymentControllerTypeEcs {
		return service, state.ServiceRevision{}, invalid("The desired count can not be null or empty when you create a service with the REPLICA scheduling strategy.")
	}
	var err error
	if service.Configuration, service.HookDetails, err = deploymentConfiguration(in.DeploymentConfiguration, service.Scheduling); err != nil {
		return service, state.ServiceRevision{}, err
	}
	revision := state.ServiceRevision{
		ServiceARN:           service.ARN,
		ClusterARN:           c.ARN,
		LaunchType:           in.LaunchType,
		LoadBalancers:        in.LoadBalancers,
		NetworkConfiguration: in.NetworkConfiguration,
	}
	if revision.LaunchType == "" {
		revision.LaunchType = types.LaunchTypeEc2
	}
	if service.Controller == types.DeploymentControllerTypeExternal {
		revision.CapacityProviderStrategy = in.CapacityProviderStrategy // for checkExternal to refuse
	}
	if service.Controller == types.DeploymentControllerTypeEcs {
		if err := capacityOf(c, service, &revision, in.LaunchType, in.CapacityProviderStrategy); err != nil {
			return service, revision, err
		}
		if revision.DefinitionARN, err = s.definitionFor(src, in.TaskDefinition); err != nil {
			return service, revision, err
		}
	}
	service.RoleARN = s.roleOf(in.Role, revision.LoadBalancers)
	if service.Rebalancing == "" {
		service.Rebalancing = types.AvailabilityZoneRebalancingEnabled
		if rebalanceable(service) != nil {
			service.Rebalancing = types.AvailabilityZoneRebalancingDisabled
		}
	}
	return service, revision, s.checkService(src, service, revision)
}

// capacityOf decides where a revision's tasks run: by a capacity provider strategy, or on any container instance.
func capacityOf(c state.Cluster, service state.Service, r *state.ServiceRevision, launch types.LaunchType, asked []types.CapacityProviderStrategyItem) error {
	if service.Scheduling == types.SchedulingStrategyDaemon && len(asked) == 0 {
		launch = types.LaunchTypeEc2 // one on each, whatever the cluster's strategy
	}
	strategy, err := strategyFor(c, launch, asked)
	if err != nil {
		return err
	}
	r.LaunchType, r.CapacityProviderStrategy = types.LaunchTypeEc2, strategy
	if len(strategy) > 0 {
		r.LaunchType = ""
	}
	return nil
}

// definitionFor is the ARN of a task definition that a service's tasks can be made from.
func (s *Server) definitionFor(src state.Source, ref *string) (string, error) {
	if deref(ref) == "" {
		return "", invalid("TaskDefinition can not be blank.")
	}
	d, err := s.runnableDefinition(src, *ref)
	return d.ARN, err
}

// roleOf is the role that is used for a service's load balancers: the one that is named, or else ECS's own.
func (s *Server) roleOf(named *string, balancers []types.LoadBalancer) string {
	switch name := deref(named); {
	case len(balancers) == 0:
		return ""
	case name == "":
		return s.iamARN("role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
	case isARN(name):
		return name
	case name[0] == '/':
		return s.iamARN("role" + name)
	default:
		return s.iamARN("role/" + name)
	}
}

func (s *Server) iamARN(rest string) string {
	return "arn:" + partition(s.Region) + ":iam::" + s.Account + ":" + rest
}

func (s *Server) serviceARN(cluster, name string) string {
	return s.memberARN(kindService, cluster, name)
}

// deploy makes a revision and a deployment to it the service's latest. Control rolls it out.
func (s *Server) deploy(tx *state.Tx, c state.Cluster, service *state.Service, revision state.ServiceRevision, now time.Time) {
	number := revisionNumber(tx.NewID())
	revision.ARN = s.memberARN(kindRevision, c.Name, service.Name+"/"+number)
	revision.DeploymentID = "ecs-svc/" + number
	revision.CreatedAt = now
	revision.Images = nil
	d := state.ServiceDeployment{
		ARN:           s.memberARN(kindDeployment, c.Name, service.Name+"/"+deploymentID(tx.NewID())),
		ServiceARN:    service.ARN,
		ClusterARN:    c.ARN,
		RevisionARN:   revision.ARN,
		CreatedAt:     now,
		Configuration: service.Configuration,
		HookDetails:   service.HookDetails,
		Status:        types.ServiceDeploymentStatusPending,
	}
	if last, ok := state.ServiceDeployments.Get(tx, service.DeploymentARN); ok {
		d.StableARN = stableAfter(last)
		d.SourceARNs = sources(tx, *service, last)
	}
	service.DeploymentARN = d.ARN
	state.ServiceRevisions.Put(tx, revision)
	state.ServiceDeployments.Put(tx, d)
}

// deploymentID is the last part of a service deployment's ARN, of ECS's length.
func deploymentID(id string) string { return id[len(id)-21:] }

// revisionNumber is the number of 19 digits that ECS calls a service revision by.
func revisionNumber(id string) string {
	const low, high = 1_000_000_000_000_000_000, 9_000_000_000_000_000_000
	n, err := strconv.ParseUint(id[len(id)-16:], 16, 64)
	if err != nil {
		panic(err) // an ID is of hexadecimal digits
	}
	return strconv.FormatUint(low+n%(high-low), 10)
}

// stableAfter is the revision that a service can be rolled back to after its deployment has been superseded.
func stableAfter(last state.ServiceDeployment) string {
	switch last.Status {
	case types.ServiceDeploymentStatusSuccessful:
		return last.RevisionARN
	case types.ServiceDeploymentStatusRollbackSuccessful:
		return last.Rollback.RevisionARN
	}
	return last.StableARN
}

// sources are the revisions that a new deployment replaces: what the last one was heading for, and those of which tasks
// are left.
func sources(src state.Source, service state.Service, last state.ServiceDeployment) []string {
	all := []string{last.Heading()}
	for t := range state.Tasks.By(src, "unstopped of service", service.ARN) {
		if t.Desired != lifecycle.Stopped && t.RevisionARN != "" && !slices.Contains(all, t.RevisionARN) {
			all = append(all, t.RevisionARN)
		}
	}
	slices.Sort(all[1:])
	return all
}

// sameService reports whether a request to create a service asks for what the service is.
func sameService(src state.Source, old, asked state.Service, revision state.ServiceRevision) bool {
	asked.CreatedAt, asked.CreatedBy, asked.DeploymentARN, asked.PrimaryTaskSet = old.CreatedAt, old.CreatedBy, old.DeploymentARN, old.PrimaryTaskSet
	if !reflect.DeepEqual(plainService(old), plainService(asked)) {
		return false
	}
	d, ok := state.ServiceDeployments.Get(src, old.DeploymentARN)
	if !ok {
		return asked.Controller != types.DeploymentControllerTypeEcs
	}
	r, _ := state.ServiceRevisions.Get(src, d.Heading())
	return !differs(r, revision)
}

// plainService has no list that is empty instead of missing: on the wire they mean the same.
func plainService(service state.Service) state.Service {
	service.PlacementConstraints = plainList(service.PlacementConstraints)
	service.PlacementStrategy = plainList(service.PlacementStrategy)
	service.Tags = plainList(service.Tags)
	service.HookDetails = plainList(service.HookDetails)
	service.Configuration.LifecycleHooks = plainList(service.Configuration.LifecycleHooks)
	return service
}

func plainList[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// differs reports whether tasks of one revision are other than those of the other: that a deployment is needed.
func differs(a, b state.ServiceRevision) bool {
	plain := func(r state.ServiceRevision) state.ServiceRevision {
		return state.ServiceRevision{
			DefinitionARN:            r.DefinitionARN,
			LaunchType:               r.LaunchType,
			CapacityProviderStrategy: plainList(r.CapacityProviderStrategy),
			PlatformVersion:          r.PlatformVersion,
			LoadBalancers:            plainList(r.LoadBalancers),
			ServiceRegistries:        plainList(r.ServiceRegistries),
			NetworkConfiguration:     r.NetworkConfiguration,
		}
	}
	return !reflect.DeepEqual(plain(a), plain(b))
}

// forgetService deletes what belongs to an INACTIVE service of which a new one takes the name.
func forgetService(tx *state.Tx, service state.Service) {
	state.ServiceEvents.Delete(tx, service.ARN)
	for d := range state.ServiceDeployments.By(tx, "service", service.ARN) {
		state.ServiceDeployments.Delete(tx, d.ARN)
	}
	for r := range state.ServiceRevisions.By(tx, "service", service.ARN) {
		state.ServiceRevisions.Delete(tx, r.ARN)
	}
	for t := range state.TaskSets.By(tx, "service", service.ARN) {
		state.TaskSets.Delete(tx, t.ARN)
	}
}

// DeleteService makes a service DRAINING. Control stops its tasks, and makes it INACTIVE when none is left.
func (s *Server) DeleteService(ctx context.Context, in *ecs.DeleteServiceInput) (*ecs.DeleteServiceOutput, error) {
	out := &ecs.DeleteServiceOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		service, err := s.service(tx, in.Cluster, deref(in.Service))
		if err != nil {
			return err
		}
		if service.Status == statusActive {
			if service.Scheduling == types.SchedulingStrategyReplica && service.Desired > 0 && !deref(in.Force) {
				return invalid("The service cannot be stopped while it is scaled above 0.")
			}
			service.Status, service.DeletedAt, service.Desired = statusDraining, wire.Now(ctx), 0
			state.Services.Put(tx, service)
		}
		out.Service = ptr(describeService(tx, service, withServiceTags))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// service resolves a reference to a service that is not INACTIVE.
func (s *Server) service(src state.Source, cluster *string, ref string) (state.Service, error) {
	c, err := s.cluster(src, cluster)
	if err != nil {
		return state.Service{}, err
	}
	arn, err := s.member(kindService, c.Name, ref)
	if err != nil {
		return state.Service{}, err
	}
	service, ok := state.Services.Get(src, arn)
	if !ok || service.Status == statusInactive {
		return state.Service{}, serviceNotFound()
	}
	return service, nil
}
