package metadata

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// crowd keeps those who ask apart, by their addresses: how many connections each has, and how often it may ask. It knows
// no more addresses than the bridge's subnet has, and those of the host, who counts as one.
type crowd struct {
	mu   sync.Mutex
	some map[netip.Addr]*asker
}

type asker struct {
	conns int
	rate  *rate.Limiter
}

// from finds an asker, or makes room for one. The caller holds mu.
func (c *crowd) from(at netip.Addr) *asker {
	if c.some == nil {
		c.some = map[netip.Addr]*asker{}
	}
	a := c.some[at]
	if a == nil {
		a = &asker{rate: rate.NewLimiter(steadyRate, burst)}
		c.some[at] = a
	}
	return a
}

// connState counts connections, and closes one that is too many.
func (c *crowd) connState(conn net.Conn, state http.ConnState) {
	at := netip.Addr{}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		at = sourceOf(tcp.AddrPort().Addr().Unmap(), conn)
	}
	c.mu.Lock()
	a := c.from(at)
	switch state {
	case http.StateNew:
		a.conns++
	case http.StateClosed, http.StateHijacked:
		a.conns--
	}
	tooMany := a.conns > maxConns
	c.mu.Unlock()
	if tooMany && state == http.StateNew {
		conn.Close()
	}
}

// admit answers a request that is one too many, and says so in the headers of all.
func (c *crowd) admit(w http.ResponseWriter, r *http.Request) bool {
	at := netip.Addr{}
	if r.Context().Value(doorKey{}) == onBridge {
		at = remote(r)
	}
	c.mu.Lock()
	limiter := c.from(at).rate
	c.mu.Unlock()
	w.Header().Set("X-Rate-Limit-Limit", "40.00")
	w.Header().Set("X-Rate-Limit-Duration", "1")
	if limiter.Allow() {
		return true
	}
	w.Header().Set("X-Rate-Limit-Request-Remote-Addr", r.RemoteAddr)
	http.Error(w, "You have reached maximum request limit.", http.StatusTooManyRequests)
	return false
}

// sourceOf is the zero Addr for the host's network, whose listener is on the loopback interface.
func sourceOf(from netip.Addr, conn net.Conn) netip.Addr {
	if local, ok := conn.LocalAddr().(*net.TCPAddr); ok && local.IP.IsLoopback() {
		return netip.Addr{}
	}
	return from
}
