package logstore

import (
	"container/heap"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Query says which events are read.
type Query struct {
	Group   ID
	Streams []ID // all streams of the group when nil
	// From is the first position that is read, To the first that is not.
	From, To Position
	Backward bool // the latest first
}

// Events yields the events of a query in the order of their positions, whatever streams they are in, or in the reverse.
// It shows the store as it is when the loop starts, and needs memory for readAhead events, not for all. The loop may
// stop at any time, and goes on from a position with another query. After an error nothing follows.
func (s *Store) Events(ctx context.Context, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		e, err := s.open(false)
		if err != nil {
			yield(Event{}, err)
			return
		}
		if e == nil {
			return
		}
		defer e.done()
		snapshot := e.db.NewSnapshot()
		defer snapshot.Close() //nolint:errcheck // it frees memory
		m, err := newMerge(ctx, snapshot, q)
		if err != nil {
			yield(Event{}, err)
			return
		}
		for n := 0; len(m.cursors) > 0; n++ {
			if n%1024 == 0 && ctx.Err() != nil {
				yield(Event{}, ctx.Err())
				return
			}
			event, err := m.next()
			if errors.Is(err, errNoMore) {
				return
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// readAhead bounds what a query holds in memory, over all its streams.
const (
	readAheadEvents = 8192
	readAheadBytes  = 4 << 20
	maxChunk        = 512 // events of one stream
)

var errNoMore = errors.New("no more events")

// cursor reads one stream, a chunk at a time. A stream is not touched before its turn comes: its summary says when.
type cursor struct {
	stream   ID
	from, to Position // what has not been read into the chunk
	chunk    []Event  // in the order of the query
	next     Position // of the first event in the chunk; not after it, when the chunk is empty
}

// merge is a heap of cursors, the one whose event comes next on top.
type merge struct {
	snapshot *pebble.Snapshot
	query    Query
	cursors  []*cursor
	chunk    int // events
	bytes    int
}

func newMerge(ctx context.Context, snapshot *pebble.Snapshot, q Query) (*merge, error) {
	m := &merge{snapshot: snapshot, query: q}
	add := func(stream ID, sum Summary) {
		first, last := Since(sum.First), Since(sum.Last+1)
		c := &cursor{stream: stream, from: later(q.From, first), to: earlier(q.To, last)}
		if sum.Events == 0 || !c.from.Before(c.to) {
			return
		}
		c.next = c.from
		if q.Backward {
			c.next = c.to
		}
		m.cursors = append(m.cursors, c)
	}
	if q.Streams == nil {
		if err := summaries(ctx, snapshot, q.Group, add); err != nil {
			return nil, err
		}
	}
	for _, stream := range unique(q.Streams) {
		sum, err := getSummary(snapshot, q.Group, stream)
		if err != nil {
			return nil, err
		}
		add(stream, sum)
	}
	n := max(len(m.cursors), 1)
	m.chunk = min(max(readAheadEvents/n, 1), maxChunk)
	m.bytes = readAheadBytes / n
	heap.Init(m)
	return m, nil
}

func unique(ids []ID) []ID {
	sorted := slices.SortedFunc(slices.Values(ids), func(a, b ID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(sorted)
}

func later(a, b Position) Position {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b Position) Position {
	if a.Before(b) {
		return a
	}
	return b
}

func (m *merge) Len() int      { return len(m.cursors) }
func (m *merge) Swap(i, j int) { m.cursors[i], m.cursors[j] = m.cursors[j], m.cursors[i] }
func (m *merge) Push(c any)    { m.cursors = append(m.cursors, c.(*cursor)) }
func (m *merge) Pop() any {
	last := m.cursors[len(m.cursors)-1]
	m.cursors = m.cursors[:len(m.cursors)-1]
	return last
}

// Less puts a cursor that has not read yet before one whose event has the same position: it may have an earlier one.
func (m *merge) Less(i, j int) bool {
	a, b := m.cursors[i], m.cursors[j]
	if a.next == b.next {
		return len(a.chunk) < len(b.chunk) && len(a.chunk) == 0
	}
	return a.next.Before(b.next) != m.query.Backward
}

// next takes the next event off the heap.
func (m *merge) next() (Event, error) {
	for len(m.cursors) > 0 {
		c := m.cursors[0]
		if len(c.chunk) == 0 {
			if err := m.read(c); err != nil {
				return Event{}, err
			}
			if len(c.chunk) == 0 {
				heap.Pop(m)
				continue
			}
			c.next = c.chunk[0].Position
			heap.Fix(m, 0)
			continue
		}
		event := c.chunk[0]
		c.chunk = c.chunk[1:]
		switch {
		case len(c.chunk) > 0:
			c.next = c.chunk[0].Position
		case m.query.Backward:
			c.next = c.to
		default:
			c.next = c.from
		}
		heap.Fix(m, 0)
		return event, nil
	}
	return Event{}, errNoMore
}

// read reads a cursor's next chunk. An empty one means that the stream has no more.
func (m *merge) read(c *cursor) error {
	if !c.from.Before(c.to) {
		return nil
	}
	it, err := m.snapshot.NewIter(&pebble.IterOptions{
		LowerBound: eventKey(m.query.Group, c.stream, c.from), UpperBound: eventKey(m.query.Group, c.stream, c.to),
	})
	if err != nil {
		return err
	}
	first, next := it.First, it.Next
	if m.query.Backward {
		first, next = it.Last, it.Prev
	}
	c.chunk = nil
	bytes := 0
	valid := first()
	for ; valid && len(c.chunk) < m.chunk && (bytes < m.bytes || len(c.chunk) == 0); valid = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		event, err := readEvent(it.Key(), value)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		c.chunk = append(c.chunk, event)
		bytes += len(event.Message)
	}
	switch {
	case !valid: // the stream ends here
		c.from = c.to
	case m.query.Backward:
		c.to = c.chunk[len(c.chunk)-1].Position
	default:
		c.from = c.chunk[len(c.chunk)-1].Next()
	}
	return errors.Join(it.Error(), it.Close())
}

// Summary returns what is known of a stream; the zero value when nothing was ever appended to it.
func (s *Store) Summary(group, stream ID) (Summary, error) {
	e, err := s.open(false)
	if err != nil || e == nil {
		return Summary{}, err
	}
	defer e.done()
	return getSummary(e.db, group, stream)
}

// Summaries returns those of all the streams of a group to which something was ever appended.
func (s *Store) Summaries(ctx context.Context, group ID) (map[ID]Summary, error) {
	e, err := s.open(false)
	if err != nil || e == nil {
		return nil, err
	}
	defer e.done()
	all := map[ID]Summary{}
	return all, summaries(ctx, e.db, group, func(stream ID, sum Summary) { all[stream] = sum })
}

// summaries reads those of a group, in the order of the streams' ids.
func summaries(ctx context.Context, r pebble.Reader, group ID, each func(ID, Summary)) error {
	from, to := span(keyOf(summaryKind, group))
	return scan(ctx, r, from, to, func(key, value []byte) error {
		sum, err := readSummary(value)
		if err == nil {
			each(ID(key[1+idSize:]), sum)
		}
		return err
	})
}

// scan reads the keys of a range.
func scan(ctx context.Context, r pebble.Reader, from, to []byte, each func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = each(it.Key(), value)
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Bytes returns how many bytes a group has: messages, and Overhead for each event. The disk has fewer: they are
// compressed there.
func (s *Store) Bytes(group ID) (int64, error) {
	e, err := s.open(false)
	if err != nil || e == nil {
		return 0, err
	}
	defer e.done()
	return getBytes(e.db, group)
}

// Groups returns the groups that the store has anything of.
func (s *Store) Groups(ctx context.Context) ([]ID, error) {
	e, err := s.open(false)
	if err != nil || e == nil {
		return nil, err
	}
	defer e.done()
	var all []ID
	from, to := span([]byte{groupKind})
	err = scan(ctx, e.db, from, to, func(key, _ []byte) error {
		all = append(all, ID(key[1:]))
		return nil
	})
	return all, err
}
