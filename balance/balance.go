package balance

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"havn/balance/load"
	"havn/balance/route"
	"havn/state"
)

// Config of the load balancers' data plane.
type Config struct {
	Store *state.Store
	Log   *slog.Logger
	// HTTP serves the connections of HTTP and HTTPS listeners.
	HTTP HTTP
	// Gauges are counted on by HTTP too.
	Gauges *load.Gauges
	// Outside are the machine's addresses that internet-facing load balancers listen on, beside loopback. Nil are all
	// that it has, as they come and go; empty are none. Internal load balancers never listen there.
	Outside []netip.Addr
}

// HTTP speaks HTTP with clients and targets.
type HTTP interface {
	// Serve serves one connection of a listener, until it is over, and closes it. A *tls.Conn has had its handshake.
	// table gives the table in force: Serve asks anew for each request, and ends the connection when its listener is
	// gone. Where Serve sends to a target, it counts that with load.Gauge.Begin, whose question is whether table()
	// is still the one that the target was chosen from.
	Serve(conn net.Conn, table func() *route.Table, listenerARN string)
	// Follow closes idle connections to targets that a table, which has just been put in force, sends nothing to.
	Follow(t *route.Table)
}

// Balance is the data plane.
type Balance struct {
	Config
	table   atomic.Pointer[route.Table]
	conns   conns
	tls     tlsConfigs
	flows   flows
	reports *reports
	probe   func(context.Context, check) verdict
	seed    maphash.Seed
	outside atomic.Pointer[[]netip.Addr] // Config.Outside, or what the machine has
	changed chan struct{}                // the state, or something else that Run follows; holds one
}

// New makes a data plane that does nothing yet.
func New(c Config) *Balance {
	b := &Balance{Config: c, reports: newReports(c.Store, c.Log), probe: probe, seed: maphash.MakeSeed(), changed: make(chan struct{}, 1)}
	b.table.Store(&route.Table{})
	addresses := c.Outside
	if addresses == nil {
		addresses = outside()
	}
	b.outside.Store(&addresses)
	return b
}

// Run serves until ctx ends. It can be called once.
func (b *Balance) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	b.poke()
	health := newProber(b.probe, b.reports.healthOf)
	s, d := newSockets(b), newDrains(b)

	var parts sync.WaitGroup
	parts.Go(func() { b.reports.run(ctx) })
	parts.Go(func() { health.run(ctx) })
	var seen state.Revision
	b.Store.View(func(r *state.Reader) { seen = r.Revision() })
	parts.Go(func() {
		for c := range b.Store.Watch(ctx, seen) {
			if concerns(c) {
				b.poke()
			}
		}
		cancel() // we are told to end, or the store has ended
	})
	if b.Outside == nil {
		parts.Go(func() { watchOutside(ctx, &b.outside, b.poke) })
	}
	b.work(ctx, s, d, health)

	cancel()
	s.close()
	d.close()
	b.conns.end()
	parts.Wait()
	return context.Cause(ctx)
}

// poke makes Run look again.
func (b *Balance) poke() {
	select {
	case b.changed <- struct{}{}:
	default: // whoever reads it will see this change as well
	}
}

// work follows the state.
func (b *Balance) work(ctx context.Context, s *sockets, d *drains, health *prober) {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.changed:
			var t *route.Table
			b.Store.View(func(r *state.Reader) { t = route.Build(r) })
			b.table.Store(t) // before d looks at gauges
			if b.HTTP != nil {
				b.HTTP.Follow(t)
			}
			b.tls.keep(t)
			health.follow(t)
			d.follow(t, time.Now())
		case <-retry.C:
		}
		again := s.follow(b.table.Load(), *b.outside.Load(), time.Now())
		wait := time.Hour
		if !again.IsZero() {
			wait = time.Until(again)
		}
		retry.Reset(wait)
	}
}

// concerns reports whether a commit changes what a table is made of.
func concerns(c state.Commit) bool {
	if c.Whole {
		return true
	}
	for _, change := range c.Changes {
		switch change.Table {
		case state.Listeners.Name(), state.ListenerRules.Name(), state.TargetGroups.Name(), state.Targets.Name(), state.Certificates.Name():
			return true
		case state.LoadBalancers.Name():
			before, _ := change.Old.(state.LoadBalancer)
			after, _ := change.New.(state.LoadBalancer)
			before.State = after.State // which is ours
			if !reflect.DeepEqual(before, after) {
				return true
			}
		case state.Nodes.Name():
			before, _ := change.Old.(state.Node)
			after, _ := change.New.(state.Node)
			if before.Address != after.Address || before.EC2InstanceID != after.EC2InstanceID {
				return true
			}
		}
	}
	return false
}
