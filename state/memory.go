package state

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// Fault is something that goes wrong in one Append.
type Fault int

const (
	NoFault Fault = iota
	// FaultConflict is a conflict where there is none.
	FaultConflict
	// FaultLostAnswer: the proposal is written, and whoever asked is not told.
	FaultLostAnswer
	// FaultLostProposal: it is not written, and whoever asked is not told.
	FaultLostProposal
	// FaultLateProposal: whoever asked is not told, and it reaches the log a few appends later.
	FaultLateProposal
)

// Faults says how often things go wrong, each from 0 to 1. Which ones do depends on nothing but Seed and
// the order of appends.
type Faults struct {
	Seed         uint64
	Conflict     float64
	LostAnswer   float64
	LostProposal float64
	LateProposal float64
}

// ErrLost is the answer of a Memory that lost the answer.
var ErrLost = errors.New("the answer was lost")

// Memory is the Log of a simulation and of tests: in the process, in order, without a goroutine. Its zero
// value is an empty log without faults.
type Memory struct {
	mu      sync.Mutex
	head    Revision
	entries []Entry // after forgotten
	current map[string]Write
	// forgotten is the revision up to which history was dropped by Compact.
	forgotten Revision
	changed   chan struct{} // closed at the next entry, if anyone waits

	faults Faults
	chance *rand.Rand
	script []Fault
	late   []late
}

// late is a proposal under way.
type late struct {
	p     Proposal
	after int // so many appends
}

// lock takes the mutex. An empty log is at revision 1, as etcd's is, for zero is before everything.
func (m *Memory) lock() {
	m.mu.Lock()
	if m.head == 0 {
		m.head, m.forgotten, m.current = 1, 1, map[string]Write{}
	}
}

// SetFaults makes things go wrong from now on. Zero Faults heal the log, but for late proposals under way.
func (m *Memory) SetFaults(f Faults) {
	m.lock()
	defer m.mu.Unlock()
	m.faults, m.chance = f, rand.New(rand.NewPCG(f.Seed, f.Seed))
}

// Script says what goes wrong in the very next appends, before Faults are asked again.
func (m *Memory) Script(faults ...Fault) {
	m.lock()
	defer m.mu.Unlock()
	m.script = append(m.script, faults...)
}

// Compact forgets history up to a revision, as etcd does.
func (m *Memory) Compact(upTo Revision) {
	m.lock()
	defer m.mu.Unlock()
	m.forgotten = max(m.forgotten, min(upTo, m.head))
	m.entries = slices.DeleteFunc(m.entries, func(e Entry) bool { return e.Revision <= m.forgotten })
}

// Append writes p, unless a fault says otherwise.
func (m *Memory) Append(ctx context.Context, p Proposal) (Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(p.Expect) > MaxGuards || len(p.Writes) > MaxWrites {
		return 0, fmt.Errorf("%d guards and %d writes: %w", len(p.Expect), len(p.Writes), ErrRefused)
	}
	m.lock()
	defer m.mu.Unlock()
	m.land()
	switch m.draw() {
	case FaultConflict:
		return 0, &ConflictError{m.head}
	case FaultLostAnswer:
		m.write(p) //nolint:errcheck // that it is lost is the point
		return 0, ErrLost
	case FaultLostProposal:
		return 0, ErrLost
	case FaultLateProposal:
		after := 1
		if m.chance != nil {
			after += m.chance.IntN(4)
		}
		m.late = append(m.late, late{p, after})
		return 0, ErrLost
	}
	return m.write(p)
}

// land writes the late proposals whose time has come, if nothing has changed under them.
func (m *Memory) land() {
	under := m.late[:0]
	for _, l := range m.late {
		if l.after--; l.after > 0 {
			under = append(under, l)
		} else {
			m.write(l.p) //nolint:errcheck // nobody is there to be told
		}
	}
	m.late = under
}

func (m *Memory) draw() Fault {
	if len(m.script) > 0 {
		f := m.script[0]
		m.script = m.script[1:]
		return f
	}
	if m.chance == nil {
		return NoFault
	}
	dice := m.chance.Float64()
	for _, f := range []struct {
		fault Fault
		often float64
	}{
		{FaultConflict, m.faults.Conflict},
		{FaultLostAnswer, m.faults.LostAnswer},
		{FaultLostProposal, m.faults.LostProposal},
		{FaultLateProposal, m.faults.LateProposal},
	} {
		if dice -= f.often; dice < 0 {
			return f.fault
		}
	}
	return NoFault
}

func (m *Memory) write(p Proposal) (Revision, error) {
	for key, revision := range p.Expect {
		if m.current[key].Revision != revision {
			return 0, &ConflictError{m.head}
		}
	}
	m.head++
	entry := Entry{Kind: Committed, Revision: m.head, ID: p.ID}
	for _, w := range p.Writes {
		w.Value, w.Revision = slices.Clone(w.Value), m.head
		entry.Writes = append(entry.Writes, w)
		if w.Value == nil {
			delete(m.current, w.Key)
		} else {
			m.current[w.Key] = w
		}
	}
	m.entries = append(m.entries, entry)
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
	return m.head, nil
}

// Replay gives what is there, then waits for more. It waits in the caller's goroutine, and only after
// CaughtUp, so that a caller that stops there never waits.
func (m *Memory) Replay(ctx context.Context, after Revision) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for listed := after == 0; ; listed = false {
			entries, changed := m.from(after, listed)
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
				after = e.Revision
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(Entry{}, ctx.Err())
				return
			}
		}
	}
}

// from is what to yield next, up to CaughtUp, and what to wait for then.
func (m *Memory) from(after Revision, listed bool) ([]Entry, <-chan struct{}) {
	m.lock()
	defer m.mu.Unlock()
	var entries []Entry
	if listed || after < m.forgotten {
		page := Entry{Kind: Listed, Revision: m.head}
		for _, w := range m.current {
			page.Writes = append(page.Writes, w)
		}
		slices.SortFunc(page.Writes, func(a, b Write) int { return strings.Compare(a.Key, b.Key) })
		entries = append(entries, page)
	} else {
		entries = append(entries, m.entries[min(int(after-m.forgotten), len(m.entries)):]...)
	}
	entries = append(entries, Entry{Kind: CaughtUp, Revision: m.head})
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return entries, m.changed
}
