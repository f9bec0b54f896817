package balance

import (
	"time"

	"havn/balance/route"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// defaultDelay is deregistration_delay.timeout_seconds where that is not set.
const defaultDelay = 300 * time.Second

// drains are the targets that get nothing new, until nothing is under way to them. Only Run's goroutine touches it.
//
// A target is drained once what was under way is over, or when the delay is, whichever comes first (AWS, "Deregistration
// delay"). The table without it is in force before its gauge is looked at, so nothing can come any more (package load).
type drains struct {
	b       *Balance
	waiting map[string]*drain
	// there are the targets of the last table, and unhealthy those of them that were.
	there, unhealthy map[string]bool
}

// drain is one of them.
type drain struct {
	registered time.Time
	ends       time.Time
	timer      *time.Timer
}

func newDrains(b *Balance) *drains {
	return &drains{b: b, waiting: map[string]*drain{}}
}

// follow begins to wait for the targets that a table, which is in force, no longer leads to.
func (d *drains) follow(t *route.Table, now time.Time) {
	draining, there, unhealthy := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, g := range t.Groups {
		delay := seconds(g.Record.Attributes, "deregistration_delay.timeout_seconds", defaultDelay)
		for _, target := range g.Targets {
			there[target.Key] = true
			if target.Record.Health.State == elb.TargetHealthStateEnumUnhealthy {
				unhealthy[target.Key] = true
				if !d.unhealthy[target.Key] && cutsUnhealthy(g) {
					d.b.flows.cut(target.Key)
				}
			}
			if !target.Draining || target.Record.Drained {
				continue
			}
			draining[target.Key] = true
			d.wait(g, target, target.Record.DrainingSince.Add(delay), now)
		}
	}
	for key, w := range d.waiting {
		if !draining[key] {
			w.timer.Stop()
			d.b.Gauges.Of(key).WhenIdle(nil)
			delete(d.waiting, key)
		}
	}
	for key := range d.there {
		if !there[key] {
			d.b.Gauges.Forget(key)
		}
	}
	d.there, d.unhealthy = there, unhealthy
}

// cutsUnhealthy reports whether a target's connections are cut when it becomes unhealthy (AWS, "Connection termination
// for unhealthy targets"): of TCP and TLS target groups, unless that is switched off.
func cutsUnhealthy(g *route.Group) bool {
	if p := g.Record.Protocol; p != elb.ProtocolEnumTcp && p != elb.ProtocolEnumTls {
		return false
	}
	return on(g.Record.Attributes, "target_health_state.unhealthy.connection_termination.enabled", true)
}

// cutsDrained reports whether what is still under way when the delay is over is cut: of UDP target groups unless that is
// switched off, of others where it is switched on.
func cutsDrained(g *route.Group) bool {
	p := g.Record.Protocol
	udp := p == elb.ProtocolEnumUdp || p == elb.ProtocolEnumTcpUdp
	return on(g.Record.Attributes, "deregistration_delay.connection_termination.enabled", udp)
}

func (d *drains) wait(g *route.Group, target route.Target, ends, now time.Time) {
	w := d.waiting[target.Key]
	if w != nil && w.registered.Equal(target.Record.RegisteredAt) && w.ends.Equal(ends) {
		return
	}
	if w != nil {
		w.timer.Stop()
	}
	key, registered, cuts := target.Key, target.Record.RegisteredAt, cutsDrained(g)
	w = &drain{registered: registered, ends: ends}
	w.timer = time.AfterFunc(ends.Sub(now), func() {
		d.b.reports.drained(key, registered)
		if cuts {
			d.b.flows.cut(key)
		}
	})
	d.waiting[key] = w
	d.b.Gauges.Of(key).WhenIdle(func() { d.b.reports.drained(key, registered) })
}

// close stops waiting. Who starts next finds the same targets draining.
func (d *drains) close() {
	for key, w := range d.waiting {
		w.timer.Stop()
		d.b.Gauges.Of(key).WhenIdle(nil)
	}
}
