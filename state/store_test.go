package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
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

// put writes one record by a store of its own.
func put(t testing.TB, log Log, i item) {
	t.Helper()
	if err := openSync(t, log).Update(t.Context(), func(tx *Tx) error { items.Put(tx, i); return nil }); err != nil {
		t.Fatal(err)
	}
}

// A rival commits while the function runs, once. What was read by key is guarded, found or not; what was
// written is; a set is not.
func TestWhatATransactionGuards(t *testing.T) {
	for _, c := range []struct {
		name  string
		rival item
		read  func(*Tx)
		runs  int
	}{
		{"read and changed", item{ID: "a", N: 2}, func(tx *Tx) { items.Get(tx, "a") }, 2},
		{"found absent and created", item{ID: "new"}, func(tx *Tx) { items.Get(tx, "new") }, 2},
		{"written without reading", item{ID: "mine"}, func(*Tx) {}, 2},
		{"deleted without reading", item{ID: "a", N: 2}, func(tx *Tx) { items.Delete(tx, "a") }, 2},
		{"put as it was", item{ID: "a", N: 2}, func(tx *Tx) { items.Put(tx, item{ID: "a", N: 1, Colour: "red"}) }, 2},
		{"not looked at", item{ID: "a", N: 2}, func(*Tx) {}, 1},
		{"seen in a set", item{ID: "a", N: 2}, func(tx *Tx) {
			for range items.By(tx, "colour", "red") {
			}
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &Memory{}
			put(t, log, item{ID: "a", N: 1, Colour: "red"})
			s := openSync(t, log)
			runs := 0
			if err := s.Update(t.Context(), func(tx *Tx) error {
				if runs++; runs == 1 {
					put(t, log, c.rival)
				}
				c.read(tx)
				items.Put(tx, item{ID: "mine", N: runs})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if runs != c.runs {
				t.Errorf("the function ran %d times, want %d", runs, c.runs)
			}
		})
	}
}

func TestAPutThatChangesNothingIsNotWritten(t *testing.T) {
	log := &Memory{}
	i := item{ID: "a", N: 1, Tags: []string{"x"}}
	put(t, log, i)
	s := openSync(t, log)
	before := s.Revision()
	for _, f := range []func(tx *Tx){
		func(tx *Tx) { items.Put(tx, i) },
		func(tx *Tx) { items.Put(tx, item{ID: "a", N: 9}); items.Put(tx, i) },
		func(tx *Tx) { items.Delete(tx, "a"); items.Put(tx, i) },
		func(tx *Tx) { items.Put(tx, item{ID: "b"}); items.Delete(tx, "b") },
		func(tx *Tx) { items.Delete(tx, "none") },
	} {
		if err := s.Update(t.Context(), func(tx *Tx) error { f(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if s.Revision() != before {
		t.Errorf("%d commits", s.Revision()-before)
	}
}

func TestWhatIsOverALimitIsRefused(t *testing.T) {
	s := openSync(t, &Memory{})
	for name, f := range map[string]func(tx *Tx){
		"record": func(tx *Tx) { items.Put(tx, item{ID: "a", Colour: strings.Repeat("x", MaxRecordBytes)}) },
		"key":    func(tx *Tx) { items.Put(tx, item{ID: strings.Repeat("x", MaxKeyBytes)}) },
		"no key": func(tx *Tx) { items.Put(tx, item{}) },
		"zero":   func(tx *Tx) { items.Put(tx, item{ID: "a\x00b"}) },
		"writes": func(tx *Tx) { many(MaxWrites+1, func(id string) { items.Put(tx, item{ID: id}) }) },
		"guards": func(tx *Tx) { many(MaxGuards, func(id string) { items.Get(tx, id) }); items.Put(tx, item{ID: "a"}) },
		"commit": func(tx *Tx) {
			many(9, func(id string) { items.Put(tx, item{ID: id, Colour: strings.Repeat("x", MaxRecordBytes-100)}) })
		},
		"no JSON": func(tx *Tx) { odds.Put(tx, odd{"a", func() {}}) },
	} {
		err := s.Update(t.Context(), func(tx *Tx) error { f(tx); return nil })
		if name != "no JSON" && !errors.Is(err, ErrRefused) || err == nil {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if s.Revision() != 1 {
		t.Error("something was written")
	}
}

type odd struct {
	ID string
	F  func()
}

var odds = NewTable("test-odd", 1, func(o odd) string { return o.ID })

func many(n int, f func(id string)) {
	for i := range n {
		f(fmt.Sprint(i))
	}
}

// Watchers that start at any time, some slower than the history is long, see what the writers wrote, once
// and in order.
func TestWatchHasNoGapAndNoRepeat(t *testing.T) {
	const writers, each = 4, 100
	s, err := Open(t.Context(), &Memory{}, Config{History: 8})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				if err := s.Update(ctx, func(tx *Tx) error {
					i, _ := items.Get(tx, "sum")
					items.Put(tx, item{ID: "sum", N: i.N + 1})
					items.Put(tx, item{ID: fmt.Sprint(w), N: i.N})
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := range 4 {
		wg.Go(func() {
			sum, last := 0, Revision(0)
			for c := range s.Watch(ctx, Revision(n%2)) { // from before everything, and from the empty store
				if c.Revision <= last && !c.Whole {
					t.Errorf("revision %d after %d", c.Revision, last)
				}
				last = c.Revision
				for _, change := range c.Changes {
					if change.Key != "sum" {
						continue
					}
					if now := change.New.(item).N; now != sum+1 && !c.Whole {
						t.Errorf("%d after %d", now, sum)
					}
					sum = change.New.(item).N
				}
				if sum == writers*each {
					return
				}
			}
			t.Errorf("the watch ended at %d", sum)
		})
	}
	wg.Wait()
}

func TestAStoreEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Open(ctx, &Memory{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	for range s.Watch(t.Context(), s.Revision()) {
		t.Error("a commit")
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { items.Put(tx, item{ID: "a"}); return nil }); err == nil {
		t.Error("an Update that nobody will ever see")
	}
}
