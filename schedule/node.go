package schedule

import (
	"maps"
	"slices"
	"time"
)

// StatusActive is the only status of a container instance that takes tasks.
const StatusActive = "ACTIVE"

// Node is what placement knows of one container instance. A Node is a value:
// this package never changes the maps and slices that it is given.
type Node struct {
	ID        string // the container instance's ARN; unique among the nodes of a call
	Status    string // as ECS says it: ACTIVE, DRAINING, ...
	Connected bool   // whether its agent is connected
	Impaired  bool   // its agent says that it cannot take tasks

	AgentVersion  string
	EC2InstanceID string
	RegisteredAt  time.Time

	// Attributes hold ECS's own (ecs.availability-zone, ecs.os-type, ...) and
	// custom ones. An attribute may have an empty value.
	Attributes map[string]string

	CPU      int      // units left
	Memory   int      // MiB left
	GPUs     []string // the GPUs that are free
	TCPPorts []int    // host ports in use, in any order
	UDPPorts []int    // host ports in use, in any order

	Running int            // tasks that are RUNNING: runningTasksCount
	Groups  map[string]int // tasks that are placed here and not told to stop, by group
}

// With returns the node as it is once the ask has been placed on it, and the
// GPUs that the ask got. The ask must fit: Check says whether it does.
func (n Node) With(a *Ask) (Node, []string) {
	var gpus []string
	if a.GPUs > 0 {
		gpus, n.GPUs = n.GPUs[:a.GPUs:a.GPUs], n.GPUs[a.GPUs:]
	}
	n.CPU -= a.CPU
	n.Memory -= a.Memory
	if len(a.TCPPorts) > 0 {
		n.TCPPorts = slices.Concat(n.TCPPorts, a.TCPPorts)
	}
	if len(a.UDPPorts) > 0 {
		n.UDPPorts = slices.Concat(n.UDPPorts, a.UDPPorts)
	}
	groups := make(map[string]int, len(n.Groups)+1)
	maps.Copy(groups, n.Groups)
	groups[a.Group]++
	n.Groups = groups
	return n, gpus
}
