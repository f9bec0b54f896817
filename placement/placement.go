// Package placement gives tasks their place: it asks schedule where, and writes the answer down in the
// transaction that makes the tasks. RunTask, StartTask and the controllers of services all come through
// here, so there is one place where a node's resources are taken and one where they are given back.
//
// The race that matters is designed into the records: what is left of a node stands on the node's record,
// which every placement on that node reads by key and writes. Two placements that would share the last of
// it conflict, and one of them is decided again on what the other left.
//
// A node that serves every cluster is a container instance of each: see JoinCluster.
package placement

import (
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/schedule"
	"havn/state"
)

// Ask is one task that wants a place. Its Reserved says what it takes.
type Ask struct {
	Task        state.Task
	GPUs        int // how many; which ones is the answer's to say
	Requires    []types.Attribute
	Constraints []schedule.Constraint
	Strategies  []schedule.Strategy
}

// NoInstances is the refusal of a cluster that has nowhere to place a task, as ECS words it.
const NoInstances = "No Container Instances were found in your cluster."

// Refusal is why a task got no place, as RunTask's failures say it: one for each container instance, or
// NoInstances without an ARN where there is none. Detail says of all of them together what stood against it.
type Refusal struct {
	InstanceARN string
	Reason      string
	Detail      string
}

// Place finds a container instance of the cluster for each ask and writes the tasks that got one, in the
// order of the asks. If several asks are refused for the same reasons, these are told once.
func Place(tx *state.Tx, clusterARN string, seed uint64, asks []Ask) (placed []state.Task, refusals []Refusal) {
	wanted := wants(seed, asks)
	d := prepared.Of(tx).place(tx, clusterARN, wanted)
	if !d.known(tx) { // it was decided on what the transaction does not see yet
		d = decide(schedule.NewCluster(describeAll(tx, clusterARN)), wanted)
	}
	return write(tx, asks, wanted, d)
}

// PlaceOn puts each ask's task on the one container instance that the caller chose, if it fits there.
func PlaceOn(tx *state.Tx, i state.Instance, asks []Ask) (placed []state.Task, refusals []Refusal) {
	nodes := schedule.NewCluster(nil)
	if n, ok := look(tx, i.ARN); ok {
		nodes.Set(n)
	}
	wanted := wants(0, asks)
	return write(tx, asks, wanted, decide(nodes, wanted))
}

// Release gives what a task holds back to its node, and returns the task without it. It is called in the
// transaction that makes the task STOPPED.
func Release(tx *state.Tx, t state.Task) state.Task {
	held := t.Reserved
	t.Reserved = state.Resources{}
	n, ok := state.Nodes.Get(tx, t.NodeID)
	if !ok {
		return t
	}
	n.Remaining = add(n.Remaining, held, n.Total)
	state.Nodes.Put(tx, n)
	return t
}

// wants are the asks as schedule knows them.
func wants(seed uint64, asks []Ask) []schedule.Ask {
	wanted := make([]schedule.Ask, len(asks))
	for n, a := range asks {
		wanted[n] = schedule.Ask{
			ID: a.Task.ARN, Group: a.Task.Group,
			CPU: int(a.Task.Reserved.CPU), Memory: int(a.Task.Reserved.Memory), GPUs: a.GPUs,
			TCPPorts: ints(a.Task.Reserved.TCPPorts), UDPPorts: ints(a.Task.Reserved.UDPPorts),
			Requires: plain(a.Requires), Constraints: a.Constraints, Strategies: a.Strategies, Seed: seed,
		}
	}
	return wanted
}

// decision is what schedule said.
type decision struct {
	bindings []schedule.Binding
	refused  []schedule.Refusal
	refusing map[string]schedule.Node // the nodes of the refusals, before anything was placed
}

func decide(nodes *schedule.Cluster, wanted []schedule.Ask) (d decision) {
	d.bindings, d.refused = nodes.Place(wanted)
	for _, r := range d.refused {
		for _, no := range r.Nodes {
			if d.refusing == nil {
				d.refusing = make(map[string]schedule.Node, len(r.Nodes))
			}
			if _, known := d.refusing[no.Node]; !known {
				d.refusing[no.Node], _ = nodes.Node(no.Node)
			}
		}
	}
	return d
}

// known reports whether the transaction sees the container instances and nodes that were chosen.
func (d decision) known(tx *state.Tx) bool {
	for _, b := range d.bindings {
		i, _ := state.Instances.Peek(tx, b.Node)
		if _, ok := state.Nodes.Peek(tx, i.NodeID); !ok {
			return false
		}
	}
	return true
}

// write gets the records that were chosen: whatever else changes them meanwhile, a placement, an agent that goes, a
// drain, makes the transaction run again. All others were looked at unguarded, so that placements on different nodes do
// not meet.
func write(tx *state.Tx, asks []Ask, wanted []schedule.Ask, d decision) (placed []state.Task, refusals []Refusal) {
	drafts := make(map[string]state.Task, len(asks))
	for _, a := range asks {
		drafts[a.Task.ARN] = a.Task
	}
	for _, b := range d.bindings {
		i, _ := state.Instances.Get(tx, b.Node)
		t := drafts[b.Ask]
		t.InstanceARN, t.NodeID = i.ARN, i.NodeID
		t.Reserved.GPUs = b.GPUs
		n, _ := state.Nodes.Get(tx, i.NodeID)
		n.Remaining = subtract(n.Remaining, t.Reserved)
		state.Nodes.Put(tx, n)
		state.Tasks.Put(tx, t)
		placed = append(placed, t)
		if _, ok := d.refusing[b.Node]; ok {
			d.refusing[b.Node], _ = look(tx, b.Node)
		}
	}
	return placed, explain(tx, wanted, d)
}

// Describe is a container instance as schedule, and the cluster query language, see it.
func Describe(src state.Source, i state.Instance, n state.Node) schedule.Node {
	described := schedule.Node{
		ID: i.ARN, Status: i.Status, Connected: n.Connected, Impaired: n.Condition.Impaired(),
		AgentVersion: n.AgentVersion, EC2InstanceID: n.EC2InstanceID, RegisteredAt: i.RegisteredAt,
		Attributes: map[string]string{},
		CPU:        int(n.Remaining.CPU), Memory: int(n.Remaining.Memory),
		GPUs:     n.Remaining.GPUs,
		TCPPorts: ints(n.Remaining.TCPPorts), UDPPorts: ints(n.Remaining.UDPPorts),
		Groups: map[string]int{},
	}
	for _, attributes := range [][]types.Attribute{n.Attributes, i.Attributes} {
		for _, a := range plain(attributes) {
			described.Attributes[a.Name] = a.Value
		}
	}
	for t := range state.Tasks.By(src, "unstopped on instance", i.ARN) {
		if t.Last == lifecycle.Running {
			described.Running++
		}
		if t.Desired != lifecycle.Stopped {
			described.Groups[t.Group]++
		}
	}
	return described
}

// plain writes attributes without pointers. A value that is left out is empty.
func plain(attributes []types.Attribute) []schedule.Attribute {
	var all []schedule.Attribute
	for _, a := range attributes {
		one := schedule.Attribute{Name: *a.Name}
		if a.Value != nil {
			one.Value = *a.Value
		}
		all = append(all, one)
	}
	return all
}

func ints(ports []uint16) []int {
	all := make([]int, len(ports))
	for n, p := range ports {
		all[n] = int(p)
	}
	return all
}
