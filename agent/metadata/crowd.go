package metadata

import (
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/time/rate"
)

// crowd keeps those who ask apart: how often each may ask, and how many connections each may have. On the bridge
// everybody has an address. On the host's network nobody has one, and a container is told from others by its id, which
// it says in each request.
type crowd struct {
	mu     sync.Mutex
	rates  map[asker]*rate.Limiter
	places map[place][]*visit // the oldest first
	visits map[net.Conn]*visit
}

// asker is who asks: a container on the bridge by its address, any other by its id. Those whose id nobody has are one.
type asker struct {
	from netip.Addr
	id   string
}

// place is what connections are counted for. All of the host's network are of one place, and those of siblings too.
type place struct {
	door door
	from netip.Addr // on the bridge
}

// limit is how many connections a place has room for.
func (p place) limit() int {
	if p.door == onBridge {
		return maxConns
	}
	return maxHostConns
}

// visit is a connection.
type visit struct {
	place
	conn net.Conn
	asks bool // a request of it is being answered
}

// maxAskers is how many are known before those are forgotten whose rate is as if they were new.
const maxAskers = 1024

// rate finds an asker's.
func (c *crowd) rate(who asker) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.rates[who]
	if l == nil {
		if c.rates == nil {
			c.rates = map[asker]*rate.Limiter{}
		}
		if len(c.rates) >= maxAskers {
			maps.DeleteFunc(c.rates, func(_ asker, l *rate.Limiter) bool { return l.Tokens() >= burst })
		}
		l = rate.NewLimiter(steadyRate, burst)
		c.rates[who] = l
	}
	return l
}

// admit answers a request that is one too many, and says so in the headers of all.
func (c *crowd) admit(w http.ResponseWriter, r *http.Request, who asker) bool {
	w.Header().Set("X-Rate-Limit-Limit", "40.00")
	w.Header().Set("X-Rate-Limit-Duration", "1")
	if c.rate(who).Allow() {
		return true
	}
	w.Header().Set("X-Rate-Limit-Request-Remote-Addr", r.RemoteAddr)
	http.Error(w, "You have reached maximum request limit.", http.StatusTooManyRequests)
	return false
}

// arrive lets a connection in. Where there is no room the one goes that has been there longest without a request that is
// being answered, so that nobody keeps others out by staying; and the new one if all are being answered.
func (c *crowd) arrive(conn net.Conn, at door) *visit {
	v := &visit{place: place{door: at}, conn: conn}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok && at == onBridge {
		v.from = tcp.AddrPort().Addr().Unmap()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if here := c.places[v.place]; len(here) >= v.limit() {
		i := slices.IndexFunc(here, func(other *visit) bool { return !other.asks })
		if i < 0 {
			conn.Close()
			return v
		}
		here[i].conn.Close()
		c.forget(here[i])
	}
	if c.visits == nil {
		c.places, c.visits = map[place][]*visit{}, map[net.Conn]*visit{}
	}
	c.places[v.place] = append(c.places[v.place], v)
	c.visits[conn] = v
	return v
}

// connState sees connections leave.
func (c *crowd) connState(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.visits[conn]; v != nil {
		c.forget(v)
	}
}

// forget takes a connection out. The caller holds mu.
func (c *crowd) forget(v *visit) {
	delete(c.visits, v.conn)
	here := slices.DeleteFunc(c.places[v.place], func(other *visit) bool { return other == v })
	if c.places[v.place] = here; len(here) == 0 {
		delete(c.places, v.place)
	}
}

// asking notes that a request of a connection is being answered, until done is called.
func (c *crowd) asking(v *visit) (done func()) {
	set := func(asks bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		v.asks = asks
	}
	set(true)
	return func() { set(false) }
}
