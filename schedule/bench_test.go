package schedule

import (
	"fmt"
	"testing"
)

// The benchmarks place tasks of one service, spread over three zones and held
// to the third of 5,000 nodes that a memberOf constraint names, until those
// are full. The nodes look like real ones: ARNs, a dozen attributes, tasks of
// other groups, ports.

const benchNodes = 5000

func manyNodes(count int) []Node {
	nodes := make([]Node, count)
	for i := range nodes {
		n := Node{
			ID:            fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:container-instance/demo/%032x", hash(fmt.Sprint(i))),
			Status:        StatusActive,
			Connected:     true,
			AgentVersion:  "1.105.0",
			EC2InstanceID: fmt.Sprintf("i-%017x", i),
			Attributes: map[string]string{
				"ecs.availability-zone": "us-east-1" + string(rune('a'+i%3)),
				"ecs.instance-type":     []string{"m5.large", "m5.xlarge", "c5.large", "c5.xlarge", "t3.small"}[i%5],
				"ecs.os-type":           "linux",
				"ecs.os-family":         "LINUX",
				"ecs.cpu-architecture":  "x86_64",
				"stack":                 []string{"prod", "test"}[i/5%2],
			},
			CPU:      4096,
			Memory:   16384,
			TCPPorts: []int{22, 2375, 2376, 51678, 51679},
			Running:  i % 4,
			Groups:   map[string]int{},
		}
		for _, capability := range []string{"privileged-container", "docker-remote-api.1.44", "task-eni", "logging-driver.awslogs", "logging-driver.json-file", "execution-role-ecr-pull"} {
			n.Attributes["com.amazonaws.ecs.capability."+capability] = ""
		}
		for g := range i % 4 {
			n.Groups[fmt.Sprintf("service:other-%d", (i+g)%50)]++
		}
		nodes[i] = n
	}
	return nodes
}

func manyAsks(t testing.TB, count int) []Ask {
	asks := make([]Ask, count)
	for i := range asks {
		asks[i] = Ask{
			ID:       fmt.Sprint(i),
			Group:    "service:web",
			CPU:      256,
			Memory:   512,
			Requires: []Attribute{{"com.amazonaws.ecs.capability.docker-remote-api.1.44", ""}},
			Constraints: []Constraint{{Type: MemberOf, Query: mustParse(t,
				"attribute:ecs.instance-type =~ m5.* and attribute:stack in [prod, test] and not(task:group == service:other-7)")}},
			Strategies: []Strategy{{Type: Spread, Field: "attribute:ecs.availability-zone"}, {Type: Binpack, Field: "memory"}},
		}
	}
	return asks
}

// fill calls Place again and again, makes what was decided real, and empties
// the nodes, outside of the time, when there is a refusal.
func fill(b *testing.B, asks []Ask) {
	nodes := manyNodes(benchNodes)
	byID := map[string]Node{}
	c := NewCluster(nodes)
	reset := func() {
		for _, n := range nodes {
			byID[n.ID] = n
			c.Set(n)
		}
	}
	reset()
	c.Place(asks)
	placed := 0
	for b.Loop() {
		bindings, refusals := c.Place(asks)
		placed += len(bindings)
		for _, bound := range bindings {
			n, _ := byID[bound.Node].With(&asks[0])
			byID[bound.Node] = n
			c.Set(n)
		}
		if len(refusals) > 0 {
			b.StopTimer()
			reset()
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
}

// BenchmarkPlace is the pure entrance: every call prepares the nodes anew.
func BenchmarkPlace(b *testing.B) {
	for _, count := range []int{1, 10, 1000, 10000} {
		b.Run(fmt.Sprintf("asks=%d", count), func(b *testing.B) {
			nodes, asks := manyNodes(benchNodes), manyAsks(b, count)
			placed := 0
			for b.Loop() {
				bindings, _ := Place(nodes, asks)
				placed += len(bindings)
			}
			b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
		})
	}
}

// BenchmarkCluster calls a prepared cluster until the nodes are full.
func BenchmarkCluster(b *testing.B) {
	for _, count := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("asks=%d", count), func(b *testing.B) { fill(b, manyAsks(b, count)) })
	}
}

// BenchmarkClusterRandom draws with a new seed in each call of ten asks, so
// that no call can use the index of another.
func BenchmarkClusterRandom(b *testing.B) {
	c, asks, placed := NewCluster(manyNodes(benchNodes)), manyAsks(b, 10), 0
	for b.Loop() {
		for i := range asks {
			asks[i].Strategies = []Strategy{{Type: Random}}
			asks[i].Seed = uint64(placed)
		}
		bindings, _ := c.Place(asks)
		placed += len(bindings)
	}
	b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
}

func BenchmarkQuery(b *testing.B) {
	nodes := manyNodes(100)
	for _, text := range []string{
		"attribute:ecs.availability-zone == us-east-1a",
		"attribute:ecs.instance-type =~ m5.*",
		"task:group == service:web",
		"agentVersion >= 1.90.0",
	} {
		b.Run(text, func(b *testing.B) {
			q := mustParse(b, text)
			for i := 0; b.Loop(); i++ {
				q.Match(&nodes[i%len(nodes)])
			}
		})
	}
}

func mustParse(t testing.TB, text string) Query {
	t.Helper()
	q, err := ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}
