package sim

import (
	"flag"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seeds = flag.Uint64("seeds", 1000, "how many seeds TestSeeds runs")
	first = flag.Uint64("first", 1, "the first of them")
	seed  = flag.Uint64("seed", 0, "run this one seed, with a transcript")
)

// TestSeeds lives through worlds in which much goes wrong, and sees every promise kept in each.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		stats, failure := Run(Options{Seed: *seed, Trace: true})
		if failure != nil {
			t.Fatalf("%s\n%v", failure.Transcript, failure)
		}
		t.Logf("%+v", stats)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // much is made, and little is kept
	var next, failed atomic.Uint64
	next.Store(*first)
	var mu sync.Mutex
	var total Stats
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() < 5 {
				n := next.Add(1) - 1
				if n >= *first+*seeds {
					return
				}
				stats, failure := Run(Options{Seed: n})
				if failure != nil {
					failed.Add(1)
					t.Errorf("%v\n%s", failure, failure.Rerun())
				}
				mu.Lock()
				total.add(stats)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds: %+v", next.Load()-*first, total)
}
