package statetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"

	"havn/state"
)

// counter is a record for converge: every increment must count.
type counter struct {
	Name  string
	N     int
	Shard string
}

var counters = state.NewTable("statetest-counter", 1, func(c counter) string { return c.Name },
	state.Index[counter]{Name: "shard", Values: func(c counter) []string { return []string{c.Shard} }})

// converge lets three stores move units between counters at the same time. The sum must stay, and in the
// end all must show the same, which a fourth that comes late must see too.
func converge(f *fixture) {
	const names, start, writers, each = 6, 100, 3, 40
	var stores []*state.Store
	for range 3 {
		stores = append(stores, open(f))
	}
	if err := stores[0].Update(f.ctx, func(tx *state.Tx) error {
		for n := range names {
			counters.Put(tx, counter{Name: fmt.Sprint(n), N: start, Shard: "s0"})
		}
		return nil
	}); err != nil {
		f.Fatal(err)
	}

	for _, s := range stores {
		reach(f, s, stores[0].Revision())
	}

	var wg sync.WaitGroup
	for i, s := range stores {
		for w := range writers {
			wg.Go(func() {
				chance := rand.New(rand.NewPCG(uint64(i), uint64(w)))
				for range each {
					from, to := fmt.Sprint(chance.IntN(names)), fmt.Sprint(chance.IntN(names))
					shard := fmt.Sprint("s", chance.IntN(3))
					if err := s.Update(f.ctx, func(tx *state.Tx) error { return move(tx, from, to, shard) }); err != nil {
						f.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()

	last := slices.Max([]state.Revision{stores[0].Revision(), stores[1].Revision(), stores[2].Revision()})
	stores = append(stores, open(f))
	var want []counter
	for i, s := range stores {
		reach(f, s, last)
		s.View(func(r *state.Reader) {
			got := slices.Collect(counters.All(r))
			if want == nil {
				want = got
			}
			if !reflect.DeepEqual(got, want) {
				f.Errorf("store %d has\n%v, and the first\n%v", i, got, want)
			}
			sum, indexed := 0, 0
			for _, c := range got {
				sum += c.N
			}
			for shard := range 3 {
				indexed += counters.CountBy(r, "shard", fmt.Sprint("s", shard))
			}
			if sum != names*start || indexed != names {
				f.Errorf("store %d: sum %d, want %d; %d in the index, want %d", i, sum, names*start, indexed, names)
			}
		})
	}
}

// reach waits until a store shows a revision.
func reach(f *fixture, s *state.Store, revision state.Revision) {
	f.Helper()
	seen := s.Revision() // once: what comes between two looks would be waited for in vain
	if seen >= revision {
		return
	}
	for c := range s.Watch(f.ctx, seen) {
		if c.Revision >= revision {
			return
		}
	}
	f.Fatalf("store is at %d and never reached %d", s.Revision(), revision)
}

func open(f *fixture) *state.Store {
	f.Helper()
	s, err := state.Open(f.ctx, f.log)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

func move(tx *state.Tx, from, to, shard string) error {
	a, ok := counters.Get(tx, from)
	if !ok {
		return fmt.Errorf("counter %s is gone", from)
	}
	a.N--
	a.Shard = shard
	counters.Put(tx, a)
	b, ok := counters.Get(tx, to)
	if !ok {
		return fmt.Errorf("counter %s is gone", to)
	}
	b.N++
	counters.Put(tx, b)
	return nil
}
