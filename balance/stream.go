package balance

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"golang.org/x/sys/unix"

	"havn/balance/route"
)

// dialTimeout is how long a target may take to accept a connection.
const dialTimeout = 10 * time.Second

// defaultIdle is how long a connection may be silent (AWS, "Network Load Balancer listeners": tcp.idle_timeout.seconds).
const defaultIdle = 350 * time.Second

// stream joins a client of a TCP or TLS listener with a target, until both have said all. wire is the connection below
// client, or client itself.
func (b *Balance) stream(client halfCloser, wire *net.TCPConn, listenerARN string) {
	from, to := addrPort(wire.RemoteAddr()), addrPort(wire.LocalAddr())
	g, target, done := b.begin(listenerARN, flow{"tcp", from, to})
	if done == nil {
		reset(wire)
		return
	}
	defer done()
	conn, err := net.DialTimeout("tcp", target.Address.String(), dialTimeout)
	if err != nil {
		b.Log.Debug("cannot connect to a target", "target", target.Key, "error", err)
		reset(wire)
		return
	}
	defer conn.Close()
	backWire := conn.(*net.TCPConn)
	defer b.flows.add(target, func() { reset(wire); backWire.Close() })()
	if on(g.Record.Attributes, "proxy_protocol_v2.enabled", false) {
		if _, err := conn.Write(proxyHeader("tcp", from, to)); err != nil {
			return
		}
	}
	back := halfCloser(backWire)
	if g.Record.Protocol == elb.ProtocolEnumTls {
		// A Network Load Balancer does not check a target's certificate (AWS, "Target groups for your Network Load
		// Balancers").
		back = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}) //nolint:gosec // as AWS
	}
	idle := defaultIdle
	if l := b.table.Load().Listeners[listenerARN]; l != nil {
		idle = seconds(l.Record.Attributes, "tcp.idle_timeout.seconds", defaultIdle)
	}
	defer watchIdle(idle, wire, backWire)()
	join(client, back)
}

// begin chooses a target and counts the flow there. done, which ends the count, is nil where there is no target.
func (b *Balance) begin(listenerARN string, f flow) (*route.Group, route.Target, func()) {
	for {
		t := b.table.Load()
		l := t.Listeners[listenerARN]
		if l == nil {
			return nil, route.Target{}, nil
		}
		g, target, ok := pick(b.seed, l, f)
		if !ok {
			return nil, route.Target{}, nil
		}
		gauge := b.Gauges.Of(target.Key)
		if gauge.Begin(func() bool { return b.table.Load() == t }) {
			return g, target, gauge.End
		}
	}
}

// halfCloser is a connection of which one direction can be ended.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways. The end of one direction is passed on, and the other goes on until its own end. Between two
// TCP connections the kernel does the copying (splice(2)).
func join(a, b halfCloser) {
	var both sync.WaitGroup
	pass := func(to, from halfCloser) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil { // one of the two is broken, so the other one has nobody to talk to
			a.Close()
			b.Close()
		}
	}
	both.Go(func() { pass(a, b) })
	pass(b, a)
	both.Wait()
}

// watchIdle resets both connections when nothing has come from either for so long. The kernel knows when that was, so
// nothing is done for each packet. The function that it returns ends the watch.
func watchIdle(idle time.Duration, a, b *net.TCPConn) (end func()) {
	var mu sync.Mutex
	var timer *time.Timer
	ended := false
	timer = time.AfterFunc(idle, func() {
		silent := min(silentFor(a), silentFor(b))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ended:
		case silent >= idle:
			reset(a)
			reset(b)
		default:
			timer.Reset(idle - silent)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}

// silentFor is how long ago a connection's other end sent something.
func silentFor(conn *net.TCPConn) time.Duration {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	var got error
	if err := raw.Control(func(fd uintptr) { info, got = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); errors.Join(err, got) != nil {
		return 0
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond
}

// reset closes a connection so that its other end sees that it was cut, as a Network Load Balancer does.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0) //nolint:errcheck // it is closed already then
	conn.Close()
}

func addrPort(a net.Addr) netip.AddrPort {
	var found netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		found = a.AddrPort()
	case *net.UDPAddr:
		found = a.AddrPort()
	}
	return netip.AddrPortFrom(found.Addr().Unmap(), found.Port())
}

// on is an attribute that is true or false.
func on(attributes map[string]string, name string, otherwise bool) bool {
	if value, ok := attributes[name]; ok {
		return value == "true"
	}
	return otherwise
}

// seconds is an attribute in seconds.
func seconds(attributes map[string]string, name string, otherwise time.Duration) time.Duration {
	if n, err := strconv.Atoi(attributes[name]); err == nil {
		return time.Duration(n) * time.Second
	}
	return otherwise
}
