package logstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// MaxAppendBytes is how many bytes one Append takes, with Overhead for each event: the largest batch that PutLogEvents
// takes.
const MaxAppendBytes = 1 << 20

// commitBytes is about how much goes into one commit, when more is waiting than that.
const commitBytes = 4 << 20

// ErrDiskFull is why an event is not taken when the disk has less than MinFree left.
var ErrDiskFull = errors.New("the disk is full")

// engine is an open store. One goroutine, write, makes all changes.
type engine struct {
	store  *Store
	db     *pebble.DB
	edits  chan *edit
	closed chan struct{} // when no edit will be taken any more
	ended  chan struct{} // when write has returned

	// The writer's own.
	number uint64 // the last that was given
	batch  *pebble.Batch
	// What the batch changes, and the engine does not show yet.
	summaries map[[2]ID]Summary
	bytes     map[ID]int64
}

// edit is a change that the writer makes. Several may share a commit, unless they read what they change.
type edit struct {
	alone bool
	size  int
	apply func(w *engine) error // adds to the batch; after an error it must have added nothing
	// committed is called when the edit is durable, in the order of commits.
	committed func()
	done      chan error
}

func newEngine(s *Store, db *pebble.DB) (*engine, error) {
	e := &engine{
		store: s, db: db, edits: make(chan *edit, 64), closed: make(chan struct{}), ended: make(chan struct{}),
		summaries: map[[2]ID]Summary{}, bytes: map[ID]int64{},
	}
	number, err := get(db, keyOf(numberKind))
	if err != nil {
		return nil, err
	}
	if number != nil {
		e.number = binary.BigEndian.Uint64(number)
	}
	go e.write()
	return e, nil
}

func (e *engine) close() error {
	close(e.closed)
	<-e.ended
	return e.db.Close()
}

// do has the writer make an edit, and returns when it is durable.
func (e *engine) do(ctx context.Context, change *edit) error {
	change.done = make(chan error, 1)
	select {
	case e.edits <- change:
	case <-e.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select { // not ctx: it is being made durable, and whether it was is worth more
	case err := <-change.done:
		return err
	case <-e.ended:
		select {
		case err := <-change.done:
			return err
		default:
			return ErrClosed
		}
	}
}

func (e *engine) write() {
	defer close(e.ended)
	var left *edit // taken, and to be made alone
	for {
		first := left
		left = nil
		if first == nil {
			select {
			case first = <-e.edits:
			case <-e.closed:
				return
			}
		}
		together := []*edit{first}
		for bytes, more := first.size, !first.alone; more && bytes < commitBytes; {
			select {
			case next := <-e.edits:
				if more = !next.alone; !more {
					left = next
					break
				}
				together = append(together, next)
				bytes += next.size
			default:
				more = false
			}
		}
		e.commit(together)
	}
}

// commit makes edits durable with one sync, and tells who waits for them.
func (e *engine) commit(edits []*edit) {
	e.batch = e.db.NewBatch()
	before := e.number
	errs := make([]error, len(edits))
	for i, change := range edits {
		errs[i] = change.apply(e)
	}
	err := e.flush(before)
	clear(e.summaries)
	clear(e.bytes)
	for i, change := range edits {
		if errs[i] == nil {
			errs[i] = err
		}
		if errs[i] == nil && change.committed != nil {
			change.committed()
		}
		change.done <- errs[i]
	}
}

// flush writes what the edits have changed beside the events, and commits.
func (e *engine) flush(before uint64) error {
	for at, s := range e.summaries {
		if err := e.batch.Set(keyOf(summaryKind, at[0], at[1]), s.encode(), nil); err != nil {
			return err
		}
	}
	for group, n := range e.bytes {
		if err := e.batch.Set(keyOf(groupKind, group), binary.AppendVarint(nil, n), nil); err != nil {
			return err
		}
	}
	if e.number != before {
		if err := e.batch.Set(keyOf(numberKind), binary.BigEndian.AppendUint64(nil, e.number), nil); err != nil {
			return err
		}
	}
	if e.batch.Empty() {
		return e.batch.Close()
	}
	return e.batch.Commit(pebble.Sync)
}

// summary is a stream's, with what the batch changes.
func (e *engine) summary(group, stream ID) (Summary, error) {
	if s, ok := e.summaries[[2]ID{group, stream}]; ok {
		return s, nil
	}
	return getSummary(e.db, group, stream)
}

func (e *engine) groupBytes(group ID) (int64, error) {
	if n, ok := e.bytes[group]; ok {
		return n, nil
	}
	return getBytes(e.db, group)
}

// Entry is an event on its way in.
type Entry struct {
	Time    int64 // milliseconds since 1970; not negative
	Message string
}

// Append adds events to a stream and returns when they are durable; ingested, in milliseconds since 1970, is now.
// Events of one time keep the order in which they are given.
func (s *Store) Append(ctx context.Context, group, stream ID, ingested int64, entries []Entry) error {
	bytes := 0
	for _, entry := range entries {
		if entry.Time < 0 {
			return fmt.Errorf("cannot store an event of %d ms: before 1970", entry.Time)
		}
		bytes += len(entry.Message) + Overhead
	}
	if bytes > MaxAppendBytes {
		return fmt.Errorf("cannot store %d bytes of events at a time: at most %d", bytes, MaxAppendBytes)
	}
	if len(entries) == 0 {
		return nil
	}
	e, err := s.open(true)
	if err != nil {
		return err
	}
	defer e.done()
	if err := s.room(); err != nil {
		return err
	}
	events := make([]Event, len(entries))
	return e.do(ctx, &edit{
		size: bytes,
		apply: func(w *engine) error {
			sum, err := w.summary(group, stream)
			if err != nil {
				return err
			}
			held, err := w.groupBytes(group)
			if err != nil {
				return err
			}
			for i, entry := range entries {
				w.number++
				events[i] = Event{Stream: stream, Position: Position{entry.Time, w.number}, Ingested: ingested, Message: entry.Message}
				w.set(group, events[i])
				sum = sum.with(events[i])
			}
			w.summaries[[2]ID{group, stream}] = sum
			w.bytes[group] = held + int64(bytes)
			return nil
		},
		committed: func() { s.watches.tell(group, events) },
	})
}

// set adds an event to the batch.
func (e *engine) set(group ID, event Event) {
	var later [binary.MaxVarintLen64]byte
	n := binary.PutVarint(later[:], event.Ingested-event.Time)
	op := e.batch.SetDeferred(eventSize, n+len(event.Message))
	key := prefix(op.Key[:0], eventKind, group, event.Stream)
	key = binary.BigEndian.AppendUint64(key, uint64(event.Time))
	binary.BigEndian.AppendUint64(key, event.Number)
	copy(op.Value[copy(op.Value, later[:n]):], event.Message)
	op.Finish() //nolint:errcheck // only a batch with an index can fail
}

// room is nil while the disk has more than MinFree left.
func (s *Store) room() error {
	usage, err := s.config.FS.GetDiskUsage(s.config.Dir)
	if err != nil {
		return nil // a file system that does not say has no limit that we know
	}
	if usage.AvailBytes < s.config.MinFree {
		return fmt.Errorf("%w: %d MiB are left where the log events are, and %d MiB are kept free", ErrDiskFull, usage.AvailBytes>>20, s.config.MinFree>>20)
	}
	return nil
}

// Drop forgets a group with all its streams.
func (s *Store) Drop(ctx context.Context, group ID) error {
	return s.forget(ctx, func(w *engine) error {
		for _, kind := range []byte{eventKind, summaryKind} {
			from, to := span(keyOf(kind, group))
			if err := w.batch.DeleteRange(from, to, nil); err != nil {
				return err
			}
		}
		return w.batch.Delete(keyOf(groupKind, group), nil)
	})
}

// DropStream forgets a stream.
func (s *Store) DropStream(ctx context.Context, group, stream ID) error {
	return s.forget(ctx, func(w *engine) error {
		sum, err := w.summary(group, stream)
		if err != nil {
			return err
		}
		held, err := w.groupBytes(group)
		if err != nil {
			return err
		}
		from, to := span(keyOf(eventKind, group, stream))
		if err := w.batch.DeleteRange(from, to, nil); err != nil {
			return err
		}
		if sum.Events > 0 {
			w.bytes[group] = held - sum.Bytes
		}
		return w.batch.Delete(keyOf(summaryKind, group, stream), nil)
	})
}

// forget makes an edit that takes away; there is nothing to take from an engine that was never needed.
func (s *Store) forget(ctx context.Context, apply func(w *engine) error) error {
	e, err := s.open(false)
	if err != nil || e == nil {
		return err
	}
	defer e.done()
	return e.do(ctx, &edit{alone: true, apply: apply})
}

// trimEvents is how many events one commit of Trim takes away, so that appends need not wait long.
const trimEvents = 20_000

// Trim forgets a group's events of before a time, in milliseconds since 1970. It returns how many bytes those were.
func (s *Store) Trim(ctx context.Context, group ID, before int64) (bytes int64, err error) {
	summaries, err := s.Summaries(ctx, group)
	if err != nil {
		return 0, err
	}
	for stream, sum := range summaries {
		for more := sum.Events > 0 && sum.First < before; more; {
			var freed int64
			err := s.forget(ctx, func(w *engine) (err error) {
				freed, more, err = w.trim(group, stream, before)
				return err
			})
			if err != nil {
				return bytes, err
			}
			bytes += freed
		}
	}
	return bytes, nil
}

// trim takes the next events of before a time out of a stream.
func (e *engine) trim(group, stream ID, before int64) (freed int64, more bool, err error) {
	sum, err := e.summary(group, stream)
	if err != nil {
		return 0, false, err
	}
	held, err := e.groupBytes(group)
	if err != nil {
		return 0, false, err
	}
	from, to := span(keyOf(eventKind, group, stream))
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return 0, false, err
	}
	var count int64
	upTo := from
	for valid := it.First(); valid; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, false, errors.Join(err, it.Close())
		}
		event, err := readEvent(it.Key(), value)
		if err != nil {
			return 0, false, errors.Join(err, it.Close())
		}
		sum.First = event.Time
		upTo = append([]byte{}, it.Key()...)
		if more = event.Time < before; !more || count == trimEvents {
			break
		}
		count++
		freed += size(event)
		upTo, sum.First, more = to, 0, false // until another is found
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return 0, false, err
	}
	if count == 0 {
		return 0, false, nil
	}
	sum.Events -= count
	sum.Bytes -= freed
	if sum.Events == 0 {
		sum.First, sum.Last = 0, 0
	}
	e.summaries[[2]ID{group, stream}] = sum
	e.bytes[group] = held - freed
	return freed, more, e.batch.DeleteRange(from, upTo, nil)
}

// Reclaim gives the disk what was forgotten of a group. It takes as long as the disk needs to write what stays beside it.
func (s *Store) Reclaim(ctx context.Context, group ID) error {
	e, err := s.open(false)
	if err != nil || e == nil {
		return err
	}
	defer e.done()
	from, to := span(keyOf(eventKind, group))
	if err := e.db.Compact(ctx, from, to, false); err != nil {
		return fmt.Errorf("cannot compact the log store: %w", err)
	}
	return nil
}
