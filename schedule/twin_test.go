package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// twin is Place as one would explain it: for each ask look at every node, keep
// those that fit, and narrow them down rule by rule until one is left.
func twin(nodes []Node, asks []Ask) (bindings []Binding, refusals []Refusal) {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	placed := map[string]int32{}
	for _, a := range asks {
		var fit []*Node
		var no []NodeRefusal
		for i := range nodes {
			if reason := twinCheck(nodes[i], a); reason != Fits {
				no = append(no, NodeRefusal{nodes[i].ID, reason})
			} else {
				fit = append(fit, &nodes[i])
			}
		}
		if len(fit) == 0 {
			refusals = append(refusals, Refusal{a.ID, no})
			continue
		}

		group := func(n *Node) int { return n.Groups[a.Group] }
		chain := a.Strategies
		if len(chain) == 0 {
			chain = []Strategy{{Spread, "attribute:ecs.availability-zone"}}
		}
		for _, s := range chain {
			switch s {
			case Strategy{Spread, "instanceId"}, Strategy{Spread, "host"}:
				fit = least(fit, group)
			case Strategy{Binpack, "cpu"}:
				fit = least(fit, func(n *Node) int { return n.CPU })
			case Strategy{Binpack, "memory"}:
				fit = least(fit, func(n *Node) int { return n.Memory })
			case Strategy{Random, ""}:
				fit = least(fit, func(n *Node) float64 {
					c, time := newClock(a.Seed), 0.0
					for i := range placed[n.ID] + 1 {
						time += c.wait(hash(n.ID), i)
					}
					return time
				})
			default:
				name := attributeName(s.Field)
				fit = least(fit, func(n *Node) (tasks int) {
					for i := range nodes {
						if nodes[i].Attributes[name] == n.Attributes[name] {
							tasks += group(&nodes[i])
						}
					}
					return tasks
				})
			}
		}
		fit = least(fit, group)
		fit = least(fit, func(n *Node) int { return -n.Memory })
		fit = least(fit, func(n *Node) int { return -n.CPU })
		fit = least(fit, func(n *Node) uint64 { return mix(hash(a.Group), hash(n.ID)) })

		best := fit[0]
		b := Binding{Ask: a.ID, Node: best.ID}
		for range a.GPUs {
			b.GPUs = append(b.GPUs, best.GPUs[0])
			best.GPUs = best.GPUs[1:]
		}
		best.CPU -= a.CPU
		best.Memory -= a.Memory
		best.TCPPorts = append(slices.Clone(best.TCPPorts), a.TCPPorts...)
		best.UDPPorts = append(slices.Clone(best.UDPPorts), a.UDPPorts...)
		best.Groups = maps.Clone(best.Groups)
		if best.Groups == nil {
			best.Groups = map[string]int{}
		}
		best.Groups[a.Group]++
		placed[best.ID]++
		bindings = append(bindings, b)
	}
	return bindings, refusals
}

func least[K cmp.Ordered](nodes []*Node, of func(*Node) K) (kept []*Node) {
	lowest := of(nodes[0])
	for _, n := range nodes {
		lowest = min(lowest, of(n))
	}
	for _, n := range nodes {
		if of(n) == lowest {
			kept = append(kept, n)
		}
	}
	return kept
}

func twinCheck(n Node, a Ask) Reason {
	says := map[Reason]bool{
		AgentDisconnected: !n.Connected,
		AgentImpaired:     n.Impaired,
		Inactive:          n.Status != "ACTIVE",
		ShortOfCPU:        a.CPU > 0 && n.CPU < a.CPU,
		ShortOfMemory:     a.Memory > 0 && n.Memory < a.Memory,
		ShortOfGPU:        len(n.GPUs) < a.GPUs,
	}
	for _, r := range a.Requires {
		value, ok := n.Attributes[r.Name]
		says[MissingAttribute] = says[MissingAttribute] || !ok || r.Value != "" && r.Value != value
	}
	for _, port := range a.TCPPorts {
		says[PortInUse] = says[PortInUse] || slices.Contains(n.TCPPorts, port)
	}
	for _, port := range a.UDPPorts {
		says[PortInUse] = says[PortInUse] || slices.Contains(n.UDPPorts, port)
	}
	for _, c := range a.Constraints {
		if c.Type == DistinctInstance {
			says[NotDistinct] = n.Groups[a.Group] > 0
		} else {
			says[NotMember] = says[NotMember] || !c.Query.Match(&n)
		}
	}
	for reason := AgentDisconnected; reason <= NotDistinct; reason++ {
		if says[reason] {
			return reason
		}
	}
	return Fits
}

// The generators draw from few values, so that nodes tie, fill up and collide.

var groups = []string{"service:web", "service:db", "family:batch"}

func drawNode(t *rapid.T, id string) Node {
	n := Node{
		ID:        id,
		Status:    rapid.SampledFrom([]string{"ACTIVE", "ACTIVE", "ACTIVE", "DRAINING"}).Draw(t, "status"),
		Connected: rapid.IntRange(0, 7).Draw(t, "connected") > 0,
		Impaired:  rapid.IntRange(0, 7).Draw(t, "impaired") == 0,
		Attributes: map[string]string{
			"rack": rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "rack"),
			"id":   id,
		},
		CPU:      rapid.IntRange(-1, 8).Draw(t, "cpu"),
		Memory:   rapid.IntRange(-1, 8).Draw(t, "memory"),
		GPUs:     []string{"gpu0", "gpu1"}[:rapid.IntRange(0, 2).Draw(t, "gpus")],
		TCPPorts: rapid.SliceOfNDistinct(rapid.IntRange(80, 83), 0, 2, rapid.ID).Draw(t, "tcp"),
		UDPPorts: rapid.SliceOfNDistinct(rapid.IntRange(80, 83), 0, 2, rapid.ID).Draw(t, "udp"),
		Running:  rapid.IntRange(0, 2).Draw(t, "running"),
		Groups:   rapid.MapOfN(rapid.SampledFrom(groups), rapid.IntRange(0, 2), 0, 3).Draw(t, "groups"),
	}
	if zone := rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "zone"); zone != "" {
		n.Attributes["ecs.availability-zone"] = zone
	}
	if rapid.Bool().Draw(t, "ssd") {
		n.Attributes["ssd"] = ""
	}
	return n
}

func drawNodes(t *rapid.T) []Node {
	var nodes []Node
	for i := range rapid.IntRange(0, 12).Draw(t, "nodes") {
		nodes = append(nodes, drawNode(t, fmt.Sprintf("n%02d", i)))
	}
	return nodes
}

func drawAskKind(t *rapid.T) Ask {
	sometimes := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	a := Ask{
		Group:  rapid.SampledFrom(groups).Draw(t, "group"),
		CPU:    rapid.IntRange(0, 3).Draw(t, "cpu"),
		Memory: rapid.IntRange(0, 3).Draw(t, "memory"),
		Seed:   rapid.Uint64Range(0, 2).Draw(t, "seed"),
	}
	if sometimes("gpu") {
		a.GPUs = 1
	}
	if sometimes("tcp") {
		a.TCPPorts = rapid.SliceOfNDistinct(rapid.IntRange(80, 83), 1, 2, rapid.ID).Draw(t, "tcp ports")
	}
	if sometimes("udp") {
		a.UDPPorts = []int{rapid.IntRange(80, 83).Draw(t, "udp port")}
	}
	if sometimes("requires") {
		a.Requires = []Attribute{rapid.SampledFrom([]Attribute{{"ssd", ""}, {"rack", "r1"}, {"rack", ""}}).Draw(t, "attribute")}
	}
	if sometimes("distinct") {
		a.Constraints = append(a.Constraints, Constraint{Type: DistinctInstance})
	}
	if sometimes("member") {
		q, err := ParseQuery(rapid.SampledFrom([]string{
			"attribute:rack in [r1, r2]",
			"attribute:ssd exists and not attribute:rack == r3",
			"task:group == service:db",
			"task:group != service:db or runningTasksCount > 1",
		}).Draw(t, "query"))
		if err != nil {
			t.Fatal(err)
		}
		a.Constraints = append(a.Constraints, Constraint{Type: MemberOf, Query: q})
	}
	a.Strategies = rapid.SliceOfN(rapid.SampledFrom([]Strategy{
		{Spread, "attribute:ecs.availability-zone"}, {Spread, "rack"}, {Spread, "attribute:id"}, {Spread, "attribute:nobody"},
		{Spread, "instanceId"}, {Spread, "host"},
		{Binpack, "cpu"}, {Binpack, "memory"}, {Random, ""},
	}), 0, 3).Draw(t, "strategies")
	return a
}

func drawAsks(t *rapid.T) []Ask {
	var kinds, asks []Ask
	for range rapid.IntRange(1, 3).Draw(t, "kinds") {
		kinds = append(kinds, drawAskKind(t))
	}
	for i := range rapid.IntRange(1, 25).Draw(t, "asks") {
		a := rapid.SampledFrom(kinds).Draw(t, "kind")
		a.ID = fmt.Sprintf("t%d", i)
		if rapid.IntRange(0, 4).Draw(t, "own seed") == 0 {
			a.Seed++
		}
		asks = append(asks, a)
	}
	return asks
}

func sameAnswer(t *rapid.T, what string, bindings, wantBindings []Binding, refusals, wantRefusals []Refusal) {
	for i := range refusals {
		refusals[i].Nodes = append([]NodeRefusal(nil), refusals[i].Nodes...) // none is none, nil or empty
	}
	if !reflect.DeepEqual(bindings, wantBindings) {
		t.Fatalf("%s:\n got bindings %v\nwant bindings %v", what, bindings, wantBindings)
	}
	if !reflect.DeepEqual(refusals, wantRefusals) {
		t.Fatalf("%s:\n got refusals %v\nwant refusals %v", what, refusals, wantRefusals)
	}
}

func TestPlaceAnswersAsTheTwinDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, asks := drawNodes(t), drawAsks(t)
		bindings, refusals := Place(nodes, asks)
		wantBindings, wantRefusals := twin(nodes, asks)
		sameAnswer(t, "Place", bindings, wantBindings, refusals, wantRefusals)
	})
}

// What a Cluster was asked before, and how its nodes came to be as they are,
// must not show in what it answers.
func TestClusterAnswersAsItsNodesAloneWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := map[string]Node{}
		for _, n := range drawNodes(t) {
			nodes[n.ID] = n
		}
		c := NewCluster(slices.Collect(maps.Values(nodes)))
		kinds := [][]Ask{drawAsks(t), drawAsks(t), drawAsks(t)}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				n := drawNode(t, fmt.Sprintf("n%02d", rapid.IntRange(0, 14).Draw(t, "id")))
				nodes[n.ID] = n
				c.Set(n)
			},
			"remove": func(t *rapid.T) {
				id := fmt.Sprintf("n%02d", rapid.IntRange(0, 14).Draw(t, "id"))
				delete(nodes, id)
				c.Remove(id)
			},
			"place": func(t *rapid.T) {
				asks := rapid.SampledFrom(kinds).Draw(t, "asks")
				bindings, refusals := c.Place(asks)
				wantBindings, wantRefusals := twin(slices.Collect(maps.Values(nodes)), asks)
				sameAnswer(t, "Cluster.Place", bindings, wantBindings, refusals, wantRefusals)
				if rapid.Bool().Draw(t, "make it real") {
					for _, b := range bindings {
						i := slices.IndexFunc(asks, func(a Ask) bool { return a.ID == b.Ask })
						n, _ := nodes[b.Node].With(&asks[i])
						nodes[b.Node] = n
						c.Set(n)
					}
				}
			},
		})
	})
}

func TestOrderOfNodesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, asks := drawNodes(t), drawAsks(t)
		wantBindings, wantRefusals := Place(nodes, asks)
		bindings, refusals := Place(rapid.Permutation(nodes).Draw(t, "nodes"), asks)
		for i := range wantRefusals {
			wantRefusals[i].Nodes = append([]NodeRefusal(nil), wantRefusals[i].Nodes...)
		}
		sameAnswer(t, "Place", bindings, wantBindings, refusals, wantRefusals)
	})
}

// A Cluster that is asked more kinds of questions than it keeps, and that sees
// more changes than it lists, still gives the same answers.
func TestClusterForgetsWithoutHarm(t *testing.T) {
	nodes := manyNodes(20)
	c := NewCluster(nodes)
	asks := func(group int) []Ask {
		asks := manyAsks(t, 5)
		for i := range asks {
			asks[i].Group = fmt.Sprint("service:", group)
			asks[i].Seed = uint64(group)
			if group%4 == 0 {
				asks[i].Strategies = []Strategy{{Type: Random}}
			}
		}
		return asks
	}
	ask := func(group int) {
		t.Helper()
		bindings, refusals := c.Place(asks(group))
		wantBindings, wantRefusals := twin(nodes, asks(group))
		if !reflect.DeepEqual(bindings, wantBindings) || !reflect.DeepEqual(refusals, wantRefusals) {
			t.Fatalf("group %d:\n got %v %v\nwant %v %v", group, bindings, refusals, wantBindings, wantRefusals)
		}
	}
	for range 2 {
		for group := range 3 * maxIndexes {
			ask(group)
		}
	}
	if len(c.indexes) > maxIndexes || len(c.filters) > maxIndexes || len(c.drawn) > 0 {
		t.Errorf("the cluster keeps %d indexes, %d filters and %d of one call", len(c.indexes), len(c.filters), len(c.drawn))
	}
	ask(1)
	for i := range 10_000 {
		n := &nodes[i%len(nodes)]
		n.CPU = 256 * (i % 16)
		n.Attributes = maps.Clone(n.Attributes)
		n.Attributes["ecs.availability-zone"] = fmt.Sprint("zone-", i)
		c.Set(*n)
		if i%50 == 0 {
			ask(2) // which meets ever new zones
		}
	}
	ask(1)
	if c.forgotten == 0 || len(c.changes) > 4*len(nodes)+1025 {
		t.Errorf("the cluster lists %d changes and forgot %d", len(c.changes), c.forgotten)
	}
}
