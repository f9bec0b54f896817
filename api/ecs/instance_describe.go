package ecs

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// describeInstance is the container instance as ECS prints it.
func describeInstance(src state.Source, i state.Instance, include []types.ContainerInstanceField) types.ContainerInstance {
	n, _ := state.Nodes.Get(src, i.NodeID)
	running, pending := countTasks(src, i.ARN)
	d := types.ContainerInstance{
		AgentConnected:       n.Connected && i.Status != statusInactive,
		Attachments:          []types.Attachment{},
		Attributes:           instanceAttributes(i, n),
		CapacityProviderName: present(placement.ProviderOf(i, n)),
		ContainerInstanceArn: ptr(i.ARN),
		Ec2InstanceId:        present(n.EC2InstanceID),
		PendingTasksCount:    pending,
		RunningTasksCount:    running,
		RegisteredAt:         ptr(i.RegisteredAt),
		RegisteredResources:  describeResources(n.Total),
		RemainingResources:   describeResources(n.Remaining),
		Status:               ptr(i.Status),
		Tags:                 []types.Tag{},
		Version:              i.Version,
		VersionInfo: &types.VersionInfo{
			AgentVersion:  present(n.AgentVersion),
			AgentHash:     present(n.AgentHash),
			DockerVersion: present(n.DockerVersion),
		},
	}
	if slices.Contains(include, types.ContainerInstanceFieldTags) {
		d.Tags = listed(i.Tags)
	}
	if slices.Contains(include, types.ContainerInstanceFieldContainerInstanceHealth) {
		d.HealthStatus = describeCondition(n.Condition)
	}
	return d
}

// describeCondition is what the agent says of the machine, as ECS prints it. ECS has no member for the reason.
func describeCondition(c state.Condition) *types.ContainerInstanceHealthStatus {
	if c.Status == "" {
		c.Status = types.InstanceHealthCheckStateInsufficientData
	}
	return &types.ContainerInstanceHealthStatus{
		OverallStatus: c.Status,
		Details: []types.InstanceHealthCheckResult{{
			Type: types.InstanceHealthCheckTypeContainerRuntime, Status: c.Status,
			LastStatusChange: present(c.Since), LastUpdated: present(c.Updated),
		}},
	}
}

func countTasks(src state.Source, instanceARN string) (running, pending int32) {
	for t := range state.Tasks.By(src, "unstopped on instance", instanceARN) {
		switch {
		case t.Last == lifecycle.Running:
			running++
		case t.Last.Before(lifecycle.Running):
			pending++
		}
	}
	return running, pending
}

// describeResources writes resources in ECS's four or five lines.
func describeResources(r state.Resources) []types.Resource {
	number := func(name string, v int64) types.Resource {
		return types.Resource{Name: ptr(name), Type: ptr("INTEGER"), IntegerValue: int32(v)}
	}
	set := func(name string, v []string) types.Resource {
		return types.Resource{Name: ptr(name), Type: ptr("STRINGSET"), StringSetValue: listed(v)}
	}
	list := []types.Resource{
		number("CPU", r.CPU),
		number("MEMORY", r.Memory),
		set("PORTS", portTexts(r.TCPPorts)),
		set("PORTS_UDP", portTexts(r.UDPPorts)),
	}
	if len(r.GPUs) > 0 {
		list = append(list, set("GPU", r.GPUs))
	}
	return list
}

func portTexts(ports []uint16) []string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = strconv.Itoa(int(p))
	}
	return texts
}
