package ecs

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
	"havn/wire"
)

// CreateCluster makes a cluster, or answers with the ACTIVE one of that name as it is. An INACTIVE one is
// made anew.
func (s *Server) CreateCluster(ctx context.Context, in *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
	name, err := s.clusterName(in.ClusterName)
	if err != nil {
		return nil, err
	}
	if isARN(deref(in.ClusterName)) {
		return nil, invalid(`Cluster must match ^[a-zA-Z0-9\-_]{1,255}$, but was %s`, *in.ClusterName)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := checkClusterSettings(in.Settings); err != nil {
		return nil, err
	}
	if err := checkClusterConfiguration(in.Configuration); err != nil {
		return nil, err
	}
	out := &ecs.CreateClusterOutput{}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		providers, err := s.checkCapacityProviders(tx, in.CapacityProviders, in.DefaultCapacityProviderStrategy)
		if err != nil {
			return err
		}
		c, ok := state.Clusters.Get(tx, s.clusterARN(name))
		if !ok || c.Status != statusActive {
			c = state.Cluster{
				ARN:                             s.clusterARN(name),
				Name:                            name,
				Status:                          statusActive,
				Settings:                        s.clusterSettings(tx, ctx, in.Settings),
				Configuration:                   in.Configuration,
				ServiceConnectDefaults:          serviceConnectDefaults(in.ServiceConnectDefaults),
				CapacityProviders:               providers,
				DefaultCapacityProviderStrategy: in.DefaultCapacityProviderStrategy,
				Tags:                            in.Tags,
				CreatedAt:                       wire.Now(ctx),
			}
			state.Clusters.Put(tx, c)
			placement.JoinCluster(tx, c, wire.Now(ctx))
		}
		out.Cluster = ptr(describeCluster(tx, c, written))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeClusters describes the clusters named, INACTIVE ones too, or the default one.
func (s *Server) DescribeClusters(ctx context.Context, in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
	refs := in.Clusters
	if len(refs) == 0 {
		refs = []string{defaultCluster}
	}
	if err := atMost(maxPage, len(refs), "Clusters"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeClustersOutput{Clusters: []types.Cluster{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		for _, ref := range refs {
			name, err := s.clusterName(&ref)
			if err != nil {
				return err
			}
			c, ok := state.Clusters.Get(r, s.clusterARN(name))
			if !ok {
				out.Failures = append(out.Failures, missing(s.clusterARN(name)))
				continue
			}
			out.Clusters = append(out.Clusters, describeCluster(r, c, in.Include))
		}
		return nil
	})
}

// ListClusters lists the ACTIVE clusters.
func (s *Server) ListClusters(ctx context.Context, in *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
	var arns []string
	s.Store.View(func(r *state.Reader) {
		for c := range state.Clusters.All(r) {
			if c.Status == statusActive {
				arns = append(arns, c.ARN)
			}
		}
	})
	arns, next, err := page(arns, self, pageRequest{Max: in.MaxResults, Token: in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ecs.ListClustersOutput{ClusterArns: listed(arns), NextToken: next}, nil
}

// UpdateCluster replaces the parts of a cluster that the request has.
func (s *Server) UpdateCluster(ctx context.Context, in *ecs.UpdateClusterInput) (*ecs.UpdateClusterOutput, error) {
	if err := checkClusterSettings(in.Settings); err != nil {
		return nil, err
	}
	if err := checkClusterConfiguration(in.Configuration); err != nil {
		return nil, err
	}
	c, err := s.changeCluster(ctx, in.Cluster, func(tx *state.Tx, c *state.Cluster) error {
		if in.Settings != nil {
			c.Settings = s.clusterSettings(tx, ctx, in.Settings)
		}
		if in.Configuration != nil {
			c.Configuration = in.Configuration
		}
		if in.ServiceConnectDefaults != nil {
			c.ServiceConnectDefaults = serviceConnectDefaults(in.ServiceConnectDefaults)
		}
		return nil
	})
	return &ecs.UpdateClusterOutput{Cluster: c}, err
}

// UpdateClusterSettings replaces the settings of a cluster.
func (s *Server) UpdateClusterSettings(ctx context.Context, in *ecs.UpdateClusterSettingsInput) (*ecs.UpdateClusterSettingsOutput, error) {
	if err := checkClusterSettings(in.Settings); err != nil {
		return nil, err
	}
	c, err := s.changeCluster(ctx, in.Cluster, func(tx *state.Tx, c *state.Cluster) error {
		c.Settings = s.clusterSettings(tx, ctx, in.Settings)
		return nil
	})
	return &ecs.UpdateClusterSettingsOutput{Cluster: c}, err
}

// PutClusterCapacityProviders replaces the capacity providers of a cluster and its default strategy. One that tasks or
// services use stays.
func (s *Server) PutClusterCapacityProviders(ctx context.Context, in *ecs.PutClusterCapacityProvidersInput) (*ecs.PutClusterCapacityProvidersOutput, error) {
	c, err := s.changeCluster(ctx, in.Cluster, func(tx *state.Tx, c *state.Cluster) error {
		providers, err := s.checkCapacityProviders(tx, in.CapacityProviders, in.DefaultCapacityProviderStrategy)
		if err != nil {
			return err
		}
		for _, name := range c.CapacityProviders {
			if !slices.Contains(providers, name) && providerInUse(tx, c.ARN, name) {
				return &types.ResourceInUseException{Message: ptr("The specified capacity provider is in use and cannot be removed.")}
			}
		}
		c.CapacityProviders = providers
		c.DefaultCapacityProviderStrategy = in.DefaultCapacityProviderStrategy
		return nil
	})
	return &ecs.PutClusterCapacityProvidersOutput{Cluster: c}, err
}

// changeCluster writes a change to an ACTIVE cluster and describes it whole.
func (s *Server) changeCluster(ctx context.Context, ref *string, change func(*state.Tx, *state.Cluster) error) (*types.Cluster, error) {
	var out types.Cluster
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.cluster(tx, ref)
		if err != nil {
			return err
		}
		if err := change(tx, &c); err != nil {
			return err
		}
		state.Clusters.Put(tx, c)
		out = describeCluster(tx, c, written)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// DeleteCluster makes a cluster INACTIVE; it stays described. One that has container instances of its own,
// services or tasks is left as it is. The nodes that serve every cluster simply leave it.
func (s *Server) DeleteCluster(ctx context.Context, in *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
	name, err := s.clusterName(in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &ecs.DeleteClusterOutput{}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		c, ok := state.Clusters.Get(tx, s.clusterARN(name))
		if !ok {
			return clusterNotFound()
		}
		if c.Status == statusActive {
			if err := emptyCluster(tx, c); err != nil {
				return err
			}
			c.Status = statusInactive
			c.DeletedAt = wire.Now(ctx)
			state.Clusters.Put(tx, c)
		}
		out.Cluster = ptr(describeCluster(tx, c, nil))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// maxMet is how many nodes one transaction can guard beside all else that it does.
const maxMet = 3000

// emptyCluster checks that nothing but automatic container instances is in the cluster, and removes those,
// or as many as one transaction does: of an INACTIVE cluster, control removes the rest.
func emptyCluster(tx *state.Tx, c state.Cluster) error {
	met := 0
	for i := range state.Instances.By(tx, "cluster", c.ARN) {
		if !i.Automatic && i.Status != statusInactive {
			return &types.ClusterContainsContainerInstancesException{
				Message: ptr("The Cluster cannot be deleted while Container Instances are active or draining.")}
		}
		// A task that is being placed here now writes the node's remaining resources: meet it there. In a
		// cluster of more nodes it may slip in, and is stopped when control removes its instance.
		if met++; met <= maxMet {
			state.Nodes.Get(tx, i.NodeID)
		}
	}
	for service := range state.Services.By(tx, "cluster", c.ARN) {
		if service.Status != statusInactive {
			return &types.ClusterContainsServicesException{Message: ptr("The Cluster cannot be deleted while Services are active.")}
		}
	}
	for range state.Tasks.By(tx, "unstopped in cluster", c.ARN) {
		return &types.ClusterContainsTasksException{Message: ptr("The Cluster cannot be deleted while Tasks are active.")}
	}
	placement.LeaveCluster(tx, c.ARN)
	return nil
}

// written are the fields that the answer to a write shows: what can be written.
var written = []types.ClusterField{types.ClusterFieldConfigurations, types.ClusterFieldSettings, types.ClusterFieldTags}

// describeCluster is the cluster as ECS prints it. What is asked for by include is left empty otherwise,
// but never left out: tools take a missing list for a change.
func describeCluster(src state.Source, c state.Cluster, include []types.ClusterField) types.Cluster {
	n := countCluster(src, c)
	d := types.Cluster{
		ClusterArn:                        ptr(c.ARN),
		ClusterName:                       ptr(c.Name),
		Status:                            ptr(c.Status),
		ActiveServicesCount:               n.active["EC2"] + n.active["Fargate"] + n.active["External"],
		RegisteredContainerInstancesCount: n.instances,
		RunningTasksCount:                 n.running["EC2"] + n.running["Fargate"] + n.running["External"],
		PendingTasksCount:                 n.pending["EC2"] + n.pending["Fargate"] + n.pending["External"],
		CapacityProviders:                 listed(c.CapacityProviders),
		DefaultCapacityProviderStrategy:   listed(c.DefaultCapacityProviderStrategy),
		ServiceConnectDefaults:            c.ServiceConnectDefaults,
		Settings:                          []types.ClusterSetting{},
		Statistics:                        []types.KeyValuePair{},
		Tags:                              []types.Tag{},
	}
	for _, field := range include {
		switch field {
		case types.ClusterFieldAttachments:
			d.Attachments = []types.Attachment{}
		case types.ClusterFieldConfigurations:
			d.Configuration = c.Configuration
		case types.ClusterFieldSettings:
			d.Settings = listed(c.Settings)
		case types.ClusterFieldStatistics:
			d.Statistics = n.statistics()
		case types.ClusterFieldTags:
			d.Tags = listed(c.Tags)
		}
	}
	return d
}

// clusterCounts are the counts of a cluster; tasks and services by the kind of capacity, as ECS writes it.
type clusterCounts struct {
	instances        int32
	running, pending map[string]int32 // tasks
	active, draining map[string]int32 // services
}

func capacityKind(launch types.LaunchType) string {
	switch launch {
	case types.LaunchTypeFargate:
		return "Fargate"
	case types.LaunchTypeExternal:
		return "External"
	}
	return "EC2"
}

func countCluster(src state.Source, c state.Cluster) clusterCounts {
	n := clusterCounts{running: map[string]int32{}, pending: map[string]int32{}, active: map[string]int32{}, draining: map[string]int32{}}
	for service := range state.Services.By(src, "cluster", c.ARN) {
		switch kind := capacityKind(launchTypeOf(src, service)); service.Status {
		case statusActive:
			n.active[kind]++
		case statusDraining:
			n.draining[kind]++
		}
	}
	for i := range state.Instances.By(src, "cluster", c.ARN) {
		if i.Status != statusInactive {
			n.instances++
		}
	}
	for t := range state.Tasks.By(src, "unstopped in cluster", c.ARN) {
		kind := capacityKind(t.LaunchType)
		switch {
		case t.Last == lifecycle.Running:
			n.running[kind]++
		case t.Last.Before(lifecycle.Running):
			n.pending[kind]++
		}
	}
	return n
}

func (n clusterCounts) statistics() []types.KeyValuePair {
	pair := func(name string, v int32) types.KeyValuePair {
		return types.KeyValuePair{Name: ptr(name), Value: ptr(strconv.Itoa(int(v)))}
	}
	var list []types.KeyValuePair
	for _, kind := range []string{"EC2", "Fargate", "External"} {
		list = append(list,
			pair("running"+kind+"TasksCount", n.running[kind]),
			pair("pending"+kind+"TasksCount", n.pending[kind]),
			pair("active"+kind+"ServiceCount", n.active[kind]),
			pair("draining"+kind+"ServiceCount", n.draining[kind]))
	}
	return list
}

// clusterSettings are the settings asked for, and those that were not at what the account has for them.
func (s *Server) clusterSettings(src state.Source, ctx context.Context, asked []types.ClusterSetting) []types.ClusterSetting {
	if len(asked) > 0 {
		return asked
	}
	insights := s.effectiveSetting(src, wire.Caller(ctx).ARN, types.SettingNameContainerInsights)
	return []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: insights.Value}}
}

func checkClusterSettings(settings []types.ClusterSetting) error {
	for _, set := range settings {
		if set.Name != types.ClusterSettingNameContainerInsights {
			return invalid("Setting name must be one of [containerInsights]")
		}
		if !slices.Contains(accountSettings[types.SettingNameContainerInsights].values, deref(set.Value)) {
			return invalid("Invalid value for the setting containerInsights: %s", deref(set.Value))
		}
	}
	if len(settings) > 1 {
		return invalid("Duplicate cluster settings are not allowed.")
	}
	return nil
}

func checkClusterConfiguration(c *types.ClusterConfiguration) error {
	if c == nil || c.ExecuteCommandConfiguration == nil {
		return nil
	}
	x := c.ExecuteCommandConfiguration
	switch {
	case x.Logging == types.ExecuteCommandLoggingOverride && x.LogConfiguration == nil:
		return invalid("logConfiguration must be specified when logging is OVERRIDE")
	case x.Logging != types.ExecuteCommandLoggingOverride && x.LogConfiguration != nil:
		return invalid("logConfiguration can only be specified when logging is OVERRIDE")
	}
	return nil
}

func serviceConnectDefaults(in *types.ClusterServiceConnectDefaultsRequest) *types.ClusterServiceConnectDefaults {
	if in == nil || deref(in.Namespace) == "" {
		return nil
	}
	return &types.ClusterServiceConnectDefaults{Namespace: in.Namespace}
}

// listed is the list, never nil: ECS prints an empty one.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
