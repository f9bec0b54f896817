package ecs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/schedule"
	"havn/state"
	"havn/wire"
)

// maxStateChanges is how many container instances one UpdateContainerInstancesState may name.
const maxStateChanges = 10

// maxForced is how many tasks one forced DeregisterContainerInstance tells to stop by itself.
const maxForced = 250

// RegisterContainerInstance makes a machine a container instance of a cluster, or tells what has changed
// on one that is. The agent calls it each time that it starts.
//
// A node of Havn's own names itself by an attribute and is known again by that name, whatever it remembers
// of ARNs. The stock agent has no name but the ARN that it was given, and gets the id of its node from us.
func (s *Server) RegisterContainerInstance(ctx context.Context, in *ecs.RegisterContainerInstanceInput) (*ecs.RegisterContainerInstanceOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := checkRegisteredAttributes(in.Attributes); err != nil {
		return nil, err
	}
	total, err := totalResources(in)
	if err != nil {
		return nil, err
	}
	identity, err := parseIdentity(in.InstanceIdentityDocument)
	if err != nil {
		return nil, err
	}
	out := &ecs.RegisterContainerInstanceOutput{}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.cluster(tx, in.Cluster)
		if errors.Is(err, errClusterInactive) {
			return clusterNotFound() // to this, an agent that names no cluster makes the default one anew
		}
		if err != nil {
			return err
		}
		i, n, err := s.registered(tx, c, in)
		if err != nil {
			return err
		}
		if old := attributeValue(n.Attributes, attributeInstanceType); old != "" && identity.InstanceType != "" && old != identity.InstanceType {
			return clientError("Container instance type changes are not supported.")
		}
		if n.RegisteredAt.IsZero() {
			n.RegisteredAt = wire.Now(ctx)
		}
		n.Total = total
		n.Attributes = s.nodeAttributes(n.Attributes, in.Attributes, identity)
		n.EveryCluster = attributeValue(in.Attributes, attributeEveryCluster) == "true"
		n.EC2InstanceID = cmp.Or(identity.InstanceID, madeInstanceID(n.ID))
		// VersionInfo is not written: the agent says the same when it connects, and dispatch writes it then.
		n = placement.Recount(tx, n)
		state.Nodes.Put(tx, n)
		placement.JoinNode(tx, n, wire.Now(ctx))
		if !n.EveryCluster {
			placement.LeaveNode(tx, n.ID) // this cluster's is written again below
		}

		if joined, ok := membership(tx, c.ARN, n.ID); ok {
			i = joined // JoinNode has made it just now
		}
		if i.ARN == "" {
			i = state.Instance{ARN: s.instanceARN(c.Name, n.ID), ClusterARN: c.ARN, NodeID: n.ID}
		}
		if i.Status == "" || i.Status == statusInactive {
			i.Status = statusActive
			i.RegisteredAt, i.DeregisteredAt = wire.Now(ctx), time.Time{}
		}
		i.Automatic = n.EveryCluster
		i.Tags = withTags(i.Tags, in.Tags)
		i.Version++
		state.Instances.Put(tx, i)
		out.ContainerInstance = ptr(describeInstance(tx, i, []types.ContainerInstanceField{types.ContainerInstanceFieldTags}))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// registered finds the container instance and the node that a registration is about; either may be new.
func (s *Server) registered(tx *state.Tx, c state.Cluster, in *ecs.RegisterContainerInstanceInput) (state.Instance, state.Node, error) {
	if id := attributeValue(in.Attributes, attributeNodeID); id != "" {
		if !resourceName.MatchString(id) {
			return state.Instance{}, state.Node{}, invalid("Invalid value for the attribute %s: %s", attributeNodeID, quoted(id))
		}
		n, ok := state.Nodes.Get(tx, id)
		if !ok {
			n = state.Node{ID: id}
		}
		i, _ := membership(tx, c.ARN, id)
		return i, n, nil
	}
	if deref(in.ContainerInstanceArn) == "" {
		return state.Instance{}, state.Node{ID: tx.NewID()}, nil
	}
	i, err := s.instance(tx, c, *in.ContainerInstanceArn)
	if err != nil {
		return i, state.Node{}, err
	}
	if i.Status == statusInactive {
		return i, state.Node{}, clientError("Container instance %s is inactive.", lastPart(i.ARN))
	}
	n, ok := state.Nodes.Get(tx, i.NodeID)
	if !ok {
		return i, n, instanceNotFound()
	}
	return i, n, nil
}

// membership finds the container instance that a node is in a cluster.
func membership(src state.Source, clusterARN, nodeID string) (state.Instance, bool) {
	for i := range state.Instances.By(src, "node", nodeID) {
		if i.ClusterARN == clusterARN {
			return state.Instances.Get(src, i.ARN)
		}
	}
	return state.Instance{}, false
}

// instance resolves a reference to a container instance of the cluster, INACTIVE or not.
func (s *Server) instance(src state.Source, c state.Cluster, ref string) (state.Instance, error) {
	arn, err := s.member(kindInstance, c.Name, ref)
	if err != nil {
		return state.Instance{}, err
	}
	i, ok := state.Instances.Get(src, arn)
	if !ok {
		return state.Instance{}, instanceNotFound()
	}
	return i, nil
}

// DeregisterContainerInstance takes a machine out of a cluster. With force, its tasks there are told to
// stop; ECS itself would leave them running without a master.
func (s *Server) DeregisterContainerInstance(ctx context.Context, in *ecs.DeregisterContainerInstanceInput) (*ecs.DeregisterContainerInstanceOutput, error) {
	out := &ecs.DeregisterContainerInstanceOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		i, err := s.instance(tx, c, deref(in.ContainerInstance))
		if err != nil {
			return err
		}
		state.Nodes.Get(tx, i.NodeID) // meet a task that is being placed here: it writes the node
		told := 0
		for t := range state.Tasks.By(tx, "unstopped on instance", i.ARN) {
			if !deref(in.Force) {
				return invalid("Found running tasks on the instance.")
			}
			if t.Desired == lifecycle.Stopped {
				continue
			}
			if told++; told > maxForced {
				break // control stops all that it finds on an INACTIVE container instance
			}
			t.Desired = lifecycle.Stopped
			t.StoppingAt = wire.Now(ctx)
			t.StopCode = types.TaskStopCodeUserInitiated
			t.StoppedReason = "Container instance deregistration forced by user"
			t.Version++
			state.Tasks.Put(tx, t)
		}
		if i.Status != statusInactive {
			i.Status, i.DeregisteredAt = statusInactive, wire.Now(ctx)
			i.Version++
			state.Instances.Put(tx, i)
		}
		out.ContainerInstance = ptr(describeInstance(tx, i, nil))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeContainerInstances describes the container instances named, INACTIVE ones too.
func (s *Server) DescribeContainerInstances(ctx context.Context, in *ecs.DescribeContainerInstancesInput) (*ecs.DescribeContainerInstancesOutput, error) {
	if err := atMost(maxPage, len(in.ContainerInstances), "Container instances"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeContainerInstancesOutput{ContainerInstances: []types.ContainerInstance{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		for _, ref := range in.ContainerInstances {
			arn, err := s.member(kindInstance, c.Name, ref)
			if err != nil {
				return err
			}
			i, ok := state.Instances.Get(r, arn)
			if !ok {
				out.Failures = append(out.Failures, missing(arn))
				continue
			}
			out.ContainerInstances = append(out.ContainerInstances, describeInstance(r, i, in.Include))
		}
		return nil
	})
}

// ListContainerInstances lists the container instances of a cluster that are ACTIVE or DRAINING, or have
// the status asked for, and for which the filter holds.
func (s *Server) ListContainerInstances(ctx context.Context, in *ecs.ListContainerInstancesInput) (*ecs.ListContainerInstancesOutput, error) {
	filter, err := schedule.ParseQuery(deref(in.Filter))
	if deref(in.Filter) == "" {
		filter, err = schedule.Query{}, nil
	}
	if err != nil {
		return nil, invalid("Invalid filter: %v", err)
	}
	out := &ecs.ListContainerInstancesOutput{}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		var arns []string
		for i := range state.Instances.By(r, "cluster", c.ARN) {
			if i.Status == statusInactive || in.Status != "" && i.Status != string(in.Status) {
				continue
			}
			if in.Filter != nil {
				n, _ := state.Nodes.Get(r, i.NodeID)
				if described := placement.Describe(r, i, n); !filter.Match(&described) {
					continue
				}
			}
			arns = append(arns, i.ARN)
		}
		arns, out.NextToken, err = page(arns, self, pageRequest{Max: in.MaxResults, Token: in.NextToken,
			Query: c.ARN + "|" + string(in.Status) + "|" + deref(in.Filter)})
		out.ContainerInstanceArns = listed(arns)
		return err
	})
}

// UpdateContainerInstancesState makes container instances ACTIVE, or DRAINING: then they get no new tasks.
func (s *Server) UpdateContainerInstancesState(ctx context.Context, in *ecs.UpdateContainerInstancesStateInput) (*ecs.UpdateContainerInstancesStateOutput, error) {
	if err := atMost(maxStateChanges, len(in.ContainerInstances), "instanceIds"); err != nil {
		return nil, err
	}
	if in.Status != types.ContainerInstanceStatusActive && in.Status != types.ContainerInstanceStatusDraining {
		return nil, invalid("Container instance status should be one of [ACTIVE,DRAINING]")
	}
	out := &ecs.UpdateContainerInstancesStateOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		out.ContainerInstances, out.Failures = []types.ContainerInstance{}, []types.Failure{}
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		for _, ref := range in.ContainerInstances {
			arn, err := s.member(kindInstance, c.Name, ref)
			if err != nil {
				return err
			}
			i, ok := state.Instances.Get(tx, arn)
			switch {
			case !ok:
				out.Failures = append(out.Failures, missing(arn))
				continue
			case i.Status == statusInactive:
				out.Failures = append(out.Failures, inactive(arn))
				continue
			case i.Status != string(in.Status):
				i.Status = string(in.Status)
				i.Version++
				state.Instances.Put(tx, i)
			}
			out.ContainerInstances = append(out.ContainerInstances, describeInstance(tx, i, nil))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateContainerAgent has nothing to offer: a node's agent is updated with the node's software.
func (s *Server) UpdateContainerAgent(ctx context.Context, in *ecs.UpdateContainerAgentInput) (*ecs.UpdateContainerAgentOutput, error) {
	return nil, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		i, err := s.instance(r, c, deref(in.ContainerInstance))
		if err != nil {
			return err
		}
		if n, _ := state.Nodes.Get(r, i.NodeID); n.AgentVersion == "" {
			return &types.MissingVersionException{Message: ptr("The agent version of the container instance is not known.")}
		}
		return &types.NoUpdateAvailableException{Message: ptr("There is no update available for your container agent.")}
	})
}

// DiscoverPollEndpoint tells an agent where to connect for its assignments and for its telemetry.
func (s *Server) DiscoverPollEndpoint(ctx context.Context, in *ecs.DiscoverPollEndpointInput) (*ecs.DiscoverPollEndpointOutput, error) {
	if s.PollEndpoint == nil {
		return nil, unsupported("This endpoint takes no container instances.")
	}
	base := s.PollEndpoint(ctx)
	return &ecs.DiscoverPollEndpointOutput{Endpoint: ptr(base + "/acs"), TelemetryEndpoint: ptr(base + "/tcs")}, nil
}

// identity is what we read of an EC2 instance identity document. Havn cannot check its signature and
// trusts the agent's credentials instead.
type identity struct {
	InstanceID       string `json:"instanceId"`
	InstanceType     string `json:"instanceType"`
	ImageID          string `json:"imageId"`
	AvailabilityZone string `json:"availabilityZone"`
}

func parseIdentity(document *string) (identity, error) {
	var id identity
	if deref(document) == "" {
		return id, nil
	}
	if err := json.Unmarshal([]byte(*document), &id); err != nil {
		return id, clientError("Invalid instance identity document.")
	}
	return id, nil
}

// madeInstanceID is an EC2 instance ID for a machine that has none. It is always the same one.
func madeInstanceID(node string) string {
	sum := sha256.Sum256([]byte("ec2 instance of " + node))
	return "i-" + hex.EncodeToString(sum[:])[:17]
}

// totalResources reads what an agent says that its machine has.
func totalResources(in *ecs.RegisterContainerInstanceInput) (state.Resources, error) {
	var total state.Resources
	for _, r := range in.TotalResources {
		var err error
		switch deref(r.Name) {
		case "CPU":
			total.CPU = int64(r.IntegerValue)
		case "MEMORY":
			total.Memory = int64(r.IntegerValue)
		case "PORTS":
			total.TCPPorts, err = parsePorts(r.StringSetValue)
		case "PORTS_UDP":
			total.UDPPorts, err = parsePorts(r.StringSetValue)
		}
		if err != nil {
			return total, err
		}
	}
	if total.CPU < 0 || total.Memory < 0 {
		return total, invalid("A resource cannot be negative.")
	}
	for _, d := range in.PlatformDevices {
		if d.Type == types.PlatformDeviceTypeGpu {
			total.GPUs = append(total.GPUs, deref(d.Id))
		}
	}
	return total, nil
}

func parsePorts(list []string) ([]uint16, error) {
	ports := make([]uint16, 0, len(list))
	for _, text := range list {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, invalid("Invalid port in resource: %s", quoted(text))
		}
		ports = append(ports, uint16(port))
	}
	return ports, nil
}
