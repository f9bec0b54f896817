package balance

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/state"
)

// The health of targets (AWS, "Health checks for Application Load Balancer target groups" and "Target health status").
//
//	          first success                 Unhealthy failures in a row
//	initial ----------------> healthy  ----------------------------------> unhealthy
//	   |                         ^                                             |
//	   |                         +--------- Healthy successes in a row --------+
//	   +-- Unhealthy failures, one interval apart -------------------------> unhealthy
//
//	unused: no listener leads to the group, or nobody knows where the target is
//
// AWS probes an initial target once an interval as any other, so a task that answers after a second may wait for half a
// minute. Here it is probed in quick succession until it answers, ever more slowly, up to the interval: the gap is a
// tenth of the time that it has been waited for. So it is healthy within a tenth of the time that it took to come up,
// and the number of probes grows with the logarithm of that time. The failures in between do not count: unhealthy comes
// after as many intervals as on AWS.

const (
	// minGap is the shortest between two probes of an initial target.
	minGap = 5 * time.Millisecond
	// perInitial is how much that grows with each target that is initial too: all of them together are probed at most
	// once in it.
	perInitial = time.Millisecond
	// patienceShare is which part of the time that an initial target has been waited for is waited until its next probe.
	patienceShare = 10
	// maxProbes is how many are under way at a time; others wait for one to end.
	maxProbes = 2048
)

// check is a probe to be made.
type check struct {
	address netip.AddrPort
	version string // of the target group's protocol: HTTP1, HTTP2 or GRPC
	record  state.HealthCheck
}

// verdict is what a probe came to. The zero value is a success.
type verdict struct {
	reason      elb.TargetHealthReasonEnum
	description string
}

// prober probes. One goroutine owns it.
type prober struct {
	probe  func(context.Context, check) verdict
	report func(key string, s sighting)

	tables   chan *route.Table // the latest; holds one
	results  chan result
	targets  map[string]*probed
	queue    queue
	initial  int // how many of the queue are initial
	underWay int
}

// probed is a target.
type probed struct {
	key        string
	check      check
	registered time.Time
	health     state.TargetHealth
	since      time.Time // when it became initial
	good, bad  int32     // in a row
	counted    time.Time // when a failure last counted
	started    time.Time // its probe that is under way, or was last
	busy       bool
	due        time.Time
	place      int // in the queue; -1 = not there
}

type result struct {
	p *probed
	v verdict
}

func newProber(probe func(context.Context, check) verdict, report func(string, sighting)) *prober {
	return &prober{probe: probe, report: report, tables: make(chan *route.Table, 1), results: make(chan result), targets: map[string]*probed{}}
}

// follow gives the prober a new table, in the place of one that it has not looked at yet.
func (p *prober) follow(t *route.Table) {
	select {
	case <-p.tables:
	default:
	}
	p.tables <- t // only Run sends
}

// run probes until ctx ends, and returns when no probe is under way.
func (p *prober) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(p.next())
		select {
		case <-ctx.Done():
			for ; p.underWay > 0; p.underWay-- {
				<-p.results
			}
			return
		case t := <-p.tables:
			p.take(t, time.Now())
		case r := <-p.results:
			p.underWay--
			p.learn(r, time.Now())
		case <-timer.C:
		}
		p.start(ctx)
	}
}

// next is how long nothing is to be done.
func (p *prober) next() time.Duration {
	if len(p.queue) == 0 || p.underWay >= maxProbes {
		return time.Hour
	}
	return time.Until(p.queue[0].due)
}

// start begins all probes that are due.
func (p *prober) start(ctx context.Context) {
	now := time.Now()
	for len(p.queue) > 0 && p.underWay < maxProbes && !p.queue[0].due.After(now) {
		t := p.queue[0]
		p.unqueue(t)
		t.busy, t.started = true, now
		p.underWay++
		c := t.check
		go func() {
			limited, cancel := context.WithTimeout(ctx, time.Duration(c.record.TimeoutSeconds)*time.Second)
			defer cancel()
			p.results <- result{t, p.probe(limited, c)}
		}()
	}
}

// take learns which targets there are.
func (p *prober) take(t *route.Table, now time.Time) {
	gone := make(map[string]bool, len(p.targets))
	for key := range p.targets {
		gone[key] = true
	}
	for _, g := range t.Groups {
		for _, target := range g.Targets {
			if target.Draining {
				continue
			}
			delete(gone, target.Key)
			p.see(g, target, now)
		}
	}
	for key := range gone {
		p.unqueue(p.targets[key])
		delete(p.targets, key)
	}
}

// see learns of one target.
func (p *prober) see(g *route.Group, target route.Target, now time.Time) {
	t, known := p.targets[target.Key]
	if !known || !t.registered.Equal(target.Record.RegisteredAt) {
		if known {
			p.unqueue(t)
		}
		t = &probed{key: target.Key, registered: target.Record.RegisteredAt, health: target.Record.Health, since: now, place: -1}
		if t.health.State == "" {
			t.health.State = elb.TargetHealthStateEnumInitial
		}
		p.targets[target.Key] = t
		t.due = now
		if !t.is(elb.TargetHealthStateEnumInitial) { // we have been restarted: go on where we were, not all at once
			t.due = now.Add(rand.N(interval(g.Record.HealthCheck)))
		}
	}
	t.check = check{target.Address, g.Record.ProtocolVersion, g.Record.HealthCheck}
	switch {
	case !g.Used:
		p.rest(t, elb.TargetHealthStateEnumUnused, elb.TargetHealthReasonEnumNotInUse, "Target group is not configured to receive traffic from the load balancer", now)
	case !target.Address.Addr().IsValid():
		p.rest(t, elb.TargetHealthStateEnumUnused, elb.TargetHealthReasonEnumInvalidState, "Target is in the stopped or terminated state", now)
	case !g.Record.HealthCheck.Enabled:
		p.rest(t, elb.TargetHealthStateEnumUnavailable, elb.TargetHealthReasonEnumHealthCheckDisabled, "Health checks are not enabled for this target group", now)
	default:
		if t.is(elb.TargetHealthStateEnumUnused) || t.is(elb.TargetHealthStateEnumUnavailable) {
			p.say(t, elb.TargetHealthStateEnumInitial, elb.TargetHealthReasonEnumInitialHealthChecking, "Initial health checks in progress", now)
			t.since, t.due, t.counted = now, now, time.Time{}
		}
		if t.place < 0 && !t.busy {
			p.enqueue(t)
		}
	}
}

// rest is that a target is not probed.
func (p *prober) rest(t *probed, s elb.TargetHealthStateEnum, reason elb.TargetHealthReasonEnum, description string, now time.Time) {
	p.unqueue(t)
	p.say(t, s, reason, description, now)
}

// learn takes in what a probe came to.
func (p *prober) learn(r result, now time.Time) {
	t := r.p
	t.busy = false
	if p.targets[t.key] != t || t.is(elb.TargetHealthStateEnumUnused) || t.is(elb.TargetHealthStateEnumUnavailable) {
		return // it is not to be probed any more
	}
	every := interval(t.check.record)
	initial := t.is(elb.TargetHealthStateEnumInitial)
	if r.v == (verdict{}) {
		t.good, t.bad = t.good+1, 0
		if initial || t.is(elb.TargetHealthStateEnumUnhealthy) && t.good >= t.check.record.Healthy {
			p.say(t, elb.TargetHealthStateEnumHealthy, "", "", now)
		}
	} else if !initial || t.counted.IsZero() || t.started.Sub(t.counted) >= every {
		t.good, t.bad, t.counted = 0, t.bad+1, t.started
		if t.bad >= t.check.record.Unhealthy {
			p.say(t, elb.TargetHealthStateEnumUnhealthy, r.v.reason, r.v.description, now)
		}
	}
	t.due = t.started.Add(every)
	if t.is(elb.TargetHealthStateEnumInitial) {
		gap := max(minGap, now.Sub(t.since)/patienceShare, time.Duration(p.initial)*perInitial)
		t.due = now.Add(min(gap, every))
		if !t.counted.IsZero() && t.due.After(t.counted.Add(every)) && now.Before(t.counted.Add(every)) {
			t.due = t.counted.Add(every) // the one that counts comes in time
		}
	}
	p.enqueue(t)
}

// say reports a target's health where that changes.
func (p *prober) say(t *probed, s elb.TargetHealthStateEnum, reason elb.TargetHealthReasonEnum, description string, now time.Time) {
	if t.is(s) && t.health.Reason == reason && t.health.Description == description {
		return
	}
	since := t.health.Since
	if !t.is(s) {
		since = now
		t.good, t.bad = 0, 0
	}
	t.health = state.TargetHealth{State: s, Reason: reason, Description: description, Since: since}
	p.report(t.key, sighting{t.registered, t.health})
}

func (t *probed) is(s elb.TargetHealthStateEnum) bool { return t.health.State == s }

func interval(c state.HealthCheck) time.Duration {
	return max(time.Second, time.Duration(c.IntervalSeconds)*time.Second)
}

// at is where a check goes to.
func (c check) at() string {
	port := c.address.Port()
	if n, err := strconv.ParseUint(c.record.Port, 10, 16); err == nil {
		port = uint16(n)
	}
	return netip.AddrPortFrom(c.address.Addr(), port).String()
}

func (p *prober) enqueue(t *probed) {
	if t.is(elb.TargetHealthStateEnumInitial) {
		p.initial++
	}
	heap.Push(&p.queue, t)
}

func (p *prober) unqueue(t *probed) {
	if t.place < 0 {
		return
	}
	if t.is(elb.TargetHealthStateEnumInitial) {
		p.initial--
	}
	heap.Remove(&p.queue, t.place)
}

// queue has the target that is due first at its head.
type queue []*probed

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push is for container/heap.
func (q *queue) Push(x any) {
	t := x.(*probed)
	t.place = len(*q)
	*q = append(*q, t)
}

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q, t.place = old[:len(old)-1], -1
	return t
}
