package placement

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"pgregory.net/rapid"

	"havn/lifecycle"
	"havn/schedule"
	"havn/state"
)

var ctx = context.Background()

// world is a state in one thread, with ids that count.
type world struct {
	store *state.Store
	log   *state.Memory
	ids   int
}

func newWorld(t rapid.TB) *world {
	w := &world{log: &state.Memory{}}
	store, err := state.Open(ctx, w.log, state.Config{Synchronous: true, NewID: func() string { w.ids++; return fmt.Sprintf("%06d", w.ids) }})
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	return w
}

func (w *world) update(t rapid.TB, f func(tx *state.Tx)) {
	t.Helper()
	if err := w.store.Update(ctx, func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// register makes a node, connected, an instance of each cluster; or gives it another total.
func (w *world) register(t rapid.TB, id string, total state.Resources, clusters ...string) {
	t.Helper()
	w.update(t, func(tx *state.Tx) {
		n, _ := state.Nodes.Get(tx, id)
		n.ID, n.Total, n.Connected = id, total, true
		state.Nodes.Put(tx, Recount(tx, n))
		for _, c := range clusters {
			state.Instances.Put(tx, state.Instance{ARN: c + "/" + id, ClusterARN: c, NodeID: id, Status: "ACTIVE"})
		}
	})
}

func ask(id string, takes state.Resources) Ask {
	return Ask{Task: state.Task{ARN: id, Group: "g", Reserved: takes, Desired: lifecycle.Running, Last: lifecycle.Pending}}
}

// expected is what a node has left, counted the slow way: the total without what tasks hold that are not STOPPED.
func expected(r *state.Reader, n state.Node) state.Resources {
	left := state.Resources{CPU: n.Total.CPU, Memory: n.Total.Memory}
	tcp, udp, held := map[uint16]bool{}, map[uint16]bool{}, map[string]bool{}
	for _, p := range n.Total.TCPPorts {
		tcp[p] = true
	}
	for _, p := range n.Total.UDPPorts {
		udp[p] = true
	}
	for task := range state.Tasks.All(r) {
		if task.NodeID != n.ID || task.Last == lifecycle.Stopped {
			continue
		}
		left.CPU -= task.Reserved.CPU
		left.Memory -= task.Reserved.Memory
		for _, p := range task.Reserved.TCPPorts {
			tcp[p] = true
		}
		for _, p := range task.Reserved.UDPPorts {
			udp[p] = true
		}
		for _, g := range task.Reserved.GPUs {
			held[g] = true
		}
	}
	for p := range tcp {
		left.TCPPorts = append(left.TCPPorts, p)
	}
	for p := range udp {
		left.UDPPorts = append(left.UDPPorts, p)
	}
	for _, g := range n.Total.GPUs {
		if !held[g] {
			left.GPUs = append(left.GPUs, g)
		}
	}
	return left
}

func normal(r state.Resources) state.Resources {
	slices.Sort(r.TCPPorts)
	slices.Sort(r.UDPPorts)
	slices.Sort(r.GPUs)
	if len(r.TCPPorts) == 0 {
		r.TCPPorts = nil
	}
	if len(r.UDPPorts) == 0 {
		r.UDPPorts = nil
	}
	if len(r.GPUs) == 0 {
		r.GPUs = nil
	}
	return r
}

func resources(t *rapid.T, scale int64) state.Resources {
	ports := rapid.SliceOfNDistinct(rapid.Uint16Range(1, 6), 0, 2, rapid.ID)
	return state.Resources{
		CPU:      rapid.Int64Range(0, 4).Draw(t, "cpu") * scale,
		Memory:   rapid.Int64Range(1, 4).Draw(t, "memory") * scale,
		TCPPorts: ports.Draw(t, "tcp"),
		UDPPorts: ports.Draw(t, "udp"),
	}
}

// Whatever is placed, stopped and registered in whatever order, and whatever must be decided again: what is
// left of a node is its total without what its tasks hold, and no two tasks hold the same thing.
func TestRemainingIsTotalWithoutWhatTasksHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		nodes := []string{"n1", "n2"}
		total := func() state.Resources {
			r := resources(t, 10)
			r.GPUs = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"g1", "g2", "g3"}), 0, 3, rapid.ID).Draw(t, "gpus")
			return r
		}
		for _, n := range nodes {
			w.register(t, n, total(), "c1", "c2")
		}
		shrunk := false // a node may then hold more than it has
		t.Repeat(map[string]func(*rapid.T){
			"place": func(t *rapid.T) {
				a := ask(fmt.Sprintf("t%04d", w.ids), resources(t, 1))
				a.GPUs = rapid.IntRange(0, 2).Draw(t, "gpus")
				asks := []Ask{a}
				if rapid.Bool().Draw(t, "two") {
					a.Task.ARN += "b"
					asks = append(asks, a)
				}
				w.ids++
				if rapid.Bool().Draw(t, "conflict") {
					w.log.Script(state.FaultConflict)
				}
				on := rapid.SampledFrom([]string{"", "c1/n1", "c2/n2"}).Draw(t, "on")
				cluster := rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "cluster")
				w.update(t, func(tx *state.Tx) {
					var placed []state.Task
					var refused []Refusal
					if on == "" {
						placed, refused = Place(tx, cluster, 1, asks)
					} else {
						i, _ := state.Instances.Get(tx, on)
						placed, refused = PlaceOn(tx, i, asks)
					}
					if len(placed) < len(asks) && len(refused) == 0 {
						t.Fatalf("%d of %d placed, and no reason why", len(placed), len(asks))
					}
				})
			},
			"stop": func(t *rapid.T) {
				var running []string
				w.store.View(func(r *state.Reader) {
					for task := range state.Tasks.All(r) {
						if task.Last != lifecycle.Stopped {
							running = append(running, task.ARN)
						}
					}
				})
				if len(running) == 0 {
					t.Skip("nothing runs")
				}
				arn := rapid.SampledFrom(running).Draw(t, "task")
				w.update(t, func(tx *state.Tx) {
					task, _ := state.Tasks.Get(tx, arn)
					task.Last = lifecycle.Stopped
					state.Tasks.Put(tx, Release(tx, task))
				})
			},
			"register": func(t *rapid.T) {
				shrunk = true
				w.register(t, rapid.SampledFrom(nodes).Draw(t, "node"), total())
			},
			"": func(t *rapid.T) {
				w.store.View(func(r *state.Reader) {
					for n := range state.Nodes.All(r) {
						if got, want := normal(n.Remaining), normal(expected(r, n)); !reflect.DeepEqual(got, want) {
							t.Fatalf("node %s has left\n%+v, want\n%+v", n.ID, got, want)
						}
						if !shrunk && (n.Remaining.CPU < 0 || n.Remaining.Memory < 0) {
							t.Fatalf("node %s has less than nothing left: %+v", n.ID, n.Remaining)
						}
						ports := map[uint16]string{}
						for task := range state.Tasks.By(r, "unstopped on node", n.ID) {
							for _, p := range task.Reserved.TCPPorts {
								if other, ok := ports[p]; ok {
									t.Fatalf("port %d of node %s is held by %s and %s", p, n.ID, task.ARN, other)
								}
								ports[p] = task.ARN
							}
						}
					}
				})
			},
		})
	})
}

// Two placements that want the last of a node: one gets it, the other is decided again and told so.
func TestTheLastOfANodeGoesToOne(t *testing.T) {
	w := newWorld(t)
	w.register(t, "n", state.Resources{CPU: 10, Memory: 10}, "c1", "c2")
	first := true
	var placed []state.Task
	var refused []Refusal
	w.update(t, func(tx *state.Tx) {
		placed, refused = Place(tx, "c1", 1, []Ask{ask("mine", state.Resources{Memory: 10})})
		if first { // another cluster's request comes in between
			first = false
			w.update(t, func(tx *state.Tx) { Place(tx, "c2", 1, []Ask{ask("theirs", state.Resources{Memory: 10})}) })
		}
	})
	if want := []Refusal{{"c1/n", "RESOURCE:MEMORY", "the container instance does not take the task: it is short of memory (it takes 10 MiB, at most 0 are free)"}}; len(placed) != 0 || !slices.Equal(refused, want) {
		t.Errorf("placed %v, refused %v", placed, refused)
	}
}

// A drain that comes in between is seen: no task is new on an instance that takes none.
func TestNothingIsPlacedOnWhatIsDrainedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.register(t, "n", state.Resources{Memory: 10}, "c")
	first := true
	var refused []Refusal
	w.update(t, func(tx *state.Tx) {
		_, refused = Place(tx, "c", 1, []Ask{ask("t", state.Resources{Memory: 1})})
		if first {
			first = false
			w.update(t, func(tx *state.Tx) {
				i, _ := state.Instances.Get(tx, "c/n")
				i.Status = "DRAINING"
				state.Instances.Put(tx, i)
			})
		}
	})
	if want := []Refusal{{"c/n", "INACTIVE", "the container instance does not take the task: it is not ACTIVE (DRAINING)"}}; !slices.Equal(refused, want) {
		t.Errorf("refused %v", refused)
	}
}

// Placements on different nodes do not get in each other's way, and neither does what else happens to nodes
// that were only looked at.
func TestPlacementsOnDifferentNodesDoNotMeet(t *testing.T) {
	w := newWorld(t)
	w.register(t, "n1", state.Resources{Memory: 10}, "c")
	w.register(t, "n2", state.Resources{Memory: 20}, "c")
	runs := 0
	w.update(t, func(tx *state.Tx) {
		runs++
		placed, _ := Place(tx, "c", 1, []Ask{ask("t", state.Resources{Memory: 15})})
		if len(placed) != 1 || placed[0].NodeID != "n2" {
			t.Fatalf("placed %+v", placed)
		}
		if runs > 1 {
			return
		}
		i, _ := state.Instances.Peek(tx, "c/n1")
		w.update(t, func(tx *state.Tx) { PlaceOn(tx, i, []Ask{ask("other", state.Resources{Memory: 1})}) })
	})
	if runs != 1 {
		t.Errorf("decided %d times", runs)
	}
}

// Five thousand nodes are within what one transaction may look at.
func TestAClusterMayBeLarge(t *testing.T) {
	w := newWorld(t)
	w.large(t, 5000)
	w.update(t, func(tx *state.Tx) {
		if placed, refused := Place(tx, "c", 1, []Ask{ask("t", state.Resources{Memory: 1})}); len(placed) != 1 {
			t.Errorf("refused %v", refused[:1])
		}
	})
}

func (w *world) large(t testing.TB, nodes int) {
	t.Helper()
	for from := 0; from < nodes; from += 500 {
		w.update(t, func(tx *state.Tx) {
			for n := from; n < min(nodes, from+500); n++ {
				id := fmt.Sprintf("n%04d", n)
				total := state.Resources{CPU: 4096, Memory: 1 << 14}
				state.Nodes.Put(tx, state.Node{ID: id, Total: total, Remaining: total, Connected: true})
				state.Instances.Put(tx, state.Instance{ARN: "c/" + id, ClusterARN: "c", NodeID: id, Status: "ACTIVE"})
			}
		})
	}
}

func TestAnEmptyClusterRefusesOnce(t *testing.T) {
	w := newWorld(t)
	w.update(t, func(tx *state.Tx) {
		_, refused := Place(tx, "c", 1, []Ask{ask("a", state.Resources{Memory: 1}), ask("b", state.Resources{Memory: 1})})
		if want := []Refusal{{Reason: NoInstances, Detail: "the cluster has no container instance: no node has joined it"}}; !slices.Equal(refused, want) {
			t.Errorf("refused %v", refused)
		}
	})
}

// What schedule sees of an instance: users' attributes over the node's, tasks that are to stop in no group.
func TestDescribeShowsAnInstanceAsScheduleSeesIt(t *testing.T) {
	w := newWorld(t)
	value := func(s string) *string { return &s }
	begun := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	n := state.Node{ID: "n", Connected: true, AgentVersion: "1", Remaining: state.Resources{CPU: 1, Memory: 2, TCPPorts: []uint16{22}},
		Attributes: []types.Attribute{{Name: value("color"), Value: value("red")}, {Name: value("fast")}}}
	i := state.Instance{ARN: "c/n", NodeID: "n", Status: "ACTIVE", RegisteredAt: begun, Attributes: []types.Attribute{{Name: value("color"), Value: value("blue")}}}
	w.update(t, func(tx *state.Tx) {
		for k, status := range [][2]lifecycle.Status{{"RUNNING", "RUNNING"}, {"RUNNING", "PENDING"}, {"STOPPED", "RUNNING"}, {"STOPPED", "STOPPED"}} {
			state.Tasks.Put(tx, state.Task{ARN: fmt.Sprint(k), InstanceARN: "c/n", Group: "g", Desired: status[0], Last: status[1]})
		}
	})
	w.store.View(func(r *state.Reader) {
		want := schedule.Node{ID: "c/n", Status: "ACTIVE", Connected: true, AgentVersion: "1", RegisteredAt: begun,
			Attributes: map[string]string{"color": "blue", "fast": ""}, CPU: 1, Memory: 2, TCPPorts: []int{22}, UDPPorts: []int{},
			Running: 2, Groups: map[string]int{"g": 2}}
		if got := Describe(r, i, n); !reflect.DeepEqual(got, want) {
			t.Errorf("described %+v\nwant      %+v", got, want)
		}
	})
}

func TestATaskGivesBackOnce(t *testing.T) {
	w := newWorld(t)
	w.register(t, "n", state.Resources{CPU: 10, Memory: 10}, "c")
	w.update(t, func(tx *state.Tx) {
		placed, _ := Place(tx, "c", 1, []Ask{ask("t", state.Resources{CPU: 1, Memory: 2, TCPPorts: []uint16{80}})})
		Release(tx, Release(tx, placed[0]))
		if n, _ := state.Nodes.Get(tx, "n"); n.Remaining.CPU != 10 || n.Remaining.Memory != 10 || len(n.Remaining.TCPPorts) != 0 {
			t.Errorf("left %+v", n.Remaining)
		}
	})
}
