package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
	"havn/wire"
)

// UpdateService changes what a service is to be. What its tasks are made from makes a new revision, and a deployment to
// it, where it has changed or a new deployment is forced; all else holds for the tasks to come. API Reference,
// "UpdateService".
func (s *Server) UpdateService(ctx context.Context, in *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	if err := refuseInService(unsupportedInUpdate(in)); err != nil {
		return nil, err
	}
	out := &ecs.UpdateServiceOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		arn, err := s.member(kindService, c.Name, deref(in.Service))
		if err != nil {
			return err
		}
		service, ok := state.Services.Get(tx, arn)
		switch {
		case !ok:
			return serviceNotFound()
		case service.Status != statusActive:
			return serviceNotActive()
		}
		if err := changeService(&service, in); err != nil {
			return err
		}
		if service.Controller == types.DeploymentControllerTypeExternal {
			if err := checkExternalUpdate(in); err != nil {
				return err
			}
			if err := s.checkService(tx, service, state.ServiceRevision{}); err != nil {
				return err
			}
		} else if err := s.changeRevision(ctx, tx, c, &service, in); err != nil {
			return err
		}
		state.Services.Put(tx, service)
		out.Service = ptr(describeService(tx, service, withServiceTags))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// changeService changes what makes no deployment.
func changeService(service *state.Service, in *ecs.UpdateServiceInput) error {
	daemon := service.Scheduling == types.SchedulingStrategyDaemon
	if in.DeploymentController != nil && in.DeploymentController.Type != service.Controller {
		return unsupported("Havn cannot change a service's deployment controller: deploymentController.type (%s). See docs/coverage.md.", in.DeploymentController.Type)
	}
	if in.DesiredCount != nil {
		if daemon {
			return errDaemonCount
		}
		service.Desired = *in.DesiredCount
	}
	if in.DeploymentConfiguration != nil {
		var err error
		merged := mergedConfiguration(*describeConfiguration(service.Configuration, service.HookDetails), *in.DeploymentConfiguration)
		if service.Configuration, service.HookDetails, err = deploymentConfiguration(&merged, service.Scheduling); err != nil {
			return err
		}
	}
	if in.HealthCheckGracePeriodSeconds != nil {
		service.GracePeriod = in.HealthCheckGracePeriodSeconds
	}
	if in.AvailabilityZoneRebalancing != "" {
		service.Rebalancing = in.AvailabilityZoneRebalancing
	}
	if in.PlacementConstraints != nil {
		service.PlacementConstraints = in.PlacementConstraints
	}
	if in.PlacementStrategy != nil {
		service.PlacementStrategy = in.PlacementStrategy
	}
	if in.PropagateTags != "" {
		service.PropagateTags = in.PropagateTags
	}
	if in.EnableECSManagedTags != nil {
		service.EnableManagedTags = *in.EnableECSManagedTags
	}
	return nil
}

// mergedConfiguration is a deployment configuration with the members that a request has in place of its own.
func mergedConfiguration(c, asked types.DeploymentConfiguration) types.DeploymentConfiguration {
	if asked.Strategy != "" && asked.Strategy != c.Strategy { // these are one strategy's
		c.Strategy, c.LinearConfiguration, c.CanaryConfiguration = asked.Strategy, nil, nil
		if asked.Strategy == types.DeploymentStrategyRolling {
			c.LifecycleHooks = nil
		} else {
			c.EarlySuccessCriteria = nil
		}
	}
	if asked.LifecycleHooks != nil {
		c.LifecycleHooks = asked.LifecycleHooks
	}
	c.Alarms = either(asked.Alarms, c.Alarms)
	c.BakeTimeInMinutes = either(asked.BakeTimeInMinutes, c.BakeTimeInMinutes)
	c.CanaryConfiguration = either(asked.CanaryConfiguration, c.CanaryConfiguration)
	c.DeploymentCircuitBreaker = either(asked.DeploymentCircuitBreaker, c.DeploymentCircuitBreaker)
	c.EarlySuccessCriteria = either(asked.EarlySuccessCriteria, c.EarlySuccessCriteria)
	c.LinearConfiguration = either(asked.LinearConfiguration, c.LinearConfiguration)
	c.MaximumPercent = either(asked.MaximumPercent, c.MaximumPercent)
	c.MinimumHealthyPercent = either(asked.MinimumHealthyPercent, c.MinimumHealthyPercent)
	return c
}

// changeRevision makes a deployment where one is needed.
func (s *Server) changeRevision(ctx context.Context, tx *state.Tx, c state.Cluster, service *state.Service, in *ecs.UpdateServiceInput) error {
	last, _ := state.ServiceDeployments.Get(tx, service.DeploymentARN)
	current, _ := state.ServiceRevisions.Get(tx, last.Heading())
	next := current
	if in.TaskDefinition != nil {
		var err error
		if next.DefinitionARN, err = s.definitionFor(tx, in.TaskDefinition); err != nil {
			return err
		}
	}
	if in.CapacityProviderStrategy != nil { // an empty one stands for the cluster's
		if !in.ForceNewDeployment {
			return invalid("When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity provider strategy on a service that is already using one, you must force a new deployment.")
		}
		if err := capacityOf(c, *service, &next, "", in.CapacityProviderStrategy); err != nil {
			return err
		}
	}
	if in.LoadBalancers != nil {
		next.LoadBalancers = in.LoadBalancers
		if service.RoleARN == "" || len(in.LoadBalancers) == 0 {
			service.RoleARN = s.roleOf(nil, in.LoadBalancers)
		}
	}
	if err := s.checkService(tx, *service, next); err != nil {
		return err
	}
	if in.ForceNewDeployment || differs(current, next) {
		next.Groups = nil
		s.deploy(tx, c, service, next, wire.Now(ctx))
	}
	return nil
}

// checkExternalUpdate: what a task set's tasks are made from is changed by another task set.
func checkExternalUpdate(in *ecs.UpdateServiceInput) error {
	switch {
	case in.TaskDefinition != nil:
		return invalid("Unable to update task definition on services with a EXTERNAL deployment controller. Create a new task set to trigger a new deployment.")
	case len(in.LoadBalancers) > 0:
		return invalid("Unable to update load balancers on services with a EXTERNAL deployment controller. Create a new task set to trigger a new deployment.")
	case in.ForceNewDeployment:
		return invalid("Cannot force a new deployment on services with a EXTERNAL deployment controller.")
	}
	return nil
}
