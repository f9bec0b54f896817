package placement

import (
	"slices"

	"havn/schedule"
	"havn/state"
)

// Zone is the attribute that says in which availability zone a container instance is.
const Zone = "ecs.availability-zone"

// Site is a container instance that an ask could be placed on, as far as what it is goes: its status, its attributes,
// the ask's constraints.
type Site struct {
	Instance state.Instance
	Zone     string
	Down     bool // its agent is not connected, or impaired: not now
	Full     bool // it has not enough left
}

// Sites are all of a cluster, in the order of their ARNs. It looks at each, and guards none.
func Sites(src state.Source, clusterARN string, a Ask) []Site {
	ask := wants(0, []Ask{a})[0]
	nothing := ask
	nothing.CPU, nothing.Memory, nothing.GPUs, nothing.TCPPorts, nothing.UDPPorts = 0, 0, 0, nil, nil
	nothing.Constraints = slices.DeleteFunc(slices.Clone(ask.Constraints), func(c schedule.Constraint) bool {
		return c.Type == schedule.DistinctInstance // who is there now is no matter of what the instance is
	})
	var all []Site
	for i := range state.Instances.By(src, "cluster", clusterARN) {
		n, ok := state.Nodes.Peek(src, i.NodeID)
		if !ok || i.Status != "ACTIVE" {
			continue
		}
		described := Describe(src, i, n)
		s := Site{Instance: i, Zone: described.Attributes[Zone], Down: !described.Connected || described.Impaired}
		described.Connected, described.Impaired = true, false
		if schedule.Check(&described, &nothing) != schedule.Fits {
			continue
		}
		s.Full = schedule.Check(&described, &ask) != schedule.Fits
		all = append(all, s)
	}
	return all
}

// PlaceIn is Place in one availability zone.
func PlaceIn(tx *state.Tx, clusterARN, zone string, seed uint64, asks []Ask) (placed []state.Task, refusals []Refusal, err error) {
	there, err := schedule.ParseQuery("attribute:" + Zone + " == " + zone)
	if err != nil {
		return nil, nil, err
	}
	asks = slices.Clone(asks)
	for n := range asks {
		asks[n].Constraints = append(slices.Clone(asks[n].Constraints), schedule.Constraint{Type: schedule.MemberOf, Query: there})
	}
	placed, refusals = Place(tx, clusterARN, seed, asks)
	return placed, refusals, nil
}

// ZoneOf is the availability zone of a container instance; empty if it says none.
func ZoneOf(i state.Instance, n state.Node) string { return attribute(i, n, Zone) }

// DaemonCount is how many tasks a DAEMON service is to have of a revision: one on each container instance that can take
// it now.
func DaemonCount(src state.Source, s state.Service, r state.ServiceRevision) int {
	d, _ := state.TaskDefinitions.Get(src, r.DefinitionARN)
	constraints, err := Constraints(d.Spec.PlacementConstraints, s.PlacementConstraints)
	if err != nil {
		return 0 // they were checked when they were written
	}
	count := 0
	for _, site := range Sites(src, s.ClusterARN, Ask{Requires: d.Spec.RequiresAttributes, Constraints: constraints}) {
		if !site.Down {
			count++
		}
	}
	return count
}
