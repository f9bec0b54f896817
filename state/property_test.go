package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// twin is the dumb store: a map, and a scan for every question.
type twin map[string]item

func (w twin) all(keep func(item) bool) []item {
	var list []item
	for _, id := range slices.Sorted(maps.Keys(w)) {
		if keep(w[id]) {
			list = append(list, w[id])
		}
	}
	return list
}

var (
	ids     = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g/h", "z"})
	colours = rapid.SampledFrom([]string{"", "red", "redder", "blue"})
	drawn   = rapid.Custom(func(t *rapid.T) item {
		return item{
			ID:     ids.Draw(t, "id"),
			Colour: colours.Draw(t, "colour"),
			Tags:   rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "xy"}), 1, 3).Draw(t, "tags"),
			N:      rapid.IntRange(0, 3).Draw(t, "n"),
		}
	})
)

// same compares a source with the twin, by every way of reading.
func same(t *rapid.T, src Source, want twin) {
	expect := func(what string, got, want []item) {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
	}
	everything := want.all(func(item) bool { return true })
	expect("all", slices.Collect(items.All(src)), everything)
	if n := items.Count(src); n != len(want) {
		t.Fatalf("count %d, want %d", n, len(want))
	}
	for _, colour := range []string{"", "red", "redder", "blue", "none"} {
		expect("colour "+colour, slices.Collect(items.By(src, "colour", colour)), want.all(func(i item) bool { return i.Colour == colour }))
	}
	for _, tag := range []string{"x", "y", "xy", ""} {
		tagged := want.all(func(i item) bool { return slices.Contains(i.Tags, tag) })
		expect("tag "+tag, slices.Collect(items.By(src, "tag", tag)), tagged)
		if n := items.CountBy(src, "tag", tag); n != len(tagged) {
			t.Fatalf("count by tag %q is %d, want %d", tag, n, len(tagged))
		}
	}
}

// A store that is asked in every way says what a map would, within transactions and after them, whatever
// goes wrong in the log, and however many stores write; readers of the past see the past.
func TestAStoreIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		log := &Memory{}
		log.SetFaults(Faults{
			Seed:         rapid.Uint64().Draw(t, "seed"),
			Conflict:     rapid.Float64Range(0, 0.2).Draw(t, "conflict"),
			LostAnswer:   rapid.Float64Range(0, 0.2).Draw(t, "lost answer"),
			LostProposal: rapid.Float64Range(0, 0.2).Draw(t, "lost proposal"),
			LateProposal: rapid.Float64Range(0, 0.2).Draw(t, "late proposal"),
		})
		stores := make([]*Store, 3)
		var want twin = map[string]item{}
		type past struct {
			image *image
			want  twin
		}
		var pasts []past
		for i := range stores {
			var err error
			if stores[i], err = Open(ctx, log, Config{Synchronous: true, History: 5}); err != nil {
				t.Fatal(err)
			}
		}
		refusal := errors.New("the function changed its mind")

		t.Repeat(map[string]func(*rapid.T){
			"update": func(t *rapid.T) {
				s := stores[rapid.IntRange(0, 2).Draw(t, "store")]
				writes := rapid.SliceOfN(drawn, 0, 4).Draw(t, "writes")
				deletes := rapid.SliceOfN(ids, 0, 2).Draw(t, "deletes")
				refuse := rapid.Bool().Draw(t, "refuse") && rapid.Bool().Draw(t, "really")
				var next twin
				err := s.Update(ctx, func(tx *Tx) error {
					// What it depends on it reads by key, so that it must run on the truth.
					for _, id := range deletes {
						items.Get(tx, id)
					}
					next = maps.Clone(want)
					for _, i := range writes {
						old, _ := items.Get(tx, i.ID)
						i.N += old.N // an update that is lost or done twice shows
						items.Put(tx, i)
						i.N = i.N - old.N + next[i.ID].N
						next[i.ID] = i
					}
					for _, id := range deletes {
						items.Delete(tx, id)
						delete(next, id)
					}
					if refuse {
						return refusal
					}
					return nil
				})
				if refuse {
					if !errors.Is(err, refusal) {
						t.Fatalf("Update: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatalf("Update: %v", err)
				}
				if len(writes)+len(deletes) > 0 {
					want = next
				}
			},
			"sync": func(t *rapid.T) {
				s := stores[rapid.IntRange(0, 2).Draw(t, "store")]
				if err := s.Sync(ctx); err != nil {
					t.Fatal(err)
				}
				s.View(func(r *Reader) { pasts = append(pasts, past{r.img, maps.Clone(want)}) })
			},
			"compact": func(t *rapid.T) { log.Compact(log.head - Revision(rapid.IntRange(0, 3).Draw(t, "keep"))) },
			"": func(t *rapid.T) {
				for i, s := range stores {
					if err := s.Sync(ctx); err != nil {
						t.Fatal(err)
					}
					s.View(func(r *Reader) { same(t, r, want) })
					if i > 0 && !reflect.DeepEqual(s.image.Load().revision, stores[0].image.Load().revision) {
						t.Fatal("stores are at different revisions")
					}
				}
				for _, p := range pasts {
					same(t, &Reader{p.image}, p.want)
				}
			},
		})
	})
}

// Within a transaction, a Tx and a map agree after every step.
func TestATransactionIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := Open(context.Background(), &Memory{}, Config{Synchronous: true})
		if err != nil {
			t.Fatal(err)
		}
		var want twin = map[string]item{}
		for range rapid.IntRange(1, 3).Draw(t, "transactions") {
			if err := s.Update(context.Background(), func(tx *Tx) error {
				for range rapid.IntRange(0, 10).Draw(t, "steps") {
					if rapid.Bool().Draw(t, "put") {
						i := drawn.Draw(t, "item")
						items.Put(tx, i)
						want[i.ID] = i
					} else {
						id := ids.Draw(t, "id")
						items.Delete(tx, id)
						delete(want, id)
					}
					same(t, tx, want)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			s.View(func(r *Reader) { same(t, r, want) })
		}
	})
}

// Whoever follows the commits from any revision arrives at what View shows.
func TestCommitsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		log := &Memory{}
		writer, err := Open(ctx, log, Config{Synchronous: true, History: 8})
		if err != nil {
			t.Fatal(err)
		}
		reader, err := Open(ctx, log, Config{Synchronous: true, History: 8})
		if err != nil {
			t.Fatal(err)
		}
		copies := map[*Store]twin{writer: {}, reader: {}}
		seen := map[*Store]Revision{writer: 0, reader: 0}
		follow := func(s *Store) {
			for _, c := range s.Since(seen[s]) {
				if c.Revision < seen[s] {
					t.Fatalf("revision %d after %d", c.Revision, seen[s])
				}
				if c.Whole {
					copies[s] = twin{}
				}
				for _, change := range c.Changes {
					if old, ok := copies[s][change.Key]; !c.Whole && (ok != (change.Old != nil) || ok && !reflect.DeepEqual(old, change.Old)) {
						t.Fatalf("%s was %v, and the commit says %v", change.Key, old, change.Old)
					}
					if change.New == nil {
						delete(copies[s], change.Key)
					} else {
						copies[s][change.Key] = change.New.(item)
					}
				}
				seen[s] = c.Revision
			}
			s.View(func(r *Reader) { same(t, r, copies[s]) })
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				i := drawn.Draw(t, "item")
				if err := writer.Update(ctx, func(tx *Tx) error {
					if i.N == 0 {
						items.Delete(tx, i.ID)
					} else {
						items.Put(tx, i)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			},
			"compact": func(*rapid.T) { log.Compact(log.head) },
			"sync": func(t *rapid.T) {
				if err := reader.Sync(ctx); err != nil {
					t.Fatal(err)
				}
			},
			"follow writer": func(*rapid.T) { follow(writer) },
			"follow reader": func(*rapid.T) { follow(reader) },
		})
		follow(writer)
		follow(reader)
	})
}

// Every way in which an answer can be lost ends in the truth, and in one thread.
func TestALostAnswerIsSettled(t *testing.T) {
	faults := []Fault{NoFault, FaultConflict, FaultLostAnswer, FaultLostProposal, FaultLateProposal}
	for _, first := range faults {
		for _, second := range faults {
			for _, third := range faults {
				t.Run(fmt.Sprint(first, second, third), func(t *testing.T) {
					log := &Memory{}
					s := openSync(t, log)
					log.Script(first, second, third)
					for n := range 3 {
						if err := s.Update(t.Context(), func(tx *Tx) error {
							i, _ := items.Get(tx, "a")
							items.Put(tx, item{ID: "a", N: i.N + 1})
							return nil
						}); err != nil {
							t.Fatal(err)
						}
						s.View(func(r *Reader) {
							if i, _ := items.Get(r, "a"); i.N != n+1 {
								t.Fatalf("after %d updates it is %d", n+1, i.N)
							}
						})
					}
				})
			}
		}
	}
}

func TestWhatCannotBeSettledIsSaid(t *testing.T) {
	log := &Memory{}
	s := openSync(t, log)
	log.SetFaults(Faults{LostProposal: 1})
	err := s.Update(t.Context(), func(tx *Tx) error { items.Put(tx, item{ID: "a"}); return nil })
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrLost) {
		t.Errorf("Update: %v", err)
	}
	log.SetFaults(Faults{Conflict: 1})
	err = s.Update(t.Context(), func(tx *Tx) error { items.Put(tx, item{ID: "b"}); return nil })
	if !errors.Is(err, ErrContended) {
		t.Errorf("Update: %v", err)
	}
}
