package control

import (
	"container/heap"
	"time"
)

// queue holds keys by when they are due. A key is on it once, however often it is offered, with the
// earliest of its times. Keys that are due at the same time leave in the order in which they came.
type queue struct {
	entries map[entryID]*entry
	order   order
	count   uint64
}

type entryID struct {
	controller int
	key        string
}

type entry struct {
	entryID
	due      time.Time
	number   uint64 // order of arrival
	position int    // in the heap
	failures int    // in a row
}

func newQueue() queue { return queue{entries: map[entryID]*entry{}} }

// offer puts a key on the queue, or makes it due earlier.
func (q *queue) offer(controller int, key string, due time.Time) {
	id := entryID{controller, key}
	e := q.entries[id]
	if e == nil {
		q.push(&entry{entryID: id}, due)
		return
	}
	if due.Before(e.due) {
		q.arrive(e, due)
		heap.Fix(&q.order, e.position)
	}
}

// push puts an entry back that pop has given.
func (q *queue) push(e *entry, due time.Time) {
	q.arrive(e, due)
	q.entries[e.entryID] = e
	heap.Push(&q.order, e)
}

// restore puts an entry back that pop has given, unless its key has been offered meanwhile: then the earlier time holds.
func (q *queue) restore(e *entry, due time.Time) {
	now := q.entries[e.entryID]
	if now == nil {
		q.push(e, due)
		return
	}
	now.failures = e.failures
	q.offer(e.controller, e.key, due)
}

func (q *queue) arrive(e *entry, due time.Time) {
	q.count++
	e.due, e.number = due, q.count
}

// pop takes the first entry off the queue, if it is due.
func (q *queue) pop(now time.Time) *entry {
	if len(q.order) == 0 || q.order[0].due.After(now) {
		return nil
	}
	e := heap.Pop(&q.order).(*entry)
	delete(q.entries, e.entryID)
	return e
}

// next is when the first entry is due.
func (q *queue) next() (due time.Time, ok bool) {
	if len(q.order) == 0 {
		return time.Time{}, false
	}
	return q.order[0].due, true
}

// order is a heap.
type order []*entry

func (o order) Len() int { return len(o) }
func (o order) Less(i, j int) bool {
	if !o[i].due.Equal(o[j].due) {
		return o[i].due.Before(o[j].due)
	}
	return o[i].number < o[j].number
}
func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].position, o[j].position = i, j
}
func (o *order) Push(x any) {
	e := x.(*entry)
	e.position = len(*o)
	*o = append(*o, e)
}
func (o *order) Pop() any {
	old := *o
	e := old[len(old)-1]
	*o = old[:len(old)-1]
	return e
}
