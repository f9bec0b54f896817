package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// rebalance moves tasks between availability zones, when the service has come to rest: one is started in the zone that
// has fewest, and when it is healthy, scaling in takes one from the zone that has most. Each look moves one.
// Developer Guide, "Balancing an Amazon ECS service across Availability Zones".
func (f *fleet) rebalance() {
	d := &f.plan.Deployment
	idle := len(f.plan.Start)+len(f.plan.Stop)+len(f.pending)+len(f.sick)+len(f.old)+f.leaving == 0
	if !f.Service.Rebalance || d.Open() || d.Status == Halted {
		d.Moving = false
		return
	}
	zones, counts := f.zones()
	free := slices.DeleteFunc(slices.Clone(zones), func(z string) bool { return !f.open(z) })
	if len(free) == 0 || !idle || len(f.fit) != f.want || f.throttled() {
		return
	}
	fewest := slices.MinFunc(free, func(a, b string) int { return cmp.Or(cmp.Compare(counts[a], counts[b]), strings.Compare(a, b)) })
	most := slices.MaxFunc(zones, func(a, b string) int { return cmp.Compare(counts[a], counts[b]) })
	if counts[most]-counts[fewest] < 2 || f.live >= f.upper || !f.movable(most) {
		if d.Moving && counts[most]-counts[fewest] < 2 {
			f.tell("is AZ balanced with " + inZones(zones, counts, " tasks in ") + ".")
		}
		d.Moving = false
		return
	}
	if !d.Moving {
		d.Moving = true
		f.tell("is not AZ balanced with " + inZones(zones, counts, " tasks in ") + ". AZ Rebalancing in progress.")
	}
	f.plan.Start = append(f.plan.Start, Start{Revision: d.Heading, Count: 1, Zone: fewest})
	f.live++
}

// zones are those where tasks are or can be started, and how many there are.
func (f *fleet) zones() (names []string, counts map[string]int) {
	counts = map[string]int{}
	for _, n := range f.Nodes {
		if !n.Down && !n.Full {
			counts[n.Zone] += 0
		}
	}
	for _, t := range f.fit {
		counts[t.Zone]++
	}
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, counts
}

// open reports whether a task can be started in a zone.
func (f *fleet) open(zone string) bool {
	return slices.ContainsFunc(f.Nodes, func(n Node) bool { return n.Zone == zone && !n.Down && !n.Full })
}

// movable reports whether a zone has a task that may be stopped for it.
func (f *fleet) movable(zone string) bool {
	return slices.ContainsFunc(f.fit, func(t Task) bool { return t.Zone == zone && !t.Protected })
}

func inZones(names []string, counts map[string]int, of string) string {
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprint(counts[name], of, name))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + ", and " + parts[last]
}
