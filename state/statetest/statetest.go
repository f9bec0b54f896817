// Package statetest is what every state.Log must do, as a suite. It runs on the memory log, on embedded
// etcd and on an etcd outside.
package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"havn/state"
)

// patience is for a log that has hung; nothing is expected to take a part of it.
const patience = 30 * time.Second

// Test runs the suite. open gives a new, empty log that the test cleans up. If the log has a method
// Compact(state.Revision) that makes it forget history, that is tested too.
func Test(t *testing.T, open func(t *testing.T) state.Log) {
	for _, c := range []struct {
		promise string
		test    func(*fixture)
	}{
		{"a proposal is written whole, under its ID, at a revision of its own", appendIsWhole},
		{"a proposal with one version out of date writes nothing", conflictWritesNothing},
		{"a removed key is absent", removedIsAbsent},
		{"replay from zero is a listing", replayFromZero},
		{"replay after any revision is the rest", replayAfterAny},
		{"of proposals with the same guard one wins", oneWins},
		{"a follower sees every commit once, in order", noGapNoRepeat},
		{"what is at the limit is taken", limits},
		{"what is over the limit is refused", overLimit},
		{"an ended context ends everything", cancellation},
		{"forgotten history is listed", compaction},
		{"stores on one log converge", converge},
	} {
		t.Run(strings.ReplaceAll(c.promise, " ", "_"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			c.test(&fixture{T: t, ctx: ctx, log: open(t)})
		})
	}
}

type fixture struct {
	*testing.T
	ctx   context.Context
	log   state.Log
	count int
}

// propose makes a proposal from key, version, value; a value of "-" removes.
func (f *fixture) propose(id string, expect map[string]state.Revision, values map[string]string) state.Proposal {
	p := state.Proposal{ID: id, Expect: expect}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		w := state.Write{Key: key, Value: []byte(values[key])}
		if values[key] == "-" {
			w.Value = nil
		}
		p.Writes = append(p.Writes, w)
	}
	return p
}

// write appends what must be accepted.
func (f *fixture) write(expect map[string]state.Revision, values map[string]string) state.Revision {
	f.Helper()
	f.count++
	r, err := f.log.Append(f.ctx, f.propose(fmt.Sprint("id-", f.count), expect, values))
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// replay is all there is after a revision, up to CaughtUp.
func (f *fixture) replay(after state.Revision) []state.Entry {
	f.Helper()
	var entries []state.Entry
	for e, err := range f.log.Replay(f.ctx, after) {
		if err != nil {
			f.Fatal(err)
		}
		entries = append(entries, e)
		if e.Kind == state.CaughtUp {
			return entries
		}
	}
	f.Fatal("replay ended before it had caught up")
	return nil
}

// format is an entry as text.
func format(e state.Entry) string {
	var b strings.Builder
	switch e.Kind {
	case state.Committed:
		fmt.Fprintf(&b, "%d %s:", e.Revision, e.ID)
	case state.Listed:
		fmt.Fprintf(&b, "%d listed:", e.Revision)
	case state.CaughtUp:
		return fmt.Sprintf("%d caught up", e.Revision)
	}
	for _, w := range e.Writes {
		if w.Value == nil {
			fmt.Fprintf(&b, " %s@%d gone", w.Key, w.Revision)
		} else {
			fmt.Fprintf(&b, " %s@%d=%s", w.Key, w.Revision, w.Value)
		}
	}
	return b.String()
}

func (f *fixture) expect(got []state.Entry, want ...string) {
	f.Helper()
	var lines []string
	for _, e := range got {
		lines = append(lines, format(e))
	}
	if !slices.Equal(lines, want) {
		f.Fatalf("got\n  %s\nwant\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

type (
	versions = map[string]state.Revision
	values   = map[string]string
)

func appendIsWhole(f *fixture) {
	r1 := f.write(versions{"t/a": 0, "t/b": 0}, values{"t/b": "1", "t/a": ""})
	r2 := f.write(versions{"t/b": r1, "u/c": 0}, values{"t/b": "2", "u/c": "3"})
	if r1 <= 1 || r2 <= r1 {
		f.Errorf("revisions %d, %d do not grow from 1", r1, r2)
	}
	f.expect(f.replay(r1),
		fmt.Sprintf("%d id-2: t/b@%d=2 u/c@%d=3", r2, r2, r2),
		fmt.Sprintf("%d caught up", r2))
}

func conflictWritesNothing(f *fixture) {
	r := f.write(versions{"t/a": 0}, values{"t/a": "1"})
	for name, expect := range map[string]versions{
		"too old":        {"t/a": r - 1, "t/b": 0},
		"said absent":    {"t/a": 0, "t/b": 0},
		"said there":     {"t/a": r, "t/b": r},
		"only read, old": {"t/a": r, "t/b": 0, "t/c": r},
	} {
		_, err := f.log.Append(f.ctx, f.propose("x", expect, values{"t/a": "2", "t/b": "2"}))
		if !errors.Is(err, state.ErrConflict) {
			f.Errorf("%s: error %v, want a conflict", name, err)
		}
		var since *state.ConflictError
		if !errors.As(err, &since) || since.Revision < r {
			f.Errorf("%s: error %#v does not say since when", name, err)
		}
	}
	f.expect(f.replay(r), fmt.Sprintf("%d caught up", r))
}

func removedIsAbsent(f *fixture) {
	r1 := f.write(versions{"t/a": 0}, values{"t/a": "1"})
	r2 := f.write(versions{"t/a": r1}, values{"t/a": "-"})
	r3 := f.write(versions{"t/a": 0}, values{"t/a": "2"})
	f.expect(f.replay(r1),
		fmt.Sprintf("%d id-2: t/a@%d gone", r2, r2),
		fmt.Sprintf("%d id-3: t/a@%d=2", r3, r3),
		fmt.Sprintf("%d caught up", r3))
}

func replayFromZero(f *fixture) {
	f.expect(f.replay(0), "1 listed:", "1 caught up")
	r1 := f.write(versions{"t/a": 0, "t/b": 0}, values{"t/a": "1", "t/b": "1"})
	f.write(versions{"t/c": 0}, values{"t/c": "1"})
	r3 := f.write(versions{"t/b": r1, "t/c": r1 + 1}, values{"t/b": "2", "t/c": "-"})
	f.expect(f.replay(0),
		fmt.Sprintf("%d listed: t/a@%d=1 t/b@%d=2", r3, r1, r3),
		fmt.Sprintf("%d caught up", r3))
}

func replayAfterAny(f *fixture) {
	var all []string
	var revisions []state.Revision
	last := state.Revision(0)
	for n := range 20 {
		last = f.write(versions{"t/a": last}, values{"t/a": fmt.Sprint(n)})
		revisions = append(revisions, last)
		all = append(all, fmt.Sprintf("%d id-%d: t/a@%d=%d", last, n+1, last, n))
	}
	for i, r := range revisions {
		f.expect(f.replay(r), append(slices.Clone(all[i+1:]), fmt.Sprintf("%d caught up", last))...)
	}
}

func oneWins(f *fixture) {
	last := f.write(versions{"t/a": 0}, values{"t/a": "start"})
	for range 20 {
		var mu sync.Mutex
		var won []state.Revision
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				p := f.propose(fmt.Sprint("w-", n), versions{"t/a": last}, values{"t/a": fmt.Sprint(n)})
				r, err := f.log.Append(f.ctx, p)
				if err == nil {
					mu.Lock()
					won = append(won, r)
					mu.Unlock()
				} else if !errors.Is(err, state.ErrConflict) {
					f.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			f.Fatalf("%d proposals have won", len(won))
		}
		last = won[0]
	}
}

func noGapNoRepeat(f *fixture) {
	const writers, each = 8, 50
	start := f.write(versions{"t/start": 0}, values{"t/start": "1"})
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()

	var mu sync.Mutex
	accepted := map[string]state.Revision{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			last := state.Revision(0)
			for n := range each {
				id, key := fmt.Sprintf("%d-%d", w, n), fmt.Sprintf("t/%d", w)
				r, err := f.log.Append(ctx, f.propose(id, versions{key: last}, values{key: fmt.Sprint(n)}))
				if err != nil {
					f.Error(err)
					cancel()
					return
				}
				last = r
				mu.Lock()
				accepted[id] = r
				mu.Unlock()
			}
		})
	}
	for range 3 { // each follower starts when it does, in the midst of the writing
		wg.Go(func() {
			before, seen := start, map[string]state.Revision{}
			for e, err := range f.log.Replay(ctx, start) {
				if err != nil {
					f.Error(err)
					return
				}
				if e.Kind != state.Committed {
					continue
				}
				if e.Revision <= before {
					f.Errorf("revision %d after %d", e.Revision, before)
				}
				if len(e.Writes) != 1 {
					f.Errorf("commit %s has %d writes", e.ID, len(e.Writes))
				}
				before, seen[e.ID] = e.Revision, e.Revision
				if len(seen) == writers*each {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(seen) == writers*each && !maps.Equal(seen, accepted) && len(accepted) == len(seen) {
				f.Error("a follower saw other revisions than the writers were told")
			}
		})
	}
	wg.Wait()
}

func limits(f *fixture) {
	long := strings.Repeat("k", state.MaxKeyBytes-16)
	p := state.Proposal{ID: "most", Expect: versions{}}
	for n := range state.MaxGuards {
		key := fmt.Sprintf("t/%06d", n)
		p.Expect[key] = 0
		if n < state.MaxWrites {
			p.Writes = append(p.Writes, state.Write{Key: key, Value: []byte("{}")})
		}
	}
	r, err := f.log.Append(f.ctx, p)
	if err != nil {
		f.Fatalf("most guards and writes: %v", err)
	}

	p = state.Proposal{ID: "largest", Expect: versions{}}
	for n := range state.MaxCommitBytes/state.MaxRecordBytes - 1 {
		key := fmt.Sprintf("u/%04d%s", n, long)
		p.Expect[key] = 0
		p.Writes = append(p.Writes, state.Write{Key: key, Value: bytes.Repeat([]byte{'x'}, state.MaxRecordBytes)})
	}
	if _, err := f.log.Append(f.ctx, p); err != nil {
		f.Fatalf("largest: %v", err)
	}
	got := f.replay(r)
	if len(got) != 2 || len(got[0].Writes) != len(p.Writes) {
		f.Fatalf("%d entries", len(got))
	}
	for i, w := range got[0].Writes {
		if w.Key != p.Writes[i].Key || !bytes.Equal(w.Value, p.Writes[i].Value) {
			f.Errorf("%.20s came back changed", w.Key)
		}
	}
}

func overLimit(f *fixture) {
	p := state.Proposal{ID: "over", Expect: versions{}, Writes: []state.Write{{Key: "t/a", Value: []byte("{}")}}}
	for n := range 2 * (state.MaxGuards + state.MaxWrites) {
		p.Expect[fmt.Sprintf("t/%06d", n)] = 0
	}
	if _, err := f.log.Append(f.ctx, p); !errors.Is(err, state.ErrRefused) {
		f.Errorf("error %v, want refused", err)
	}
	f.expect(f.replay(1), "1 caught up")
}

func cancellation(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	next, stop := iter.Pull2(f.log.Replay(ctx, 1))
	defer stop()
	if e, err, ok := next(); !ok || err != nil || e.Kind != state.CaughtUp {
		f.Fatalf("%v, %v, %v", e, err, ok)
	}
	cancel()
	if e, err, ok := next(); !ok || !errors.Is(err, context.Canceled) {
		f.Errorf("%v, %v, %v after the context ended", e, err, ok)
	}
	if e, err, ok := next(); ok {
		f.Errorf("%v, %v after the last", e, err)
	}
	if _, err := f.log.Append(ctx, f.propose("late", versions{"t/a": 0}, values{"t/a": "1"})); err == nil {
		f.Error("an append in an ended context succeeded")
	}
	f.write(versions{"t/b": 0}, values{"t/b": "1"}) // the log itself lives on
}

func compaction(f *fixture) {
	c, ok := f.log.(interface{ Compact(state.Revision) })
	if !ok {
		f.Skip("this log has no Compact")
	}
	r1 := f.write(versions{"t/a": 0, "t/b": 0}, values{"t/a": "1", "t/b": "1"})
	r2 := f.write(versions{"t/a": r1}, values{"t/a": "2"})
	r3 := f.write(versions{"t/b": r1}, values{"t/b": "-"})
	r4 := f.write(versions{"t/a": r2}, values{"t/a": "3"})
	c.Compact(r3)
	f.expect(f.replay(r1),
		fmt.Sprintf("%d listed: t/a@%d=3", r4, r4),
		fmt.Sprintf("%d caught up", r4))
	f.expect(f.replay(r3),
		fmt.Sprintf("%d id-4: t/a@%d=3", r4, r4),
		fmt.Sprintf("%d caught up", r4))
}
