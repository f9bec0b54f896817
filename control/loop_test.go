package control

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"havn/state"
)

// visits is a controller that writes down when it looked at which cluster.
type visits struct {
	keys []string
	at   []time.Time
	then func(tx *state.Tx, key string, now time.Time) (time.Duration, error)
}

func (v *visits) controller() Controller {
	return Controller{
		Name: "visits",
		Concerns: func(c state.Change) []string {
			if c.Table == state.Clusters.Name() {
				return []string{c.Key}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			v.keys, v.at = append(v.keys, key), append(v.at, now)
			if v.then == nil {
				return 0, nil
			}
			return v.then(tx, key, now)
		},
	}
}

func (w *world) putCluster(name, status string) {
	w.t.Helper()
	w.update(func(tx *state.Tx) { state.Clusters.Put(tx, state.Cluster{ARN: name, Name: name, Status: status}) })
}

func TestEachKeyIsLookedAtOnceHoweverOftenItChanged(t *testing.T) {
	v := &visits{}
	w := newWorld(t, v.controller())
	for range 3 {
		for _, name := range []string{"a", "b", "c"} {
			w.putCluster(name, "ACTIVE")
			w.putCluster(name, "INACTIVE")
		}
	}
	w.settle()
	if want := []string{"a", "b", "c"}; !slices.Equal(v.keys, want) {
		t.Errorf("looked at %v, want %v", v.keys, want)
	}
	w.putCluster("b", "ACTIVE")
	w.settle()
	if want := []string{"a", "b", "c", "b"}; !slices.Equal(v.keys, want) {
		t.Errorf("looked at %v, want %v", v.keys, want)
	}
}

func TestAllKeysAreOfferedNowAndThen(t *testing.T) {
	v := &visits{}
	w := newWorld(t, v.controller())
	names := map[string]bool{}
	for n := range 50 {
		names[fmt.Sprint(n)] = true
		w.putCluster(fmt.Sprint(n), "ACTIVE")
	}
	w.settle()
	if len(v.keys) != len(names) {
		t.Fatalf("at the start it looked at %d of %d", len(v.keys), len(names))
	}
	w.pass(offerInterval - 1)
	if len(v.keys) != len(names) {
		t.Fatalf("it looked again, too early, at %v", v.keys[len(names):])
	}
	w.pass(offerInterval + 1)
	again := v.keys[len(names):]
	if len(again) != len(names) || len(slices.Compact(slices.Sorted(slices.Values(again)))) != len(names) {
		t.Errorf("offered again were %v", again)
	}
	if times := slices.CompactFunc(slices.Clone(v.at[len(names):]), time.Time.Equal); len(times) < len(names)/2 {
		t.Errorf("they came all at once: at %d different times", len(times))
	}
}

func TestAFailureIsTriedAgainEverLater(t *testing.T) {
	v := &visits{}
	failing := true
	v.then = func(_ *state.Tx, key string, _ time.Time) (time.Duration, error) {
		if failing && key == "bad" {
			return 0, errors.New("no")
		}
		return 0, nil
	}
	w := newWorld(t, v.controller())
	w.putCluster("bad", "ACTIVE")
	w.putCluster("good", "ACTIVE")
	w.pass(5 * time.Minute)
	if !slices.Contains(v.keys, "good") {
		t.Error("a key that fails stands in the way of another")
	}
	var gaps []time.Duration
	var before time.Time
	for n, key := range v.keys {
		if key == "bad" {
			if !before.IsZero() {
				gaps = append(gaps, v.at[n].Sub(before))
			}
			before = v.at[n]
		}
	}
	if len(gaps) < 8 || len(gaps) > 20 {
		t.Fatalf("tried again after %v", gaps)
	}
	for n, gap := range gaps {
		if full := min(minBackoff<<n, maxBackoff); gap < full/2 || gap >= full {
			t.Errorf("try %d came after %s, want %s to %s", n+2, gap, full/2, full)
		}
	}
	failing = false
	w.putCluster("bad", "INACTIVE") // a change is looked at without waiting
	tries := len(v.keys)
	w.settle()
	if len(v.keys) != tries+1 {
		t.Errorf("after a change, %d tries", len(v.keys)-tries)
	}
}

func TestAPanicIsLoggedWithItsKey(t *testing.T) {
	v := &visits{then: func(tx *state.Tx, key string, _ time.Time) (time.Duration, error) {
		state.Clusters.Delete(tx, key)
		if len(key) > 3 {
			panic("too long")
		}
		return 0, nil
	}}
	w := newWorld(t, v.controller())
	var log bytes.Buffer
	w.loop.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	w.putCluster("long-name", "ACTIVE")
	w.putCluster("abc", "ACTIVE")
	w.settle()
	if got := log.String(); !strings.Contains(got, "key=long-name") || !strings.Contains(got, "too long") || !strings.Contains(got, "controller=visits") {
		t.Errorf("logged %q", got)
	}
	w.store.View(func(r *state.Reader) {
		if _, ok := state.Clusters.Get(r, "long-name"); !ok {
			t.Error("what panicked was written")
		}
		if _, ok := state.Clusters.Get(r, "abc"); ok {
			t.Error("after a panic, others are not looked at")
		}
	})
}

func TestAConflictIsDecidedAgain(t *testing.T) {
	log := &state.Memory{}
	store, err := state.Open(context.Background(), log, state.Config{Synchronous: true})
	if err != nil {
		t.Fatal(err)
	}
	v := &visits{then: func(tx *state.Tx, key string, _ time.Time) (time.Duration, error) {
		c, _ := state.Clusters.Get(tx, key)
		c.Status = "SEEN"
		state.Clusters.Put(tx, c)
		return 0, nil
	}}
	w := &world{t: t, store: store, now: epoch,
		loop: NewLoop(Config{Store: store, Controllers: []Controller{v.controller()}, Log: slog.New(slog.DiscardHandler)})}
	w.putCluster("a", "ACTIVE")
	log.Script(state.FaultConflict, state.FaultConflict)
	w.loop.Step(context.Background(), w.now)
	store.View(func(r *state.Reader) {
		if c, _ := state.Clusters.Get(r, "a"); c.Status != "SEEN" || len(v.keys) != 3 {
			t.Errorf("after %d looks it is %s", len(v.keys), c.Status)
		}
	})
}

func TestRunWaitsForACommitOrATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store, err := state.Open(ctx, &state.Memory{})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var seen []string
		v := &visits{then: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			seen = append(seen, fmt.Sprintf("%s at %s", key, now.Sub(begun)))
			if key == "clock" && now.Sub(begun) < 3*time.Minute {
				return time.Minute, nil
			}
			return 0, nil
		}}
		loop := NewLoop(Config{Store: store, Controllers: []Controller{v.controller()}})
		done := make(chan error, 1)
		go func() { done <- loop.Run(ctx) }()

		w := &world{t: &testing.T{}, store: store}
		w.putCluster("clock", "ACTIVE")
		synctest.Wait()
		time.Sleep(90 * time.Second)
		w.putCluster("bell", "ACTIVE")
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []string{"clock at 0s", "clock at 1m0s", "bell at 1m30s", "clock at 2m0s", "clock at 3m0s"}
		if !slices.Equal(seen, want) {
			t.Errorf("saw %v, want %v", seen, want)
		}
		store.Wait() //nolint:errcheck // it says that ctx has ended
	})
}

// TestQueue compares the queue with one that is a list.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type item struct {
			id     entryID
			due    time.Time
			number int
		}
		var list []item
		q := newQueue()
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				id := entryID{rapid.IntRange(0, 1).Draw(t, "controller"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")}
				due := epoch.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "due")))
				q.offer(id.controller, id.key, due)
				number++
				at := slices.IndexFunc(list, func(i item) bool { return i.id == id })
				switch {
				case at < 0:
					list = append(list, item{id, due, number})
				case due.Before(list[at].due):
					list[at] = item{id, due, number}
				}
			},
			"pop": func(t *rapid.T) {
				now := epoch.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "now")))
				slices.SortFunc(list, func(a, b item) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.number, b.number)) })
				got := q.pop(now)
				if len(list) == 0 || list[0].due.After(now) {
					if got != nil {
						t.Fatalf("popped %v, want nothing", got)
					}
					return
				}
				if got == nil || got.entryID != list[0].id {
					t.Fatalf("popped %v, want %v", got, list[0])
				}
				list = list[1:]
			},
			"": func(t *rapid.T) {
				due, ok := q.next()
				if ok != (len(list) > 0) || len(q.entries) != len(list) {
					t.Fatalf("it holds %d, want %d", len(q.entries), len(list))
				}
				if ok && !due.Equal(slices.MinFunc(list, func(a, b item) int { return a.due.Compare(b.due) }).due) {
					t.Fatalf("the next is due at %s", due)
				}
			},
		})
	})
}

// Run looks at several keys at a time, so that none waits for another; at one key one at a time, and once more if it
// changed meanwhile.
func TestKeysDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store, err := state.Open(ctx, &state.Memory{})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		inside := map[string]int{}
		looks := map[string]int{}
		slow := make(chan struct{})
		controller := Controller{Name: "slow",
			Concerns: func(c state.Change) []string { return []string{c.Key} },
			Reconcile: func(_ *state.Tx, key string, _ time.Time) (time.Duration, error) {
				mu.Lock()
				looks[key]++
				if inside[key]++; inside[key] > 1 {
					t.Errorf("%s is looked at by two", key)
				}
				mu.Unlock()
				if key == "slow" {
					<-slow
				}
				mu.Lock()
				inside[key]--
				mu.Unlock()
				return 0, nil
			}}
		loop := NewLoop(Config{Store: store, Controllers: []Controller{controller}})
		done := make(chan error, 1)
		go func() { done <- loop.Run(ctx) }()
		w := &world{t: &testing.T{}, store: store}
		w.putCluster("slow", "ACTIVE")
		synctest.Wait()
		for n := range 20 {
			w.putCluster(fmt.Sprint(n), "ACTIVE")
		}
		w.putCluster("slow", "INACTIVE")
		w.putCluster("slow", "ACTIVE")
		synctest.Wait()
		mu.Lock()
		if len(looks) != 21 || looks["slow"] != 1 {
			t.Errorf("while one is looked at: %v", looks)
		}
		mu.Unlock()
		close(slow)
		synctest.Wait()
		mu.Lock()
		if looks["slow"] != 2 {
			t.Errorf("it changed while it was looked at, and was looked at %d times", looks["slow"])
		}
		mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		store.Wait() //nolint:errcheck // it says that ctx has ended
	})
}
