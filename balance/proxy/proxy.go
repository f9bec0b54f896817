// Package proxy speaks HTTP between the clients of load balancers and their targets.
//
//	client --HTTP/1.1--> conn ----.               .---> upstream (HTTP/1.1, pooled)
//	       --HTTP/2----> stream --+--> exchange --+
//	                              |    (one request)  `---> HTTP/2 (gRPC)
//	                              `- route: which rule, which target
//
// HTTP/1.1 is spoken by code of our own on the connections, because that is what nearly all requests are, and because
// what a balancer needs of a message is less than what a server does: where it ends, and a few fields. RFD 0020 has the
// numbers. HTTP/2 is golang.org/x/net/http2's. Words:
//
//   - A side is a connection with its buffers; a body is what follows a head, as it comes.
//   - An exchange is a request and its answer. It is counted on its target's gauge from before the first byte goes there
//     until the last has come back, or nothing more will.
//   - A backend is what is known of a target: its gauge, and its idle connections.
//   - The sweep looks at all connections twice a second: for those whose time is over, and for clients that have gone
//     while their target thinks. So no read or write of a request pays for a deadline.
package proxy

import (
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"havn/balance/load"
	"havn/balance/route"
)

// Config of a Proxy.
type Config struct {
	Gauges *load.Gauges
	Log    *slog.Logger
	// CookieKey is what stickiness cookies are sealed with, 32 bytes. Without one, they are good for the process's life.
	CookieKey []byte
	// AccessLog takes the entries of load balancers that want access logs, each a line. Nil = there are none.
	AccessLog func(balancerARN string, line []byte)
	// sweep is how often the sweep comes; tests have no time.
	sweep time.Duration
}

// Proxy is the HTTP data plane.
type Proxy struct {
	Config
	backends sync.Map // target key -> *backend
	turns    sync.Map // target group ARN -> *atomic.Uint64
	last     atomic.Pointer[companion]
	seals    seals
	sweeper  sweeper
	dates    dates
}

// New makes a proxy.
func New(c Config) *Proxy {
	if c.Gauges == nil {
		c.Gauges = &load.Gauges{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.sweep == 0 {
		c.sweep = sweepEvery
	}
	if len(c.CookieKey) != 32 {
		c.CookieKey = make([]byte, 32)
		rand.Read(c.CookieKey)
	}
	p := &Proxy{Config: c, seals: newSeals(c.CookieKey)}

	return p
}

// Serve serves one connection of a listener until it is over, and closes it. A *tls.Conn has had its handshake. The
// table in force is asked for anew for each request; the connection ends when its listener is gone.
func (p *Proxy) Serve(conn net.Conn, table func() *route.Table, listenerARN string) {
	at := &entry{p: p, table: table, arn: listenerARN, raw: conn}
	at.remote, _ = netip.ParseAddrPort(conn.RemoteAddr().String())
	at.remote = netip.AddrPortFrom(at.remote.Addr().Unmap(), at.remote.Port())
	at.local, _ = netip.ParseAddrPort(conn.LocalAddr().String())
	at.remoteIP = at.remote.Addr().WithZone("").String()
	if secure, ok := conn.(*tls.Conn); ok {
		state := secure.ConnectionState()
		at.tls, at.raw = &state, secure.NetConn()
		if state.NegotiatedProtocol == "h2" {
			p.serveHTTP2(conn, at)
			return
		}
	}
	p.serveHTTP1(conn, at)
}

// entry is where requests come in: a client's connection.
type entry struct {
	p        *Proxy
	table    func() *route.Table
	arn      string
	raw      net.Conn // beneath TLS
	remote   netip.AddrPort
	local    netip.AddrPort
	remoteIP string
	tls      *tls.ConnectionState // nil = it is plain

	now      *route.Table // what listener is of; asked by one goroutine only, in HTTP/1
	listener *route.Listener
}

// look returns the listener as it is now; nil if it is gone.
func (e *entry) look() (*route.Table, *route.Listener) {
	t := e.table()
	if t != e.now {
		e.now, e.listener = t, t.Listeners[e.arn]
	}
	return t, e.listener
}

func (e *entry) scheme() string {
	if e.tls != nil {
		return "https"
	}
	return "http"
}

// companion is what the proxy keeps beside a table.
type companion struct {
	table  *route.Table
	groups sync.Map // *route.Group -> *members
}

// members are the targets of a group, by their indexes in it.
type members struct {
	turn     *atomic.Uint64
	backends []*backend
	underWay func(int) int64
}

// members returns those of a group of a table.
func (p *Proxy) members(t *route.Table, g *route.Group) *members {
	v := p.last.Load()
	if v == nil || v.table != t {
		v = &companion{table: t}
		p.last.Store(v)
	}
	if found, ok := v.groups.Load(g); ok {
		return found.(*members)
	}
	turn, _ := p.turns.LoadOrStore(g.Record.ARN, &atomic.Uint64{})
	m := &members{turn: turn.(*atomic.Uint64), backends: make([]*backend, len(g.Targets))}
	for i := range g.Targets {
		m.backends[i] = p.backend(&g.Targets[i], g)
	}
	m.underWay = func(i int) int64 { return m.backends[i].gauge.UnderWay.Load() }
	made, _ := v.groups.LoadOrStore(g, m)
	return made.(*members)
}

// Follow closes what a table leaves without use: idle connections to targets that drain or are gone, and of clients to
// listeners that are gone. Whoever puts a
// table in force calls it, afterwards.
func (p *Proxy) Follow(t *route.Table) {
	open := map[string]bool{}
	for _, g := range t.Groups {
		for i := range g.Targets {
			open[g.Targets[i].Key] = !g.Targets[i].Draining
		}
	}
	p.backends.Range(func(key, value any) bool {
		stays, there := open[key.(string)]
		if !stays {
			value.(*backend).retire()
		}
		if !there {
			p.backends.CompareAndDelete(key, value)
		}
		return true
	})
	p.sweeper.dismiss(func(arn string) bool { return t.Listeners[arn] != nil })
	p.turns.Range(func(arn, _ any) bool {
		if t.Groups[arn.(string)] == nil {
			p.turns.Delete(arn)
		}
		return true
	})
}
