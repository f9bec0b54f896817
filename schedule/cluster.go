package schedule

import (
	"cmp"
	"slices"
)

// maxIndexes is how many indexes and filters a Cluster keeps between calls:
// about 100 bytes a node each, 16 MB in all at 5,000 nodes.
const maxIndexes = 32

// Cluster is nodes prepared for many small calls. It remembers, for each kind
// of ask that it has seen lately, which nodes fit and in which order, and
// brings that up to date by the nodes that changed since, instead of by
// looking at all of them. What it answers depends on its nodes and the asks
// alone, never on what it was asked before.
//
// A Cluster belongs to one goroutine at a time.
type Cluster struct {
	nodes  []Node // by slot; a free slot has no ID
	hashes []uint64
	placed []int32 // by slot: how many asks the present call has put there
	slots  map[string]int32
	free   []int32
	order  []int32 // slots by node ID; nil when a node came or went

	changes   []int32 // the slots that changed, oldest first
	forgotten int     // how many changes are no longer listed

	// What was used last is last.
	filters []*filter
	indexes []*index
	drawn   []*index // of asks with the strategy random; kept within a call only
}

// NewCluster prepares nodes. Their IDs are unique; their order does not matter.
func NewCluster(nodes []Node) *Cluster {
	c := &Cluster{
		nodes:  make([]Node, 0, len(nodes)),
		hashes: make([]uint64, 0, len(nodes)),
		placed: make([]int32, 0, len(nodes)),
		slots:  make(map[string]int32, len(nodes)),
	}
	for i := range nodes {
		c.Set(nodes[i])
	}
	return c
}

// Set adds the node, or puts it in the place of the one with its ID. The
// Cluster keeps the node's maps and slices: they must not change any more.
func (c *Cluster) Set(n Node) {
	slot, ok := c.slots[n.ID]
	switch last := len(c.free) - 1; {
	case ok:
	case last >= 0:
		slot = c.free[last]
		c.free = c.free[:last]
	default:
		slot = int32(len(c.nodes))
		c.nodes = append(c.nodes, Node{})
		c.hashes = append(c.hashes, 0)
		c.placed = append(c.placed, 0)
	}
	if !ok {
		c.slots[n.ID] = slot
		c.hashes[slot] = hash(n.ID)
		c.order = nil
	}
	c.change(slot, n)
}

// Node is the node with this ID, as it was last set; false if there is none.
func (c *Cluster) Node(id string) (Node, bool) {
	slot, ok := c.slots[id]
	if !ok {
		return Node{}, false
	}
	return c.nodes[slot], true
}

// Len is how many nodes there are.
func (c *Cluster) Len() int { return len(c.slots) }

// Remove forgets the node with this ID, if there is one.
func (c *Cluster) Remove(id string) {
	slot, ok := c.slots[id]
	if !ok {
		return
	}
	delete(c.slots, id)
	c.free = append(c.free, slot)
	c.order = nil
	c.change(slot, Node{})
}

func (c *Cluster) change(slot int32, n Node) {
	c.nodes[slot] = n
	if len(c.changes) > 4*len(c.nodes)+1024 { // who has not looked for so long starts over
		half := len(c.changes) / 2
		c.changes = append(c.changes[:0], c.changes[half:]...)
		c.forgotten += half
	}
	c.changes = append(c.changes, slot)
}

// now counts the changes that there ever were.
func (c *Cluster) now() int { return c.forgotten + len(c.changes) }

// since is the slots that changed since there were so many changes; false when
// they are forgotten, or so many that looking at all nodes is less work.
func (c *Cluster) since(seen int) ([]int32, bool) {
	behind := c.now() - seen
	if behind > len(c.changes) || behind > len(c.nodes)/2+64 {
		return nil, false
	}
	return c.changes[len(c.changes)-behind:], true
}

// Place answers the asks in order, a later one seeing what an earlier one
// took. It only decides: the cluster's nodes are afterwards as they were, and
// Set tells of what was made of the decision.
func (c *Cluster) Place(asks []Ask) (bindings []Binding, refusals []Refusal) {
	type past struct {
		slot int32
		node Node
	}
	var taken []past
	for i := range asks {
		a := &asks[i]
		x := c.index(a)
		slot, ok := x.best()
		if !ok {
			refusals = append(refusals, Refusal{Ask: a.ID, Nodes: x.refusal(c)})
			continue
		}
		taken = append(taken, past{slot, c.nodes[slot]})
		n, gpus := c.nodes[slot].With(a)
		c.placed[slot]++
		c.change(slot, n)
		bindings = append(bindings, Binding{Ask: a.ID, Node: n.ID, GPUs: gpus})
	}
	c.drawn = nil
	for _, t := range slices.Backward(taken) {
		c.placed[t.slot] = 0
		c.change(t.slot, t.node)
	}
	return bindings, refusals
}

// index is the up-to-date index for asks like this one.
func (c *Cluster) index(a *Ask) *index {
	kept := &c.indexes
	if a.draws() {
		kept = &c.drawn
	}
	x, ok := latest(*kept, func(x *index) bool { return x.serves(a) })
	if ok {
		x.catchUp(c)
		return x
	}
	f, ok := latest(c.filters, func(f *filter) bool { return f.serves(a) })
	if ok {
		f.catchUp(c)
	} else {
		f = newFilter(c, a)
		c.filters = keep(c.filters, f)
	}
	x = newIndex(c, f, a)
	*kept = keep(*kept, x)
	return x
}

// latest finds what was used last among those that serve, and notes its use.
func latest[T any](kept []T, serves func(T) bool) (found T, ok bool) {
	for i, item := range slices.Backward(kept) {
		if serves(item) {
			copy(kept[i:], kept[i+1:])
			kept[len(kept)-1] = item
			return item, true
		}
	}
	return found, false
}

// keep adds an item, in the place of the one that was not used for longest.
func keep[T any](kept []T, item T) []T {
	if len(kept) == maxIndexes {
		kept = slices.Delete(kept, 0, 1)
	}
	return append(kept, item)
}

// byID is the slots in use, by node ID.
func (c *Cluster) byID() []int32 {
	if c.order == nil {
		c.order = make([]int32, 0, len(c.slots))
		for _, slot := range c.slots {
			c.order = append(c.order, slot)
		}
		slices.SortFunc(c.order, func(a, b int32) int { return cmp.Compare(c.nodes[a].ID, c.nodes[b].ID) })
	}
	return c.order
}

func (a *Ask) draws() bool {
	return slices.ContainsFunc(a.Strategies, func(s Strategy) bool { return s.Type == Random })
}
