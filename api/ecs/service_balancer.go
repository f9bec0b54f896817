package ecs

import (
	"slices"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// maxTargetGroups is how many target groups a service may have. Developer Guide, "Registering multiple target groups with
// a service".
const maxTargetGroups = 5

// checkLoadBalancers checks that traffic can get from the load balancers of a revision to its tasks.
func (s *Server) checkLoadBalancers(src state.Source, service state.Service, revision state.ServiceRevision, d state.TaskDefinition) error {
	strategy := service.Configuration.Strategy
	shifts := strategy != types.DeploymentStrategyRolling
	if len(revision.LoadBalancers) == 0 {
		if strategy == types.DeploymentStrategyLinear || strategy == types.DeploymentStrategyCanary {
			return invalid("The %s deployment strategy requires a load balancer.", strategy)
		}
		return nil
	}
	if len(revision.LoadBalancers) > maxTargetGroups {
		return invalid("load balancers can have at most %d items.", maxTargetGroups)
	}
	for n, l := range revision.LoadBalancers {
		if slices.ContainsFunc(revision.LoadBalancers[:n], func(o types.LoadBalancer) bool {
			return deref(o.TargetGroupArn) == deref(l.TargetGroupArn) && deref(o.ContainerName) == deref(l.ContainerName) && deref(o.ContainerPort) == deref(l.ContainerPort)
		}) {
			return invalid("Duplicate load balancers are not allowed.")
		}
		if err := checkBalancedContainer(l, d.Spec); err != nil {
			return err
		}
		if err := checkTargetGroup(src, deref(l.TargetGroupArn), d.Spec); err != nil {
			return err
		}
		a := l.AdvancedConfiguration
		switch {
		case a == nil && shifts:
			return invalid("advancedConfiguration must be specified for each load balancer with the %s deployment strategy.", strategy)
		case a == nil:
			if !leadsSomewhere(src, *l.TargetGroupArn) {
				return noLoadBalancer(*l.TargetGroupArn)
			}
		default:
			if err := s.checkAdvanced(src, l, d.Spec); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkBalancedContainer(l types.LoadBalancer, spec types.TaskDefinition) error {
	if deref(l.TargetGroupArn) == "" {
		return invalid("targetGroupArn can not be blank in a load balancer.")
	}
	name := deref(l.ContainerName)
	if name == "" || l.ContainerPort == nil {
		return invalid("Both containerName and containerPort must be specified for a load balancer.")
	}
	c := containerNamed(&spec, name)
	if c == nil {
		return invalid("The container %s does not exist in the task definition.", name)
	}
	port := *l.ContainerPort
	if !slices.ContainsFunc(c.PortMappings, func(p types.PortMapping) bool { return deref(p.ContainerPort) == port }) {
		return invalid("The container %s did not have a container port %d defined.", name, port)
	}
	return nil
}

// checkTargetGroup checks that there is a target group, and that tasks can be targets of its type.
func checkTargetGroup(src state.Source, arn string, spec types.TaskDefinition) error {
	g, ok := state.TargetGroups.Get(src, arn)
	if !ok {
		return invalid("The target group %s does not exist.", arn)
	}
	mode := spec.NetworkMode
	if mode == "" {
		mode = types.NetworkModeBridge
	}
	fits := elb.TargetTypeEnumInstance
	if mode == types.NetworkModeAwsvpc {
		fits = elb.TargetTypeEnumIp
	}
	if g.Type != fits {
		return invalid("The provided target group %s has target type %s, which is incompatible with the %s network mode specified in the task definition.", arn, g.Type, mode)
	}
	return nil
}

func noLoadBalancer(targetGroup string) error {
	return invalid("The target group with targetGroupArn %s does not have an associated load balancer.", targetGroup)
}

// leadsSomewhere reports whether a listener or a rule forwards to a target group.
func leadsSomewhere(src state.Source, targetGroup string) bool {
	for range state.ListenerRules.By(src, "target group", targetGroup) {
		return true
	}
	for l := range state.Listeners.All(src) {
		if slices.Contains(state.TargetGroupsOf(l.DefaultActions), targetGroup) {
			return true
		}
	}
	return false
}

// checkAdvanced checks what a deployment needs that moves traffic from one target group to another.
func (s *Server) checkAdvanced(src state.Source, l types.LoadBalancer, spec types.TaskDefinition) error {
	a := l.AdvancedConfiguration
	alternate := deref(a.AlternateTargetGroupArn)
	switch {
	case alternate == "":
		return invalid("alternateTargetGroupArn must be specified in an advancedConfiguration.")
	case deref(a.ProductionListenerRule) == "":
		return invalid("productionListenerRule must be specified in an advancedConfiguration.")
	case alternate == *l.TargetGroupArn:
		return invalid("alternateTargetGroupArn must be another target group than targetGroupArn.")
	case deref(a.TestListenerRule) == *a.ProductionListenerRule:
		return invalid("testListenerRule must be another listener rule than productionListenerRule.")
	}
	if err := checkTargetGroup(src, alternate, spec); err != nil {
		return err
	}
	for _, rule := range []string{*a.ProductionListenerRule, deref(a.TestListenerRule)} {
		if rule == "" {
			continue
		}
		groups, ok := forwardedBy(src, rule)
		switch {
		case !ok:
			return invalid("The listener rule %s does not exist.", rule)
		case !slices.Contains(groups, *l.TargetGroupArn) && !slices.Contains(groups, alternate):
			return invalid("The listener rule %s does not forward to the target group %s or to its alternate.", rule, *l.TargetGroupArn)
		}
	}
	return nil
}

// forwardedBy are the target groups that a listener rule, or a listener by default, forwards to.
func forwardedBy(src state.Source, arn string) ([]string, bool) {
	actions, ok := state.ActionsAt(src, arn)
	return state.TargetGroupsOf(actions), ok
}
