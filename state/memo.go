package state

import (
	"maps"
	"slices"
	"strings"
)

// Memo is something that a package works out from many records and keeps beside a store, because a transaction could not
// afford to work it out anew. It is knowledge, never a fact: what it says must follow from the records alone, so that a
// store that was opened just now gives the same answers. A decision that rests on it still reads by key what it
// rests on: then a memo that is behind, or ahead, costs another run and nothing else.
//
//	memo at revision p --- Tx.Since(p) ---> what the transaction found --- Tx.Changes ---> what it sees
type Memo[M any] struct {
	id   *memoID
	make func() M
}

type memoID struct{ _ byte } // not empty: each has an address of its own

// NewMemo declares a memo. Each store has one of its own, which begins as what make returns; transactions of many
// goroutines use it at the same time.
func NewMemo[M any](make func() M) Memo[M] { return Memo[M]{&memoID{}, make} }

// Of is the memo of the transaction's store.
func (m Memo[M]) Of(tx *Tx) M {
	kept, ok := tx.store.memos.Load(m.id)
	if !ok {
		kept, _ = tx.store.memos.LoadOrStore(m.id, m.make())
	}
	return kept.(M)
}

// AfterRun has f called when this run of the transaction is over, whatever became of it. If it was committed, View
// shows that by then. For memos alone: a transaction's function has no effect but its writes.
func (tx *Tx) AfterRun(f func()) { tx.ended = append(tx.ended, f) }

func (tx *Tx) end() {
	for _, f := range tx.ended {
		f()
	}
}

// Found is what the transaction found, without its own writes. Nothing that is read there is guarded.
func (tx *Tx) Found() *Reader { return &Reader{tx.base} }

// Since is every commit after a revision, up to what the transaction found; false if they are no longer kept.
func (tx *Tx) Since(after Revision) ([]Commit, bool) {
	if after >= tx.base.revision {
		return nil, true
	}
	s := tx.store
	s.mu.Lock()
	defer s.mu.Unlock()
	l, kept := s.history.after(after)
	if !kept {
		return nil, false
	}
	var commits []Commit
	for ; l != s.history.last && l.commit.Revision <= tx.base.revision; l = l.next {
		commits = append(commits, l.commit)
	}
	return commits, true
}

// Changes are the transaction's own writes so far, by table and key.
func (tx *Tx) Changes() []Change {
	var commit Commit
	for _, path := range slices.Sorted(maps.Keys(tx.writes)) {
		table, key, _ := strings.Cut(path, "/")
		for _, s := range tx.store.schemas {
			if s.name == table {
				own := tx.own.get(s, key)
				if own == nil {
					own = &row{key: key}
				}
				commit.note(s, key, tx.base.get(s, key), own)
			}
		}
	}
	return commit.Changes
}
