package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"syscall"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"golang.org/x/net/http2"

	"havn/balance/load"
	"havn/balance/route"
)

// dialTimeout is how long a target has to take a connection. User Guide, "HTTP 504": 10 seconds.
const dialTimeout = 10 * time.Second

// maxIdle is how many idle connections are kept to a target.
const maxIdle = 1024

// backend is a target that requests are sent to.
type backend struct {
	gauge   *load.Gauge
	address string
	secure  bool

	mu      sync.Mutex
	idle    []*upstream // the last used one last: what is used is kept warm, and the rest expires
	retired bool
	h2      *http2.Transport
}

// upstream is a connection to a target.
type upstream struct {
	side
	b      *backend
	since  int64 // the tick at which it was last used
	until  int64 // the tick at which it is too old to be used
	reused bool
	peek   syscall.RawConn
	answer response
	body   body
}

func (p *Proxy) backend(t *route.Target, g *route.Group) *backend {
	gauge := p.Gauges.Of(t.Key)
	secure := g.Record.Protocol == elb.ProtocolEnumHttps
	address := t.Address.String()
	for {
		if found, ok := p.backends.Load(t.Key); ok {
			b := found.(*backend)
			b.mu.Lock()
			same := b.gauge == gauge && b.address == address && b.secure == secure && (!b.retired || t.Draining)
			b.mu.Unlock()
			if same {
				return b
			}
			b.retire()
			p.backends.CompareAndDelete(t.Key, b)
		}
		b := &backend{gauge: gauge, address: address, secure: secure, retired: t.Draining}
		if _, taken := p.backends.LoadOrStore(t.Key, b); !taken {
			return b
		}
	}
}

// retire closes the idle connections; those in use are closed when they would become idle.
func (b *backend) retire() {
	b.mu.Lock()
	idle, h2 := b.idle, b.h2
	b.idle, b.retired = nil, true
	b.mu.Unlock()
	for _, u := range idle {
		u.c.Close()
	}
	if h2 != nil {
		h2.CloseIdleConnections()
	}
}

// take returns an idle connection that is still good; nil if there is none. A connection that was used just now is taken
// as it is, unless it is to be looked at: that costs a system call, and where it matters less there is a retry as well.
func (b *backend) take(tick int64, look bool) *upstream {
	for {
		b.mu.Lock()
		n := len(b.idle)
		if n == 0 {
			b.mu.Unlock()
			return nil
		}
		u := b.idle[n-1]
		b.idle[n-1] = nil
		b.idle = b.idle[:n-1]
		b.mu.Unlock()
		if tick < u.until && (!look && u.since == tick || !u.spoilt()) {
			u.reused = true
			return u
		}
		u.c.Close()
	}
}

// give makes a connection idle, for some ticks.
func (b *backend) give(u *upstream, tick int64, idle int64) {
	u.since, u.until, u.moved = tick, tick+idle, nil
	u.settle()
	b.mu.Lock()
	if b.retired || len(b.idle) >= maxIdle {
		b.mu.Unlock()
		u.c.Close()
		return
	}
	b.idle = append(b.idle, u)
	b.mu.Unlock()
}

// expire closes the idle connections whose time is over, and reports whether some are left.
func (b *backend) expire(tick int64) bool {
	var over []*upstream
	b.mu.Lock()
	kept := b.idle[:0]
	for _, u := range b.idle {
		if tick >= u.until {
			over = append(over, u)
		} else {
			kept = append(kept, u)
		}
	}
	clear(b.idle[len(kept):])
	b.idle = kept
	left := len(kept) > 0
	b.mu.Unlock()
	for _, u := range over {
		u.c.Close()
	}
	return left
}

// spoilt reports whether the target has closed an idle connection, or said something unasked.
func (u *upstream) spoilt() bool {
	if u.buffered() > 0 || u.peek == nil {
		return true
	}
	spoilt := true
	err := u.peek.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		spoilt = err != syscall.EAGAIN && err != syscall.EINTR
		return true
	})
	return spoilt || err != nil
}

// keeps is for how many ticks a connection may be idle: a target that says when it closes it is believed, for it would
// close it under the next request.
func (u *upstream) keeps(p *Proxy, w *watch) int64 {
	idle := w.idle.Load()
	if said := u.answer.idle; said > 0 {
		return min(idle, max(0, p.ticks(time.Duration(said)*time.Second-time.Second)-2))
	}
	return idle
}

// dial makes a new connection.
func (b *backend) dial() (*upstream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", b.address)
	if err != nil {
		return nil, err
	}
	u := &upstream{b: b}
	u.c = raw
	if sys, ok := raw.(syscall.Conn); ok {
		u.peek, _ = sys.SyscallConn()
	}
	if b.secure {
		// "The load balancer does not validate these certificates." User Guide, "Target groups", routing configuration.
		secure := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		u.c = secure
	}
	return u, nil
}
