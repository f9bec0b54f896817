package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"havn/schedule"
	"havn/state"
)

// explain turns what schedule says of each node into ECS's failures, each once.
func explain(tx *state.Tx, asks []schedule.Ask, d decision) []Refusal {
	var told []Refusal
	type no struct{ instance, reason string }
	known := map[no]bool{}
	for _, r := range d.refused {
		if len(r.Nodes) == 0 {
			return []Refusal{{Reason: NoInstances, Detail: "the cluster has no container instance: no node has joined it"}}
		}
		detail := ""
		for _, n := range r.Nodes {
			one := no{n.Node, n.Reason.String()}
			if known[one] {
				continue
			}
			if known[one] = true; detail == "" { // the asks of one request are alike: told once, as a rule
				at := slices.IndexFunc(asks, func(a schedule.Ask) bool { return a.ID == r.Ask })
				detail = inWords(tx, asks[at], r.Nodes, d.refusing)
			}
			told = append(told, Refusal{InstanceARN: n.Node, Reason: one.reason, Detail: detail})
		}
	}
	return told
}

// inWords counts the nodes by what stands against the ask, after all that was placed in this transaction.
func inWords(tx *state.Tx, a schedule.Ask, nodes []schedule.NodeRefusal, now map[string]schedule.Node) string {
	by := map[schedule.Reason][]schedule.Node{}
	for _, n := range nodes {
		by[n.Reason] = append(by[n.Reason], now[n.Node])
	}
	var parts []string
	for reason, of := range by {
		parts = append(parts, fmt.Sprintf("%d %s", len(of), against(tx, a, reason, of)))
	}
	if len(nodes) == 1 {
		return "the container instance does not take the task: it is " + strings.TrimPrefix(parts[0], "1 ")
	}
	slices.Sort(parts) // so that the same is always worded the same
	return fmt.Sprintf("none of %d container instances takes the task: %s", len(nodes), strings.Join(parts, ", "))
}

// against says what one or several nodes have against an ask.
func against(tx *state.Tx, a schedule.Ask, reason schedule.Reason, nodes []schedule.Node) string {
	most := func(of func(schedule.Node) int) int {
		return max(0, of(slices.MaxFunc(nodes, func(x, y schedule.Node) int { return cmp.Compare(of(x), of(y)) })))
	}
	switch reason {
	case schedule.AgentDisconnected:
		return "not connected"
	case schedule.AgentImpaired:
		return "impaired (" + impairment(tx, nodes) + ")"
	case schedule.Inactive:
		return "not ACTIVE (" + nodes[0].Status + ")"
	case schedule.MissingAttribute:
		return "without the attribute " + lacking(a, nodes[0])
	case schedule.ShortOfCPU:
		return fmt.Sprintf("short of CPU (it takes %d units, at most %d are free)", a.CPU, most(func(n schedule.Node) int { return n.CPU }))
	case schedule.ShortOfMemory:
		return fmt.Sprintf("short of memory (it takes %d MiB, at most %d are free)", a.Memory, most(func(n schedule.Node) int { return n.Memory }))
	case schedule.ShortOfGPU:
		return fmt.Sprintf("short of GPUs (it takes %d, at most %d are free)", a.GPUs, most(func(n schedule.Node) int { return len(n.GPUs) }))
	case schedule.PortInUse:
		return "short of a host port (" + portTaken(tx, a, nodes[0]) + ")"
	case schedule.NotMember:
		return "ruled out by a memberOf constraint"
	case schedule.NotDistinct:
		return "taken by a task of the group " + a.Group + " (distinctInstance)"
	}
	return reason.String()
}

// impairment is what the nodes' agents say of them, each thing once.
func impairment(tx *state.Tx, nodes []schedule.Node) string {
	var said []string
	for _, n := range nodes {
		i, _ := state.Instances.Peek(tx, n.ID)
		node, _ := state.Nodes.Peek(tx, i.NodeID)
		said = append(said, cmp.Or(node.Condition.Reason, "its agent does not say why"))
	}
	slices.Sort(said)
	return strings.Join(slices.Compact(said), "; ")
}

// lacking is the first attribute that the node does not have as it is wanted.
func lacking(a schedule.Ask, n schedule.Node) string {
	for _, want := range a.Requires {
		got, ok := n.Attributes[want.Name]
		switch {
		case !ok && want.Value == "":
			return want.Name
		case !ok || want.Value != "" && want.Value != got:
			return want.Name + "=" + want.Value
		}
	}
	return ""
}

// portTaken names the first port that is taken, and by which task. The task may be another cluster's.
func portTaken(tx *state.Tx, a schedule.Ask, n schedule.Node) string {
	i, _ := state.Instances.Peek(tx, n.ID)
	for _, kind := range []struct {
		protocol    string
		want, taken []int
		of          func(state.Resources) []uint16
	}{
		{"tcp", a.TCPPorts, n.TCPPorts, func(r state.Resources) []uint16 { return r.TCPPorts }},
		{"udp", a.UDPPorts, n.UDPPorts, func(r state.Resources) []uint16 { return r.UDPPorts }},
	} {
		for _, port := range kind.want {
			if !slices.Contains(kind.taken, port) {
				continue
			}
			by := "the node itself"
			for t := range state.Tasks.By(tx, "unstopped on node", i.NodeID) {
				if slices.Contains(kind.of(t.Reserved), uint16(port)) {
					by = "task " + t.ARN[strings.LastIndexByte(t.ARN, '/')+1:]
				}
			}
			return fmt.Sprintf("%d/%s is taken by %s", port, kind.protocol, by)
		}
	}
	return ""
}

// Remember keeps that tasks of a definition found no place; it does nothing if all did. What is known of the same
// before is added to.
func Remember(tx *state.Tx, r state.Refusal, refused []Refusal) {
	if len(refused) == 0 {
		return
	}
	r.Detail, r.FirstAt, r.Times = refused[0].Detail, r.LastAt, 1
	for _, one := range refused {
		at := slices.IndexFunc(r.Reasons, func(known state.RefusalReason) bool { return known.Reason == one.Reason })
		if at < 0 {
			r.Reasons = append(r.Reasons, state.RefusalReason{Reason: one.Reason})
			at = len(r.Reasons) - 1
		}
		if one.InstanceARN != "" {
			r.Reasons[at].Instances++
		}
	}
	if before, ok := state.Refusals.Get(tx, r.ClusterARN+"|"+r.DefinitionARN); ok {
		r.FirstAt, r.Times = before.FirstAt, before.Times+1
	} else if state.Refusals.Count(tx) >= state.MaxRefusals {
		oldest := r
		for other := range state.Refusals.All(tx) {
			if other.LastAt.Before(oldest.LastAt) {
				oldest = other
			}
		}
		state.Refusals.Delete(tx, oldest.ClusterARN+"|"+oldest.DefinitionARN)
	}
	state.Refusals.Put(tx, r)
}
