package placement

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"havn/lifecycle"
	"havn/schedule"
	"havn/state"
)

// asked are asks of different kinds, of one transaction.
func asked(t *rapid.T, w *world) []schedule.Ask {
	strategies := rapid.SampledFrom([][]schedule.Strategy{
		nil, {{Type: schedule.Binpack, Field: "memory"}}, {{Type: schedule.Spread, Field: "instanceId"}}, {{Type: schedule.Random}},
	}).Draw(t, "strategies")
	var wanted []schedule.Ask
	for range rapid.IntRange(1, 4).Draw(t, "asks") {
		w.ids++
		wanted = append(wanted, schedule.Ask{ID: fmt.Sprintf("%06d", w.ids), Group: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"),
			Memory: rapid.IntRange(1, 40).Draw(t, "memory"), Strategies: strategies, Seed: uint64(w.ids)})
	}
	return wanted
}

// The dumb twin of a prepared cluster is the state itself: whatever happened, before the transaction and in it, both
// lead to the same decisions.
func TestAPreparedClusterDecidesAsTheStateDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		clusters := []string{"c", "d"}
		nodes := []string{"n1", "n2", "n3", "n4"}
		some := func(tx *state.Tx) {
			node := rapid.SampledFrom(nodes).Draw(t, "node")
			arn := rapid.SampledFrom(clusters).Draw(t, "cluster") + "/" + node
			n, known := state.Nodes.Get(tx, node)
			i, _ := state.Instances.Get(tx, arn)
			var tasks []state.Task
			for task := range state.Tasks.By(tx, "unstopped on instance", arn) {
				tasks = append(tasks, task)
			}
			switch rapid.SampledFrom([]string{"register", "register", "connect", "drain", "forget", "forget node", "run", "stop", "place"}).Draw(t, "event") {
			case "register":
				n.ID, n.Connected = node, true
				n.Total = state.Resources{CPU: 100, Memory: rapid.Int64Range(50, 100).Draw(t, "total")}
				state.Nodes.Put(tx, Recount(tx, n))
				state.Instances.Put(tx, state.Instance{ARN: arn, ClusterARN: arn[:1], NodeID: node, Status: "ACTIVE"})
			case "connect":
				if known {
					n.Connected = !n.Connected
					state.Nodes.Put(tx, n)
				}
			case "drain":
				if i.ARN != "" {
					i.Status = rapid.SampledFrom([]string{"ACTIVE", "DRAINING", "INACTIVE"}).Draw(t, "status")
					state.Instances.Put(tx, i)
				}
			case "forget":
				state.Instances.Delete(tx, arn)
			case "forget node":
				state.Nodes.Delete(tx, node)
			case "run":
				for _, task := range tasks {
					task.Last = lifecycle.Running
					state.Tasks.Put(tx, task)
				}
			case "stop":
				for _, task := range tasks[:min(1, len(tasks))] {
					task.Desired = lifecycle.Stopped
					if rapid.Bool().Draw(t, "for good") {
						task.Last = lifecycle.Stopped
						task = Release(tx, task)
					}
					state.Tasks.Put(tx, task)
				}
			case "place":
				w.ids++
				task := ask(fmt.Sprintf("%06d", w.ids), state.Resources{Memory: rapid.Int64Range(1, 40).Draw(t, "takes")})
				task.Task.ClusterARN = arn[:1]
				Place(tx, arn[:1], 1, []Ask{task})
			}
		}
		look := func(tx *state.Tx) {
			arn := rapid.SampledFrom(clusters).Draw(t, "looked at")
			wanted := asked(t, w)
			c := prepared.Of(tx).use(arn)
			c.catchUp(tx)
			got, want := c.decide(tx, wanted), decide(schedule.NewCluster(describeAll(tx, arn)), wanted)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("decided %+v\nnot     %+v", got, want)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "transactions") {
			w.update(t, func(tx *state.Tx) {
				for range rapid.IntRange(0, 3).Draw(t, "events") {
					some(tx)
					if rapid.Bool().Draw(t, "look in between") {
						look(tx)
					}
				}
				look(tx)
			})
		}
	})
}

// A transaction that began before others have prepared the cluster further decides on what it does not see yet. Then
// it meets what it does not see, and is decided again: nothing is placed twice, or nowhere.
func TestATransactionThatIsBehindIsDecidedAgain(t *testing.T) {
	for _, change := range []string{"taken", "new"} {
		t.Run(change, func(t *testing.T) {
			w := newWorld(t)
			w.register(t, "n1", state.Resources{Memory: 10}, "c")
			if change == "taken" {
				w.register(t, "n2", state.Resources{Memory: 20}, "c")
			}
			runs := 0
			w.update(t, func(tx *state.Tx) {
				if runs++; runs == 1 {
					if change == "taken" {
						w.update(t, func(tx *state.Tx) { Place(tx, "c", 1, []Ask{ask("first", state.Resources{Memory: 15})}) })
					} else {
						w.register(t, "n2", state.Resources{Memory: 20}, "c")
					}
					// Someone looks: the cluster is prepared up to there.
					w.update(t, func(tx *state.Tx) { Place(tx, "c", 1, nil) })
				}
				Place(tx, "c", 1, []Ask{ask("second", state.Resources{Memory: 8}), ask("third", state.Resources{Memory: 8})})
			})
			w.store.View(func(r *state.Reader) {
				for n := range state.Nodes.All(r) {
					if left := expected(r, n); n.Remaining.Memory != left.Memory || left.Memory < 0 {
						t.Errorf("%s has %d left, not %d", n.ID, n.Remaining.Memory, left.Memory)
					}
				}
			})
		})
	}
}

// Transactions at the same time take different container instances where there are some, so that they need not be decided
// again; the last place, and the one that binpack fills, they may both want. Nobody is refused what is free.
func TestTransactionsAtTheSameTimeTakeDifferentNodes(t *testing.T) {
	for _, c := range []struct {
		name       string
		nodes      int
		strategies []schedule.Strategy
		runs       int
		where      string
	}{
		{"spread", 3, nil, 1, "[n0 n1]"},
		{"one node", 1, nil, 2, "[n0 n0]"},
		{"binpack", 3, []schedule.Strategy{{Type: schedule.Binpack, Field: "memory"}}, 2, "[n0 n0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			for n := range c.nodes {
				w.register(t, fmt.Sprint("n", n), state.Resources{Memory: int64(100 - n)}, "c")
			}
			place := func(tx *state.Tx, id string) state.Task {
				a := ask(id, state.Resources{Memory: 10})
				a.Strategies = c.strategies
				placed, refused := Place(tx, "c", 1, []Ask{a})
				if len(placed) != 1 {
					t.Fatalf("refused: %v", refused)
				}
				return placed[0]
			}
			if c.name == "binpack" { // so that one is fuller than the others
				w.update(t, func(tx *state.Tx) {
					PlaceOn(tx, w.instance(tx, "c/n0"), []Ask{ask("full", state.Resources{Memory: 10})})
				})
			}
			var where [2]string
			runs := 0
			w.update(t, func(tx *state.Tx) {
				runs++
				where[0] = place(tx, "first").NodeID
				if runs == 1 {
					w.update(t, func(tx *state.Tx) { where[1] = place(tx, "second").NodeID })
				}
			})
			if fmt.Sprint(where) != c.where || runs != c.runs {
				t.Errorf("on %v after %d runs, not %s after %d", where, runs, c.where, c.runs)
			}
			// Whatever was kept for a transaction is free again.
			w.update(t, func(tx *state.Tx) {
				if all := prepared.Of(tx).use("c"); len(all.chosen) > 0 {
					t.Errorf("%v are still kept", all.chosen)
				}
			})
		})
	}
}

func (w *world) instance(tx *state.Tx, arn string) state.Instance {
	i, _ := state.Instances.Peek(tx, arn)
	return i
}

// What is kept prepared has a limit, and what was used last stays.
func TestOnlyTheLatestUsedClustersStayPrepared(t *testing.T) {
	all := &clusters{byARN: map[string]*cluster{}}
	for n := range 10 {
		c := all.use(fmt.Sprint(n))
		all.used(c, maxPrepared/4)
		all.used(all.use("0"), 1)
	}
	var kept []string
	for _, c := range all.recent {
		kept = append(kept, c.arn)
	}
	if fmt.Sprint(kept) != "[7 8 9 0]" || len(all.byARN) != len(kept) {
		t.Errorf("kept %v of %d", kept, len(all.byARN))
	}
	all.used(all.use("large"), 2*maxPrepared)
	if len(all.recent) != 1 || len(all.byARN) != 1 {
		t.Errorf("kept %d and %d beside one that is larger than the limit", len(all.recent), len(all.byARN))
	}
}

// BenchmarkPlace is one RunTask's placement in a transaction of its own, in a cluster where twenty tasks run on each
// container instance; ns/place is what Place alone takes, from the state to the transaction's writes.
func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{1, 100, 1000, 5000} {
		for _, asks := range []int{1, 10} {
			b.Run(fmt.Sprintf("nodes=%d/asks=%d", nodes, asks), func(b *testing.B) {
				w := newWorld(b)
				w.large(b, nodes)
				w.busy(b, nodes, 20)
				var took time.Duration
				for b.Loop() {
					w.update(b, func(tx *state.Tx) {
						var all []Ask
						for range asks {
							all = append(all, ask(tx.NewID(), state.Resources{Memory: 1}))
						}
						begin := time.Now()
						placed, _ := Place(tx, "c", 1, all)
						took += time.Since(begin)
						if len(placed) != asks {
							b.Fatal("no place")
						}
						for _, t := range placed { // what it took stays taken, so that the next goes elsewhere
							state.Tasks.Delete(tx, t.ARN)
							n, _ := state.Nodes.Get(tx, t.NodeID)
							if n.Remaining.Memory < 100 {
								n.Remaining = n.Total
								state.Nodes.Put(tx, n)
							}
						}
					})
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/place")
			})
		}
	}
}

// busy places tasks of ten other groups on each of the nodes.
func (w *world) busy(t testing.TB, nodes, each int) {
	t.Helper()
	for n := range nodes {
		w.update(t, func(tx *state.Tx) {
			i, _ := state.Instances.Get(tx, fmt.Sprintf("c/n%04d", n))
			var all []Ask
			for k := range each {
				a := ask(tx.NewID(), state.Resources{CPU: 16, Memory: 64})
				a.Task.ClusterARN, a.Task.Group, a.Task.Last = "c", fmt.Sprint("service:", (n+k)%10), lifecycle.Running
				all = append(all, a)
			}
			PlaceOn(tx, i, all)
		})
	}
}
