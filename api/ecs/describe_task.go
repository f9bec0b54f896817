package ecs

import (
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// describeTask is the task as ECS prints it. Lists that ECS always prints are never left out, or
// configuration tools would see drift.
func describeTask(src state.Source, t state.Task, include []types.TaskField) types.Task {
	d, _ := state.TaskDefinitions.Get(src, t.DefinitionARN) // still there as long as the task is described
	n, _ := state.Nodes.Peek(src, t.NodeID)
	spec := state.Overridden(d.Spec, t.Overrides)
	size := placement.Size(spec)
	connectivity, connectivityAt := connectivity(t, n)
	out := types.Task{
		Attachments:          []types.Attachment{},
		Attributes:           cpuArchitecture(n),
		AvailabilityZone:     present(attributeValue(n.Attributes, attributeZone)),
		CapacityProviderName: present(t.CapacityProvider),
		ClusterArn:           ptr(t.ClusterARN),
		Connectivity:         connectivity,
		ConnectivityAt:       known(connectivityAt),
		ContainerInstanceArn: present(t.InstanceARN),
		Containers:           []types.Container{},
		Cpu:                  ptr(strconv.FormatInt(size.CPU, 10)),
		CreatedAt:            known(t.CreatedAt),
		DesiredStatus:        ptr(string(t.Desired)),
		ExecutionStoppedAt:   known(t.ExecutionStoppedAt),
		Group:                ptr(t.Group),
		HealthStatus:         taskHealth(t, spec),
		LastStatus:           ptr(string(t.Shown())),
		LaunchType:           t.LaunchType,
		Memory:               ptr(strconv.FormatInt(size.Memory, 10)),
		Overrides:            describeOverrides(t.Overrides, d.Spec),
		PullStartedAt:        known(t.PullStartedAt),
		PullStoppedAt:        known(t.PullStoppedAt),
		StartedAt:            known(t.StartedAt),
		StartedBy:            present(t.StartedBy),
		StopCode:             t.StopCode,
		StoppedAt:            known(t.StoppedAt),
		StoppedReason:        present(t.StoppedReason),
		StoppingAt:           known(t.StoppingAt),
		Tags:                 []types.Tag{},
		TaskArn:              ptr(t.ARN),
		TaskDefinitionArn:    ptr(t.DefinitionARN),
		Version:              t.Version,
	}
	if slices.Contains(include, types.TaskFieldTags) {
		out.Tags = listed(t.Tags)
	}
	for _, c := range t.Containers {
		described := describeContainer(t, c, containerNamed(&spec, c.Name))
		described.GpuIds = state.GPUsOf(spec, t.Reserved.GPUs, c.Name)
		out.Containers = append(out.Containers, described)
	}
	return out
}

func describeContainer(t state.Task, c state.Container, spec *types.ContainerDefinition) types.Container {
	out := types.Container{
		ContainerArn:      ptr(c.ARN),
		ExitCode:          c.ExitCode,
		HealthStatus:      containerHealth(t, spec),
		Image:             ptr(c.Image),
		ImageDigest:       present(c.ImageDigest),
		LastStatus:        ptr(string(c.Last)),
		Name:              ptr(c.Name),
		NetworkBindings:   []types.NetworkBinding{},
		NetworkInterfaces: []types.NetworkInterface{},
		Reason:            present(c.Reason),
		RuntimeId:         present(c.RuntimeID),
		TaskArn:           ptr(t.ARN),
	}
	if spec != nil {
		out.Cpu = ptr(strconv.Itoa(int(spec.Cpu)))
		out.Memory = presentNumber(spec.Memory)
		out.MemoryReservation = presentNumber(spec.MemoryReservation)
	}
	for _, b := range c.Bindings {
		binding := types.NetworkBinding{BindIP: present(b.BindIP), Protocol: types.TransportProtocol(b.Protocol)}
		if b.ContainerPortRange != "" {
			binding.ContainerPortRange, binding.HostPortRange = ptr(b.ContainerPortRange), ptr(b.HostPortRange)
		} else {
			binding.ContainerPort, binding.HostPort = ptr(int32(b.ContainerPort)), ptr(int32(b.HostPort))
		}
		out.NetworkBindings = append(out.NetworkBindings, binding)
	}
	return out
}

func presentNumber(v *int32) *string {
	if deref(v) == 0 {
		return nil
	}
	return ptr(strconv.Itoa(int(*v)))
}

// describeOverrides names every container, overridden or not, as ECS does.
func describeOverrides(o types.TaskOverride, spec types.TaskDefinition) *types.TaskOverride {
	o.ContainerOverrides = slices.Clone(o.ContainerOverrides)
	for _, c := range spec.ContainerDefinitions {
		if !slices.ContainsFunc(o.ContainerOverrides, func(co types.ContainerOverride) bool { return deref(co.Name) == deref(c.Name) }) {
			o.ContainerOverrides = append(o.ContainerOverrides, types.ContainerOverride{Name: c.Name})
		}
	}
	o.ContainerOverrides = listed(o.ContainerOverrides)
	o.InferenceAcceleratorOverrides = listed(o.InferenceAcceleratorOverrides)
	return &o
}

// connectivity is that of the task's node, from the first time that the node spoke of the task until the
// task has stopped; and when it last became CONNECTED.
func connectivity(t state.Task, n state.Node) (types.Connectivity, time.Time) {
	over := t.Last == lifecycle.Stopped
	switch {
	case t.ConnectedAt.IsZero():
		return "", time.Time{}
	case n.Connected && n.ConnectedAt.After(t.ConnectedAt) && !(over && n.ConnectedAt.After(t.StoppedAt)):
		return types.ConnectivityConnected, n.ConnectedAt
	case n.Connected || over:
		return types.ConnectivityConnected, t.ConnectedAt
	}
	return types.ConnectivityDisconnected, t.ConnectedAt
}

// attributeCPUArchitecture is the one attribute of its node that a task is described with.
const attributeCPUArchitecture = "ecs.cpu-architecture"

func cpuArchitecture(n state.Node) []types.Attribute {
	if v := attributeValue(n.Attributes, attributeCPUArchitecture); v != "" {
		return []types.Attribute{{Name: ptr(attributeCPUArchitecture), Value: ptr(v)}}
	}
	return []types.Attribute{}
}
