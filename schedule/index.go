package schedule

import "slices"

// index keeps the nodes in order for asks that are alike.
//
// Most rules look at one node alone, so a heap keeps nodes in order though
// they change one at a time. Spreading over an attribute does not: one more
// task in a zone makes every node of the zone worse. Therefore the nodes are
// cut into cells. The nodes of a cell agree in every attribute that is spread
// over, hence in those numbers, and only the other rules order them:
//
//	heap of cells          by the cell's buckets and its best node
//	  cell us-east-1a      heap of its nodes that fit
//	  cell us-east-1b      heap of its nodes that fit
//
// A change of a node moves it in its cell, and moves the cells that share a
// bucket with it. With one attribute that is one cell; a chain that spreads
// over several attributes with many values each pays for each cell it moves.
type index struct {
	filter     *filter
	group      string
	strategies []Strategy
	seed       uint64 // when the strategies draw
	rules      []rule
	attributes []string // of the rules fewestInBucket, in their order
	clock      *clock   // for earliestDraw, else nil
	groupHash  uint64

	seen int // how many of the cluster's changes this index has taken in

	// By slot.
	cellOf  []int32  // absent for a free slot
	counted []int    // the node's tasks of the group, as the buckets have them
	keys    []uint64 // len(rules) numbers each; 0 for fewestInBucket
	drawn   []draw   // for earliestDraw
	at      []int32  // where it stands in its cell's heap
	ids     []string // the last word when all numbers are equal

	cells   []*cell
	cellIDs map[cellID]int32
	top     heap // of cells
	buckets [MaxStrategies]bucketSet

	refused     []NodeRefusal
	refusedSeen int // what was seen when refused was made
}

// cellID is a cell's bucket in each of the attributes.
type cellID [MaxStrategies]int32

type cell struct {
	id   cellID
	fits heap
	key  []uint64 // of its best node, with the buckets filled in
}

// bucketSet is the values of one attribute.
type bucketSet struct {
	byValue map[string]int32
	buckets []bucket
}

type bucket struct {
	tasks int // of the group, on all nodes with this value
	cells []int32
}

type draw struct {
	time  float64
	taken int32 // how many waits are in time
}

// newIndex makes an index on a filter that is up to date.
func newIndex(c *Cluster, f *filter, a *Ask) *index {
	x := &index{filter: f, group: a.Group, groupHash: hash(a.Group), strategies: slices.Clone(a.Strategies)}
	x.rules, x.attributes = a.rules()
	if a.draws() {
		x.seed = a.Seed
		x.clock = newClock(a.Seed)
	}
	x.build(c)
	return x
}

// serves says whether one index can serve both asks.
func (x *index) serves(a *Ask) bool {
	return x.filter.serves(a) && slices.Equal(x.strategies, a.Strategies) && (x.clock == nil || x.seed == a.Seed)
}

// build looks at all nodes.
func (x *index) build(c *Cluster) {
	x.cellOf, x.counted, x.keys, x.drawn, x.at, x.ids = nil, nil, nil, nil, nil, nil
	x.grow(c)
	x.cells, x.cellIDs = nil, map[cellID]int32{}
	x.top = heap{less: x.cellLess}
	for i := range x.attributes {
		x.buckets[i] = bucketSet{byValue: map[string]int32{}}
	}
	for slot := range c.nodes {
		n := &c.nodes[slot]
		if n.ID == "" {
			continue
		}
		x.ids[slot] = n.ID
		if len(x.attributes) == 0 && x.filter.reasons[slot] != Fits {
			continue // nothing to count: it enters when it fits
		}
		x.enter(int32(slot), x.cell(n), n.Groups[x.group])
		if x.filter.reasons[slot] == Fits {
			x.rank(c, int32(slot))
			fits := &x.cells[x.cellOf[slot]].fits
			fits.items = append(fits.items, int32(slot))
		}
	}
	for i, cell := range x.cells {
		cell.fits.at = x.at
		cell.fits.init()
		x.top.items = append(x.top.items, int32(i))
		x.refresh(int32(i))
	}
	x.top.init()
	x.seen = c.now()
	x.refused = nil
}

// grow makes room for the slots of nodes that came.
func (x *index) grow(c *Cluster) {
	old, more := len(x.at), len(c.nodes)-len(x.at)
	if more == 0 {
		return
	}
	x.cellOf = append(x.cellOf, make([]int32, more)...)
	x.counted = append(x.counted, make([]int, more)...)
	x.keys = append(x.keys, make([]uint64, more*len(x.rules))...)
	if x.clock != nil {
		x.drawn = append(x.drawn, make([]draw, more)...)
	}
	x.at = append(x.at, make([]int32, more)...)
	x.ids = append(x.ids, make([]string, more)...)
	for slot := old; slot < len(x.at); slot++ {
		x.cellOf[slot], x.at[slot] = absent, absent
	}
	for _, cell := range x.cells {
		cell.fits.at = x.at
	}
}

// catchUp takes in what changed since the index was last looked at.
func (x *index) catchUp(c *Cluster) {
	x.filter.catchUp(c)
	changes, ok := c.since(x.seen)
	crumbled := len(x.cells) > 2*len(c.nodes)+64 // mostly cells of values that no node has any more
	if !ok || crumbled {
		x.build(c)
		return
	}
	x.grow(c)
	for _, slot := range changes {
		x.update(c, slot)
	}
	x.seen = c.now()
}

// update takes in one node as it now is.
func (x *index) update(c *Cluster, slot int32) {
	n := &c.nodes[slot]
	cell, count := int32(absent), 0
	if n.ID != "" {
		cell, count = x.cell(n), n.Groups[x.group]
	}
	if old := x.cellOf[slot]; old != absent && old != cell {
		if x.at[slot] != absent {
			x.cells[old].fits.remove(slot)
		}
		x.enter(slot, absent, 0)
		x.move(old)
	}
	x.ids[slot] = n.ID
	if cell == absent {
		return
	}
	recount := count != x.counted[slot]
	x.enter(slot, cell, count)
	switch {
	case x.filter.reasons[slot] == Fits:
		x.rank(c, slot)
		x.cells[cell].fits.fix(slot)
	case x.at[slot] != absent:
		x.cells[cell].fits.remove(slot)
	}
	if recount {
		x.move(cell)
	} else {
		x.refresh(cell)
		x.top.fix(cell)
	}
}

// enter notes which cell the node is in, and counts its tasks there.
func (x *index) enter(slot, cell int32, count int) {
	old := x.cellOf[slot]
	for i := range x.attributes {
		if old != absent {
			x.buckets[i].buckets[x.cells[old].id[i]].tasks -= x.counted[slot]
		}
		if cell != absent {
			x.buckets[i].buckets[x.cells[cell].id[i]].tasks += count
		}
	}
	x.cellOf[slot], x.counted[slot] = cell, count
}

// move puts the cell, and those that share a bucket with it, where they belong.
func (x *index) move(cell int32) {
	x.refresh(cell)
	x.top.fix(cell)
	for i := range x.attributes {
		if b := &x.buckets[i].buckets[x.cells[cell].id[i]]; len(b.cells) > 1 {
			for _, other := range b.cells {
				x.refresh(other)
				x.top.fix(other)
			}
		}
	}
}

// cell is the cell that the node belongs to; it may be a new one.
func (x *index) cell(n *Node) int32 {
	var id cellID
	for i, name := range x.attributes {
		set, value := &x.buckets[i], n.Attributes[name]
		b, ok := set.byValue[value]
		if !ok {
			b = int32(len(set.buckets))
			set.byValue[value] = b
			set.buckets = append(set.buckets, bucket{})
		}
		id[i] = b
	}
	at, ok := x.cellIDs[id]
	if !ok {
		at = int32(len(x.cells))
		x.cellIDs[id] = at
		x.cells = append(x.cells, &cell{
			id:   id,
			fits: heap{at: x.at, less: x.slotLess},
			key:  make([]uint64, len(x.rules)),
		})
		x.top.at = append(x.top.at, absent)
		for i := range x.attributes {
			b := &x.buckets[i].buckets[id[i]]
			b.cells = append(b.cells, at)
		}
	}
	return at
}

// rank gives the node its numbers.
func (x *index) rank(c *Cluster, slot int32) {
	n := &c.nodes[slot]
	key := x.key(slot)
	for i, r := range x.rules {
		switch r {
		case fewestOfGroup:
			key[i] = ascending(n.Groups[x.group])
		case leastCPU:
			key[i] = ascending(n.CPU)
		case leastMemory:
			key[i] = ascending(n.Memory)
		case mostCPU:
			key[i] = ^ascending(n.CPU)
		case mostMemory:
			key[i] = ^ascending(n.Memory)
		case earliestDraw:
			d := &x.drawn[slot]
			for ; d.taken <= c.placed[slot]; d.taken++ {
				d.time += x.clock.wait(c.hashes[slot], d.taken)
			}
			key[i] = drawKey(d.time)
		case smallestHash:
			key[i] = mix(x.groupHash, c.hashes[slot])
		}
	}
}

func (x *index) key(slot int32) []uint64 {
	w := len(x.rules)
	return x.keys[int(slot)*w : int(slot)*w+w]
}

// refresh gives the cell its numbers: those of its best node, and its buckets.
func (x *index) refresh(at int32) {
	cell := x.cells[at]
	if len(cell.fits.items) == 0 {
		return // cellLess puts it last
	}
	copy(cell.key, x.key(cell.fits.items[0]))
	attribute := 0
	for i, r := range x.rules {
		if r == fewestInBucket {
			cell.key[i] = ascending(x.buckets[attribute].buckets[cell.id[attribute]].tasks)
			attribute++
		}
	}
}

func (x *index) slotLess(a, b int32) bool {
	if order := slices.Compare(x.key(a), x.key(b)); order != 0 {
		return order < 0
	}
	return x.ids[a] < x.ids[b]
}

func (x *index) cellLess(a, b int32) bool {
	one, two := x.cells[a], x.cells[b]
	if len(one.fits.items) == 0 || len(two.fits.items) == 0 {
		return len(one.fits.items) > 0
	}
	if order := slices.Compare(one.key, two.key); order != 0 {
		return order < 0
	}
	return x.ids[one.fits.items[0]] < x.ids[two.fits.items[0]]
}

// best is the node that an ask goes to, if any fits.
func (x *index) best() (slot int32, ok bool) {
	if len(x.top.items) == 0 {
		return 0, false
	}
	fits := x.cells[x.top.items[0]].fits.items
	if len(fits) == 0 {
		return 0, false
	}
	return fits[0], true
}

// refusal is the reasons of all nodes, when no node fits.
func (x *index) refusal(c *Cluster) []NodeRefusal {
	if x.refused == nil || x.refusedSeen != x.seen {
		order := c.byID()
		x.refused = make([]NodeRefusal, 0, len(order))
		for _, slot := range order {
			x.refused = append(x.refused, NodeRefusal{x.ids[slot], x.filter.reasons[slot]})
		}
		x.refusedSeen = x.seen
	}
	return x.refused
}
