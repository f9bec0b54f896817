package state

import (
	"fmt"
	"testing"
)

// A memo that takes in what a transaction gives it, from one commit to the next and its own writes on top, knows what
// the state knows; when it is told that commits are no longer kept, it starts over.
func TestAMemoCanFollowTheState(t *testing.T) {
	type colours struct {
		at Revision
		of map[string]string
	}
	memo := NewMemo(func() *colours { return &colours{of: map[string]string{}} })
	s, err := Open(t.Context(), &Memory{}, Config{Synchronous: true, History: 3})
	if err != nil {
		t.Fatal(err)
	}
	write := func(f func(tx *Tx)) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx *Tx) error { f(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	look := func(tx *Tx) (followed bool) {
		m := memo.Of(tx)
		commits, kept := tx.Since(m.at)
		if !kept {
			m.of = map[string]string{}
			for i := range items.All(tx.Found()) {
				m.of[i.ID] = i.Colour
			}
		}
		for _, commit := range commits {
			for _, change := range commit.Changes {
				delete(m.of, change.Key)
				if i, ok := change.New.(item); ok {
					m.of[i.ID] = i.Colour
				}
			}
		}
		m.at = tx.Revision()
		want := map[string]string{}
		for i := range items.All(tx.Found()) {
			want[i.ID] = i.Colour
		}
		if fmt.Sprint(m.of) != fmt.Sprint(want) {
			t.Fatalf("it knows %v, and there is %v", m.of, want)
		}
		return kept
	}
	write(func(tx *Tx) { items.Put(tx, item{ID: "a", Colour: "red"}); items.Put(tx, item{ID: "b", Colour: "red"}) })
	write(func(tx *Tx) { look(tx) })
	write(func(tx *Tx) { items.Delete(tx, "b") })
	write(func(tx *Tx) {
		items.Put(tx, item{ID: "a", Colour: "blue"})
		items.Put(tx, item{ID: "c", Colour: "green"})
		items.Delete(tx, "c")
		if !look(tx) {
			t.Error("one commit was no longer kept")
		}
		var own []string
		for _, change := range tx.Changes() {
			own = append(own, fmt.Sprintf("%s %v -> %v", change.Key, change.Old.(item).Colour, change.New.(item).Colour))
		}
		if fmt.Sprint(own) != "[a red -> blue]" {
			t.Errorf("its own changes are %v", own)
		}
	})
	for n := range 5 {
		write(func(tx *Tx) { items.Put(tx, item{ID: fmt.Sprint(n), Colour: "red"}) })
	}
	write(func(tx *Tx) {
		if look(tx) {
			t.Error("five commits were kept, and the limit is three")
		}
	})
}
