package schedule

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPromises replays what Place answered and holds it to what it promises.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, asks := drawNodes(t), drawAsks(t)
		now := map[string]Node{}
		for _, n := range nodes {
			now[n.ID] = n
		}
		before := fmt.Sprint(nodes, asks)
		bindings, refusals := Place(nodes, asks)
		if after := fmt.Sprint(nodes, asks); before != after {
			t.Fatalf("Place changed what it was given:\nbefore %s\nafter  %s", before, after)
		}
		if len(bindings)+len(refusals) != len(asks) {
			t.Fatalf("%d asks, but %d bindings and %d refusals", len(asks), len(bindings), len(refusals))
		}
		for i := range asks {
			a := &asks[i]
			if len(bindings) == 0 || bindings[0].Ask != a.ID {
				if refusals[0].Ask != a.ID {
					t.Fatalf("%s has no answer in its turn", a.ID)
				}
				for id, n := range now {
					if Check(&n, a) == Fits {
						t.Fatalf("%s was refused although it fits on %s", a.ID, id)
					}
				}
				refusals = refusals[1:]
				continue
			}
			b := bindings[0]
			bindings = bindings[1:]
			n := now[b.Node]
			if n.Status != "ACTIVE" || !n.Connected || n.Impaired {
				t.Fatalf("%s went to %s, which takes no tasks", a.ID, n.ID)
			}
			for _, c := range a.Constraints {
				if c.Type == MemberOf && !c.Query.Match(&n) {
					t.Fatalf("%s went to %s against %q", a.ID, n.ID, c.Query)
				}
				if c.Type == DistinctInstance && n.Groups[a.Group] > 0 {
					t.Fatalf("%s went to %s, where its group already is", a.ID, n.ID)
				}
			}
			for _, port := range a.TCPPorts {
				if slices.Contains(n.TCPPorts, port) {
					t.Fatalf("%s went to %s, where TCP port %d is taken", a.ID, n.ID, port)
				}
			}
			for _, port := range a.UDPPorts {
				if slices.Contains(n.UDPPorts, port) {
					t.Fatalf("%s went to %s, where UDP port %d is taken", a.ID, n.ID, port)
				}
			}
			next, gpus := n.With(a)
			if next.CPU < min(n.CPU, 0) || next.Memory < min(n.Memory, 0) {
				t.Fatalf("%s is over its capacity: CPU %d, memory %d", n.ID, next.CPU, next.Memory)
			}
			if len(b.GPUs) != a.GPUs || !reflect.DeepEqual(gpus, b.GPUs) {
				t.Fatalf("%s got the GPUs %v", a.ID, b.GPUs)
			}
			for _, gpu := range b.GPUs {
				if !slices.Contains(n.GPUs, gpu) || slices.Contains(next.GPUs, gpu) {
					t.Fatalf("%s got %s, of the free GPUs %v", a.ID, gpu, n.GPUs)
				}
			}
			now[n.ID] = next
		}
	})
}

// TestRandomIsUniform counts where 8,000 tasks go. Each of eight nodes gets
// about a thousand, with a standard deviation of 30 if the draws are uniform
// and independent: 150 away is one run in a million, and the seeds are fixed.
func TestRandomIsUniform(t *testing.T) {
	var nodes []Node
	for i := range 8 {
		nodes = append(nodes, Node{ID: fmt.Sprint("n", i), Status: StatusActive, Connected: true})
	}
	count := func(asks []Ask) (counts map[string]int, repeats int) {
		counts = map[string]int{}
		bindings, _ := Place(nodes, asks)
		for i, b := range bindings {
			counts[b.Node]++
			if i > 0 && b.Node == bindings[i-1].Node {
				repeats++
			}
		}
		return counts, repeats
	}
	oneSeed, manySeeds := make([]Ask, 8000), make([]Ask, 8000)
	for i := range oneSeed {
		oneSeed[i] = Ask{Strategies: []Strategy{{Type: Random}}, Seed: 7}
		manySeeds[i] = oneSeed[i]
		manySeeds[i].Seed = uint64(i)
	}
	for name, asks := range map[string][]Ask{"one seed": oneSeed, "a seed each": manySeeds} {
		counts, repeats := count(asks)
		mean := float64(len(asks)) / 8
		for _, n := range nodes {
			if off := float64(counts[n.ID]) - mean; math.Abs(off) > 5*math.Sqrt(mean) {
				t.Errorf("%s: %s got %d of %d tasks", name, n.ID, counts[n.ID], len(asks))
			}
		}
		if name == "one seed" && math.Abs(float64(repeats)-mean) > 5*math.Sqrt(mean) {
			t.Errorf("%s: the same node came twice in a row %d times, not about %v", name, repeats, mean)
		}
	}
}

func TestStrategyValidate(t *testing.T) {
	for _, s := range []Strategy{
		{Spread, "instanceId"}, {Spread, "host"}, {Spread, "attribute:rack"}, {Spread, "rack"},
		{Binpack, "cpu"}, {Binpack, "MEMORY"}, {Random, ""},
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
	for _, s := range []Strategy{{}, {Spread, ""}, {Spread, "attribute:"}, {Binpack, "disk"}, {Random, "cpu"}, {"first", ""}} {
		if s.Validate() == nil {
			t.Errorf("%v is taken for a valid strategy", s)
		}
	}
}
