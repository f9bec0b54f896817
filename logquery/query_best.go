package logquery

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
)

// best is the end of a segment whose rows are in an order: it holds the first ones
// in that order, at most limit of them, or of those that are alike in some fields
// the first.
type best struct {
	run    *run
	order  []orderBy
	newest bool // no order was asked for: the newest event comes first
	after  sink
	rows   []*row // a heap with the last on top, when there is a limit

	limit  int
	unique []string       // for dedup
	byKey  map[string]int // place in rows by the values of unique
}

// compare is the order of two rows; those that are alike are in the order in which
// they came.
func (b *best) compare(x, y *row) int {
	if b.newest {
		return cmp.Or(cmp.Compare(y.event.Timestamp, x.event.Timestamp), x.place-y.place)
	}
	for i, o := range b.order {
		c := order(x.keys[i], y.keys[i])
		if o.descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return x.place - y.place
}

func (b *best) push(r *row) bool {
	if b.unique != nil {
		return b.pushUnique(r)
	}
	if len(b.rows) == b.limit && b.compare(r, b.rows[0]) >= 0 {
		return true
	}
	kept := r.keep()
	b.run.hold(kept.size())
	if len(b.rows) == b.limit {
		b.run.hold(-b.rows[0].size())
		b.rows[0] = kept
		heap.Fix(b, 0)
	} else {
		heap.Push(b, kept)
	}
	return b.run.err == nil
}

// pushUnique keeps a row that comes before the one that is like it. "Null values
// are not considered duplicates."
func (b *best) pushUnique(r *row) bool {
	var key strings.Builder
	for _, name := range b.unique {
		v := r.field(name)
		if v.kind == kindNull {
			key.Reset()
			break
		}
		groupKey(&key, v)
	}
	i, known := b.byKey[key.String()]
	switch known = known && key.Len() > 0; {
	case !known:
		kept := r.keep()
		b.run.hold(kept.size() + key.Len() + 50)
		b.rows = append(b.rows, kept)
		if key.Len() > 0 {
			b.byKey[key.String()] = len(b.rows) - 1
		}
	case b.compare(r, b.rows[i]) < 0:
		kept := r.keep()
		b.run.hold(kept.size() - b.rows[i].size())
		b.rows[i] = kept
	}
	return b.run.err == nil
}

func (b *best) flush() {
	slices.SortFunc(b.rows, b.compare)
	for _, r := range b.rows {
		b.run.hold(-r.size())
		if !b.after.push(r) {
			break
		}
	}
	b.after.flush()
}

// The heap of the rows, with the last in their order on top.

func (b *best) Len() int           { return len(b.rows) }
func (b *best) Less(i, j int) bool { return b.compare(b.rows[i], b.rows[j]) > 0 }
func (b *best) Swap(i, j int)      { b.rows[i], b.rows[j] = b.rows[j], b.rows[i] }
func (b *best) Push(r any)         { b.rows = append(b.rows, r.(*row)) }
func (b *best) Pop() any {
	last := b.rows[len(b.rows)-1]
	b.rows = b.rows[:len(b.rows)-1]
	return last
}
