package schedule

import "slices"

// filter keeps, for asks that want the same of a node, what each node says to
// them. It is apart from index because asks that are drawn with a new seed
// need a new order each time, but the same nodes fit.
type filter struct {
	ask     Ask
	seen    int      // how many of the cluster's changes it has taken in
	reasons []Reason // by slot; of no meaning for a free slot
}

func newFilter(c *Cluster, a *Ask) *filter {
	f := &filter{ask: *a}
	f.ask.TCPPorts = slices.Clone(a.TCPPorts)
	f.ask.UDPPorts = slices.Clone(a.UDPPorts)
	f.ask.Requires = slices.Clone(a.Requires)
	f.ask.Constraints = slices.Clone(a.Constraints)
	f.build(c)
	return f
}

func (f *filter) build(c *Cluster) {
	f.reasons = make([]Reason, len(c.nodes))
	for slot := range c.nodes {
		f.reasons[slot] = Check(&c.nodes[slot], &f.ask)
	}
	f.seen = c.now()
}

func (f *filter) catchUp(c *Cluster) {
	changes, ok := c.since(f.seen)
	if !ok {
		f.build(c)
		return
	}
	f.reasons = append(f.reasons, make([]Reason, len(c.nodes)-len(f.reasons))...)
	for _, slot := range changes {
		f.reasons[slot] = Check(&c.nodes[slot], &f.ask)
	}
	f.seen = c.now()
}

// serves says whether one filter can serve both asks.
func (f *filter) serves(a *Ask) bool {
	return f.ask.Group == a.Group && f.ask.CPU == a.CPU && f.ask.Memory == a.Memory && f.ask.GPUs == a.GPUs &&
		slices.Equal(f.ask.TCPPorts, a.TCPPorts) && slices.Equal(f.ask.UDPPorts, a.UDPPorts) &&
		slices.Equal(f.ask.Requires, a.Requires) &&
		slices.EqualFunc(f.ask.Constraints, a.Constraints, func(a, b Constraint) bool {
			return a.Type == b.Type && a.Query.text == b.Query.text
		})
}
