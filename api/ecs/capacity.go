package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
	"havn/wire"
)

// A capacity provider of Havn is a name for some of its machines: those whose attribute placement.ProviderAttribute says
// so. In AWS it also makes machines and takes them away, by an Auto Scaling group; Havn does neither, so what asks for
// that is refused, and the group is no more than a name that is kept.

// maxProviders is how many capacity providers a cluster may have, and a page of their description.
const (
	maxProviders    = 20
	maxProviderPage = 10
)

// fargate are the capacity providers that every account has.
var fargate = []string{"FARGATE", "FARGATE_SPOT"}

// CreateCapacityProvider makes a capacity provider.
func (s *Server) CreateCapacityProvider(ctx context.Context, in *ecs.CreateCapacityProviderInput) (*ecs.CreateCapacityProviderOutput, error) {
	name := deref(in.Name)
	lower := strings.ToLower(name)
	if !resourceName.MatchString(name) || strings.HasPrefix(lower, "aws") || strings.HasPrefix(lower, "ecs") || strings.HasPrefix(lower, "fargate") {
		return nil, invalid(`The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters (upper and lowercase), numbers, underscores, and hyphens. The name cannot be prefixed with "aws", "ecs", or "fargate". Specify a valid name and try again.`)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	switch {
	case in.ManagedInstancesProvider != nil || in.Cluster != nil:
		return nil, unsupported("Havn makes no machines, so it cannot act on: managedInstancesProvider.")
	case in.AutoScalingGroupProvider == nil:
		return nil, invalid("The Auto Scaling group provider must be specified.")
	}
	group := *in.AutoScalingGroupProvider
	if !isARN(deref(group.AutoScalingGroupArn)) {
		return nil, invalid("The specified Auto Scaling group ARN is invalid.")
	}
	if err := refuseManaged(group.ManagedScaling, group.ManagedTerminationProtection); err != nil {
		return nil, err
	}
	out := &ecs.CreateCapacityProviderOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		p := state.CapacityProvider{ARN: s.arn(kindProvider, name), Name: name, Group: withGroupDefaults(group), Tags: in.Tags, CreatedAt: wire.Now(ctx)}
		if _, exists := state.CapacityProviders.Get(tx, p.ARN); exists {
			return clientError("The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the capacity provider.")
		}
		for other := range state.CapacityProviders.All(tx) {
			if *other.Group.AutoScalingGroupArn == *group.AutoScalingGroupArn {
				return clientError("The specified Auto Scaling group ARN is already being used by another capacity provider. Specify a unique Auto Scaling group ARN and try again.")
			}
		}
		state.CapacityProviders.Put(tx, p)
		out.CapacityProvider = ptr(describeProvider(p, true))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeCapacityProviders describes those named, or all: Fargate's too.
func (s *Server) DescribeCapacityProviders(ctx context.Context, in *ecs.DescribeCapacityProvidersInput) (*ecs.DescribeCapacityProvidersOutput, error) {
	if len(in.CapacityProviders) > maxPage {
		return nil, invalid("Capacity providers can have at most %d items.", maxPage)
	}
	out := &ecs.DescribeCapacityProvidersOutput{CapacityProviders: []types.CapacityProvider{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		tags := slices.Contains(in.Include, types.CapacityProviderFieldTags)
		all := []types.CapacityProvider{}
		for _, name := range fargate {
			kind := types.CapacityProviderType(name)
			all = append(all, types.CapacityProvider{CapacityProviderArn: ptr(s.arn(kindProvider, name)), Name: ptr(name), Type: kind,
				Status: types.CapacityProviderStatusActive, Tags: []types.Tag{}})
		}
		for p := range state.CapacityProviders.All(r) {
			all = append(all, describeProvider(p, tags))
		}
		if deref(in.Cluster) != "" {
			c, err := s.cluster(r, in.Cluster)
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(p types.CapacityProvider) bool { return !slices.Contains(c.CapacityProviders, *p.Name) })
		}
		if len(in.CapacityProviders) > 0 {
			var named []types.CapacityProvider
			for _, ref := range in.CapacityProviders {
				name, err := s.providerName(ref)
				if err != nil {
					return err
				}
				at := slices.IndexFunc(all, func(p types.CapacityProvider) bool { return *p.Name == name })
				if at < 0 {
					out.Failures = append(out.Failures, missing(s.arn(kindProvider, name)))
					continue
				}
				named = append(named, all[at])
			}
			all = named
		}
		slices.SortFunc(all, func(a, b types.CapacityProvider) int { return strings.Compare(*a.Name, *b.Name) })
		all, next, err := page(all, func(p types.CapacityProvider) string { return *p.Name },
			pageRequest{Max: in.MaxResults, Token: in.NextToken, Limit: maxProviderPage, Query: strings.Join(in.CapacityProviders, ",") + "|" + deref(in.Cluster)})
		out.CapacityProviders, out.NextToken = listed(all), next
		return err
	})
}

// UpdateCapacityProvider changes what is said of an Auto Scaling group.
func (s *Server) UpdateCapacityProvider(ctx context.Context, in *ecs.UpdateCapacityProviderInput) (*ecs.UpdateCapacityProviderOutput, error) {
	if in.ManagedInstancesProvider != nil || in.Cluster != nil {
		return nil, unsupported("Havn makes no machines, so it cannot act on: managedInstancesProvider.")
	}
	if in.AutoScalingGroupProvider == nil {
		return nil, invalid("The Auto Scaling group provider must be specified.")
	}
	change := *in.AutoScalingGroupProvider
	if err := refuseManaged(change.ManagedScaling, change.ManagedTerminationProtection); err != nil {
		return nil, err
	}
	out := &ecs.UpdateCapacityProviderOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		p, err := s.provider(tx, deref(in.Name))
		if err != nil {
			return err
		}
		if change.ManagedDraining != "" {
			p.Group.ManagedDraining = change.ManagedDraining
		}
		if change.ManagedScaling != nil {
			p.Group.ManagedScaling = change.ManagedScaling
		}
		p.Group = withGroupDefaults(p.Group)
		p.Update, p.UpdateReason = types.CapacityProviderUpdateStatusUpdateComplete, ""
		state.CapacityProviders.Put(tx, p)
		out.CapacityProvider = ptr(describeProvider(p, true))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteCapacityProvider deletes a capacity provider. While a cluster has it that fails, as ECS fails it: the answer
// says so.
func (s *Server) DeleteCapacityProvider(ctx context.Context, in *ecs.DeleteCapacityProviderInput) (*ecs.DeleteCapacityProviderOutput, error) {
	out := &ecs.DeleteCapacityProviderOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		p, err := s.provider(tx, deref(in.CapacityProvider))
		if err != nil {
			return err
		}
		for c := range state.Clusters.All(tx) {
			if c.Status != statusActive || !slices.Contains(c.CapacityProviders, p.Name) {
				continue
			}
			p.Update = types.CapacityProviderUpdateStatusDeleteFailed
			p.UpdateReason = "The capacity provider cannot be deleted because it is associated with cluster: " + c.Name + ". Remove the capacity provider from the cluster and try again."
			state.CapacityProviders.Put(tx, p)
			out.CapacityProvider = ptr(describeProvider(p, true))
			return nil
		}
		state.CapacityProviders.Delete(tx, p.ARN)
		gone := describeProvider(p, true)
		gone.Status, gone.UpdateStatus, gone.UpdateStatusReason = types.CapacityProviderStatusInactive, types.CapacityProviderUpdateStatusDeleteComplete, nil
		out.CapacityProvider = &gone
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// refuseManaged refuses what only someone who makes machines, and takes them away, can do.
func refuseManaged(scaling *types.ManagedScaling, protection types.ManagedTerminationProtection) error {
	if scaling != nil && scaling.Status == types.ManagedScalingStatusEnabled {
		return unsupported("Havn makes no machines, so it cannot act on: autoScalingGroupProvider.managedScaling.status (ENABLED).")
	}
	if protection == types.ManagedTerminationProtectionEnabled {
		return unsupported("Havn takes no machines away, so it cannot act on: autoScalingGroupProvider.managedTerminationProtection (ENABLED).")
	}
	return nil
}

func withGroupDefaults(g types.AutoScalingGroupProvider) types.AutoScalingGroupProvider {
	if g.ManagedScaling == nil {
		g.ManagedScaling = &types.ManagedScaling{}
	}
	scaling := *g.ManagedScaling
	scaling.Status = types.ManagedScalingStatusDisabled
	g.ManagedScaling = &scaling
	g.ManagedTerminationProtection = types.ManagedTerminationProtectionDisabled
	if g.ManagedDraining == "" {
		g.ManagedDraining = types.ManagedDrainingEnabled
	}
	return g
}

// providerName resolves a reference to a capacity provider to its name.
func (s *Server) providerName(ref string) (string, error) {
	if !isARN(ref) {
		return ref, nil
	}
	a, err := s.ours(ref, kindProvider)
	return a.Rest, err
}

func (s *Server) provider(src state.Source, ref string) (state.CapacityProvider, error) {
	name, err := s.providerName(ref)
	if err != nil {
		return state.CapacityProvider{}, err
	}
	if slices.Contains(fargate, name) {
		return state.CapacityProvider{}, clientError("The specified capacity provider is reserved. The FARGATE and FARGATE_SPOT capacity providers cannot be changed or deleted.")
	}
	p, ok := state.CapacityProviders.Get(src, s.arn(kindProvider, name))
	if !ok {
		return p, providerNotFound(name)
	}
	return p, nil
}

func providerNotFound(name string) error {
	return clientError("The specified capacity provider '%s' was not found. Specify a valid capacity provider and try again.", name)
}

func describeProvider(p state.CapacityProvider, tags bool) types.CapacityProvider {
	d := types.CapacityProvider{
		AutoScalingGroupProvider: &p.Group,
		CapacityProviderArn:      ptr(p.ARN),
		Name:                     ptr(p.Name),
		Status:                   types.CapacityProviderStatusActive,
		Tags:                     []types.Tag{},
		Type:                     types.CapacityProviderTypeEc2Autoscaling,
		UpdateStatus:             p.Update,
		UpdateStatusReason:       present(p.UpdateReason),
	}
	if tags {
		d.Tags = listed(p.Tags)
	}
	return d
}

// providerInUse reports whether a service of a cluster, or a task in it, is for a capacity provider.
func providerInUse(src state.Source, clusterARN, name string) bool {
	for t := range state.Tasks.By(src, "unstopped in cluster", clusterARN) {
		if t.CapacityProvider == name {
			return true
		}
	}
	uses := func(revisionARN string) bool {
		r, _ := state.ServiceRevisions.Peek(src, revisionARN)
		return slices.ContainsFunc(r.CapacityProviderStrategy, func(i types.CapacityProviderStrategyItem) bool { return deref(i.CapacityProvider) == name })
	}
	for service := range state.Services.By(src, "cluster", clusterARN) {
		d, _ := state.ServiceDeployments.Peek(src, service.DeploymentARN)
		if service.Status == statusActive && uses(d.Heading()) {
			return true
		}
		for set := range state.TaskSets.By(src, "service", service.ARN) {
			if uses(set.RevisionARN) {
				return true
			}
		}
	}
	return false
}

// checkCapacityProviders checks the capacity providers of a cluster, and a strategy of some of them. It returns their
// names.
func (s *Server) checkCapacityProviders(src state.Source, refs []string, strategy []types.CapacityProviderStrategyItem) ([]string, error) {
	if len(refs) > maxProviders {
		return nil, invalid("A cluster can have at most %d capacity providers.", maxProviders)
	}
	var providers []string
	for _, ref := range refs {
		name, err := s.providerName(ref)
		if err != nil {
			return nil, err
		}
		if _, ok := state.CapacityProviders.Get(src, s.arn(kindProvider, name)); !ok && !slices.Contains(fargate, name) {
			return nil, invalid("The specified capacity provider '%s' was not found. Specify a valid capacity provider and try again.", name)
		}
		if slices.Contains(providers, name) {
			return nil, invalid("Capacity provider '%s' is specified more than once.", name)
		}
		providers = append(providers, name)
	}
	if len(strategy) == 0 {
		return providers, nil
	}
	return providers, checkStrategy(providers, strategy)
}

// checkStrategy checks a strategy of capacity providers. API Reference, "CapacityProviderStrategyItem".
func checkStrategy(providers []string, strategy []types.CapacityProviderStrategyItem) error {
	if len(strategy) > maxProviders {
		return invalid("A capacity provider strategy can have at most %d items.", maxProviders)
	}
	bases, weighted, clouds := 0, false, 0
	for i, item := range strategy {
		name := deref(item.CapacityProvider)
		if !slices.Contains(providers, name) {
			return invalid("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
		}
		if slices.ContainsFunc(strategy[:i], func(o types.CapacityProviderStrategyItem) bool { return deref(o.CapacityProvider) == name }) {
			return invalid("Capacity provider '%s' is specified more than once.", name)
		}
		if item.Base > 0 {
			bases++
		}
		if slices.Contains(fargate, name) {
			clouds++
		}
		weighted = weighted || item.Weight > 0
	}
	switch {
	case bases > 1:
		return invalid("Only one capacity provider in a strategy can have a base.")
	case !weighted:
		return invalid("A capacity provider strategy must have at least one capacity provider with a weight greater than zero.")
	case clouds > 0 && clouds < len(strategy):
		return invalid("The specified capacity provider strategy cannot contain a mix of capacity providers that use Auto Scaling groups and Fargate capacity providers.")
	}
	return nil
}

// strategyFor is the capacity provider strategy that tasks are to run by: the one asked for, or else, where no launch
// type is asked for either, the cluster's. There may be none.
func strategyFor(c state.Cluster, launch types.LaunchType, asked []types.CapacityProviderStrategyItem) ([]types.CapacityProviderStrategyItem, error) {
	switch {
	case launch != "" && len(asked) > 0:
		return nil, invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case launch != "":
		return nil, nil
	case len(asked) == 0:
		return c.DefaultCapacityProviderStrategy, refuseFargate(c, c.DefaultCapacityProviderStrategy, true)
	}
	if err := checkStrategy(c.CapacityProviders, asked); err != nil {
		return nil, err
	}
	return asked, refuseFargate(c, asked, false)
}
