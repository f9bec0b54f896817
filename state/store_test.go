package state

import (
	"errors"
	"slices"
	"testing"
)

// item is a record for tests.
type item struct {
	ID     string
	Colour string
	Tags   []string `json:",omitempty"`
	N      int
	Ptr    *string
}

var items = NewTable("test-item", 1, func(i item) string { return i.ID },
	Index[item]{"colour", func(i item) []string { return []string{i.Colour} }},
	Index[item]{"tag", func(i item) []string { return i.Tags }})

func openSync(t testing.TB, log Log) *Store {
	t.Helper()
	s, err := Open(t.Context(), log, Config{Synchronous: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUpdateIsVisibleWhenItReturns(t *testing.T) {
	for _, synchronous := range []bool{true, false} {
		s, err := Open(t.Context(), &Memory{}, Config{Synchronous: synchronous})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			if err := s.Update(t.Context(), func(tx *Tx) error {
				i, _ := items.Get(tx, "a")
				if i.N != n {
					t.Fatalf("update %d sees %d", n, i.N)
				}
				i.ID, i.N = "a", n+1
				items.Put(tx, i)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			s.View(func(r *Reader) {
				if i, _ := items.Get(r, "a"); i.N != n+1 {
					t.Fatalf("view after update %d sees %d", n, i.N)
				}
			})
		}
		if n := len(s.Since(1)); n != 100 {
			t.Errorf("Since(1) has %d commits, want 100", n)
		}
	}
}

func TestATransactionSeesItsOwnWrites(t *testing.T) {
	s := openSync(t, &Memory{})
	refuse := errors.New("no")
	err := s.Update(t.Context(), func(tx *Tx) error {
		items.Put(tx, item{ID: "b", Colour: "red"})
		items.Put(tx, item{ID: "a", Colour: "red", Tags: []string{"x", "y"}})
		items.Put(tx, item{ID: "c", Colour: "blue"})
		items.Delete(tx, "c")
		var ids []string
		for i := range items.By(tx, "colour", "red") {
			ids = append(ids, i.ID)
		}
		if !slices.Equal(ids, []string{"a", "b"}) || items.Count(tx) != 2 || items.CountBy(tx, "tag", "y") != 1 {
			t.Errorf("red: %v, count %d", ids, items.Count(tx))
		}
		return refuse
	})
	if !errors.Is(err, refuse) {
		t.Errorf("Update = %v", err)
	}
	s.View(func(r *Reader) {
		if items.Count(r) != 0 {
			t.Error("a refused transaction left something behind")
		}
	})
}
