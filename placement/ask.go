package placement

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
)

// NewAsk is one more copy of a task definition that wants a place. task says who asks and for what: its cluster,
// group, overrides, tags, time; what every task begins with is filled in here.
func NewAsk(tx *state.Tx, d state.TaskDefinition, task state.Task) Ask {
	id := tx.NewID()
	overridden := state.Overridden(d.Spec, task.Overrides)
	task.ARN = memberARN(task.ClusterARN, "task", id)
	task.DefinitionARN = d.ARN
	task.Desired, task.Last = lifecycle.Running, lifecycle.Pending
	task.Version = 1
	task.Reserved = Size(overridden)
	task.Reserved.TCPPorts, task.Reserved.UDPPorts = fixedPorts(d.Spec)
	gpus := 0
	for _, c := range overridden.ContainerDefinitions {
		gpus += state.GPUsWanted(c)
	}
	for _, c := range d.Spec.ContainerDefinitions {
		task.Containers = append(task.Containers, state.Container{
			ARN:   memberARN(task.ClusterARN, "container", id+"/"+tx.NewID()),
			Name:  aws.ToString(c.Name),
			Image: aws.ToString(c.Image),
			Last:  lifecycle.Pending,
		})
	}
	return Ask{Task: task, GPUs: gpus, Requires: d.Spec.RequiresAttributes}
}

// memberARN names what lives in a cluster.
func memberARN(clusterARN, kind, id string) string {
	return strings.Replace(clusterARN, ":cluster/", ":"+kind+"/", 1) + "/" + id
}

// Size is the CPU and memory that a task of a definition, overrides applied, takes of its node: what it says
// for the whole task, else the sum over its containers, each with its reservation where it has one, else its
// limit. Developer Guide, "Task definition parameters", memoryReservation.
func Size(spec types.TaskDefinition) state.Resources {
	var sum state.Resources
	for _, c := range spec.ContainerDefinitions {
		sum.CPU += int64(c.Cpu)
		if reservation := aws.ToInt32(c.MemoryReservation); reservation > 0 {
			sum.Memory += int64(reservation)
		} else {
			sum.Memory += int64(aws.ToInt32(c.Memory))
		}
	}
	if cpu := amount(spec.Cpu); cpu > 0 {
		sum.CPU = cpu
	}
	if memory := amount(spec.Memory); memory > 0 {
		sum.Memory = memory
	}
	return sum
}

// amount is a normalised cpu or memory of a task, or zero.
func amount(text *string) int64 {
	n, _ := strconv.ParseInt(aws.ToString(text), 10, 64) //nolint:errcheck // normalised, or absent
	return n
}

// fixedPorts are the host ports that a task must have: those that it names in bridge mode, and all in host
// mode, where a container's port is the host's.
func fixedPorts(spec types.TaskDefinition) (tcp, udp []uint16) {
	for _, c := range spec.ContainerDefinitions {
		for _, p := range c.PortMappings {
			port := aws.ToInt32(p.HostPort)
			if spec.NetworkMode == types.NetworkModeHost {
				port = aws.ToInt32(p.ContainerPort)
			}
			switch {
			case port == 0:
			case p.Protocol == types.TransportProtocolUdp:
				udp = append(udp, uint16(port))
			default:
				tcp = append(tcp, uint16(port))
			}
		}
	}
	slices.Sort(tcp)
	slices.Sort(udp)
	return slices.Compact(tcp), slices.Compact(udp)
}
