package schedule

import "slices"

// Reason is why a node does not take an ask. The checks are made in the order
// of the constants, and the first that says no is the reason.
type Reason uint8

const (
	Fits Reason = iota
	AgentDisconnected
	AgentImpaired
	Inactive
	MissingAttribute
	ShortOfCPU
	ShortOfMemory
	ShortOfGPU
	PortInUse
	NotMember   // a memberOf constraint
	NotDistinct // a distinctInstance constraint
)

var reasonWords = [...]string{
	Fits:              "",
	AgentDisconnected: "AGENT",
	AgentImpaired:     "AGENT",
	Inactive:          "INACTIVE",
	MissingAttribute:  "ATTRIBUTE",
	ShortOfCPU:        "RESOURCE:CPU",
	ShortOfMemory:     "RESOURCE:MEMORY",
	ShortOfGPU:        "RESOURCE:GPU",
	PortInUse:         "RESOURCE:PORTS",
	NotMember:         "MemberOf placement constraint unsatisfied.",
	NotDistinct:       "DistinctInstance placement constraint unsatisfied.",
}

// String is the reason as ECS words it in the failures of RunTask.
func (r Reason) String() string { return reasonWords[r] }

// Check says whether the ask fits on the node, or else what is the first thing
// that stands against it.
func Check(n *Node, a *Ask) Reason {
	switch {
	case !n.Connected:
		return AgentDisconnected
	case n.Impaired:
		return AgentImpaired
	case n.Status != StatusActive:
		return Inactive
	}
	for _, want := range a.Requires {
		if got, ok := n.Attributes[want.Name]; !ok || want.Value != "" && want.Value != got {
			return MissingAttribute
		}
	}
	// An ask for nothing fits where nothing is left, or less than nothing.
	switch {
	case a.CPU > max(n.CPU, 0):
		return ShortOfCPU
	case a.Memory > max(n.Memory, 0):
		return ShortOfMemory
	case a.GPUs > len(n.GPUs):
		return ShortOfGPU
	case overlap(a.TCPPorts, n.TCPPorts), overlap(a.UDPPorts, n.UDPPorts):
		return PortInUse
	}
	distinct := false
	for i := range a.Constraints {
		switch c := &a.Constraints[i]; c.Type {
		case MemberOf:
			if !c.Query.Match(n) {
				return NotMember
			}
		case DistinctInstance:
			distinct = true
		}
	}
	if distinct && n.Groups[a.Group] > 0 {
		return NotDistinct
	}
	return Fits
}

func overlap(want, used []int) bool {
	for _, p := range want {
		if slices.Contains(used, p) {
			return true
		}
	}
	return false
}

// Refusal is a no: no node takes the ask, each for its own reason.
type Refusal struct {
	Ask   string
	Nodes []NodeRefusal // by node ID; empty when there are no nodes. Shared between refusals: only to be read.
}

// NodeRefusal is the no of one node.
type NodeRefusal struct {
	Node   string
	Reason Reason
}
