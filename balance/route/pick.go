package route

import (
	"hash/fnv"
	"strconv"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Stickiness is how long, and by which cookie, the requests of a client go to the same target.
type Stickiness struct {
	For time.Duration // zero = not at all
	// Cookie is the application's cookie that it hangs on; empty = it is the load balancer's own.
	Cookie string
}

// Algorithm is how a group's targets are chosen.
type Algorithm int

const (
	RoundRobin Algorithm = iota
	LeastOutstanding
	WeightedRandom // of equal weights: they change with anomaly mitigation only
)

// Chance is what a choice hangs on beside the records.
type Chance struct {
	Turn   uint64 // counts the choices of a group
	Random uint64
	Now    time.Time
	// UnderWay is how many requests are under way to a target, by its index.
	UnderWay func(target int) int64
	// Not is a target that has just refused a connection; another is chosen if there is one. -1 = none.
	Not int
}

// Choose chooses a target that gets new requests, and returns its index in Targets; -1 if there is none.
func (g *Group) Choose(c Chance) int {
	open := g.Open
	if c.Not >= 0 && len(open) > 1 {
		for i, t := range open {
			if t == c.Not { // the next in turn: no slice is made
				others := uint64(len(open) - 1)
				return open[(uint64(i)+1+c.Random%others)%uint64(len(open))]
			}
		}
	}
	n := uint64(len(open))
	switch {
	case n == 0:
		return -1
	case n == 1:
		return open[0]
	case g.Algorithm == LeastOutstanding:
		return g.least(c)
	case g.Algorithm == WeightedRandom:
		return open[c.Random%n]
	case g.SlowStart > 0:
		return g.gently(c)
	}
	return open[c.Turn%n]
}

// least chooses the target with the fewest requests under way; of those that are equal, in turn.
func (g *Group) least(c Chance) int {
	n := len(g.Open)
	first := int(c.Turn % uint64(n))
	best, fewest := -1, int64(0)
	for i := range n {
		t := g.Open[(first+i)%n]
		if load := c.UnderWay(t); best < 0 || load < fewest {
			best, fewest = t, load
		}
	}
	return best
}

// fullShare is the weight of a target that is not in slow start.
const fullShare = 1 << 20

// gently is a round robin in which targets that have become healthy of late get a share that grows from nothing to a
// full one. If all are new, none is spared. User Guide, "Slow start mode".
func (g *Group) gently(c Chance) int {
	var total uint64
	settled := false
	for _, t := range g.Open {
		share := g.share(t, c.Now)
		settled = settled || share == fullShare
		total += share
	}
	if !settled || total == uint64(len(g.Open))*fullShare {
		return g.Open[c.Turn%uint64(len(g.Open))]
	}
	at := c.Random % total
	for _, t := range g.Open {
		share := g.share(t, c.Now)
		if at < share {
			return t
		}
		at -= share
	}
	return g.Open[0]
}

func (g *Group) share(target int, now time.Time) uint64 {
	age := now.Sub(g.Targets[target].Record.Health.Since)
	if age >= g.SlowStart || age < 0 {
		return fullShare
	}
	return max(1, uint64(fullShare*float64(age)/float64(g.SlowStart)))
}

// Sticky returns the index of the target with a mark, if it gets new requests; -1 otherwise.
func (g *Group) Sticky(mark uint64) int {
	if t, ok := g.marks[mark]; ok {
		return t
	}
	return -1
}

// Mark tells things apart in cookies: it is the same for the same key, in every process.
func Mark(key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return h.Sum64()
}

// Choose chooses a group by weight; nil if none has any.
func (f *Forward) Choose(random uint64) *Group {
	if len(f.Groups) == 1 && f.Groups[0].Weight > 0 {
		return f.Groups[0].Group
	}
	if f.total == 0 {
		return nil
	}
	at := int64(random % uint64(f.total))
	for _, w := range f.Groups {
		if at < int64(w.Weight) {
			return w.Group
		}
		at -= int64(w.Weight)
	}
	return nil
}

// Sticky returns the group with a mark, if it still has weight; nil otherwise. "If the weight is 0, no new request goes
// there": a cookie does not keep one alive.
func (f *Forward) Sticky(mark uint64) *Group {
	for _, w := range f.Groups {
		if w.Weight > 0 && w.Group.Mark == mark {
			return w.Group
		}
	}
	return nil
}

// ready works out what follows from a group's attributes and its targets' health.
func (g *Group) ready() {
	a := g.Record.Attributes
	g.Mark = Mark(g.Record.ARN)
	switch a["load_balancing.algorithm.type"] {
	case "least_outstanding_requests":
		g.Algorithm = LeastOutstanding
	case "weighted_random":
		g.Algorithm = WeightedRandom
	}
	if g.Algorithm == RoundRobin { // slow start is of round robin only
		g.SlowStart = seconds(a, "slow_start.duration_seconds", 0)
	}
	if a["stickiness.enabled"] == "true" {
		switch a["stickiness.type"] {
		case "lb_cookie", "":
			g.Stickiness.For = seconds(a, "stickiness.lb_cookie.duration_seconds", 24*time.Hour)
		case "app_cookie":
			g.Stickiness.For = seconds(a, "stickiness.app_cookie.duration_seconds", 24*time.Hour)
			g.Stickiness.Cookie = a["stickiness.app_cookie.cookie_name"]
		}
	}
	var healthy, reachable []int
	for i := range g.Targets {
		t := &g.Targets[i]
		if t.Draining || !t.Address.IsValid() {
			continue
		}
		reachable = append(reachable, i)
		if t.Record.Health.State == elb.TargetHealthStateEnumHealthy {
			healthy = append(healthy, i)
		}
	}
	g.Open = healthy
	if len(healthy) < g.fewest(len(reachable)) {
		g.Open = reachable
	}
	if g.Stickiness.For > 0 {
		g.marks = make(map[uint64]int, len(g.Open))
		for _, i := range g.Open {
			g.marks[Mark(g.Targets[i].Key)] = i
		}
	}
}

// fewest is how many healthy targets there must be: with less, requests go to all, healthy or not. User Guide,
// "Target group health": the routing fails open.
func (g *Group) fewest(targets int) int {
	const prefix = "target_group_health.unhealthy_state_routing.minimum_healthy_targets."
	fewest := 1
	if n, err := strconv.Atoi(g.Record.Attributes[prefix+"count"]); err == nil {
		fewest = max(fewest, n)
	}
	if percent, err := strconv.Atoi(g.Record.Attributes[prefix+"percentage"]); err == nil {
		fewest = max(fewest, (targets*percent+99)/100)
	}
	return fewest
}

func seconds(attributes map[string]string, name string, otherwise time.Duration) time.Duration {
	if n, err := strconv.Atoi(attributes[name]); err == nil {
		return time.Duration(n) * time.Second
	}
	return otherwise
}
