package balance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/ports"
)

// sockets are all that are listened on. One goroutine, Run's, opens and closes them.
type sockets struct {
	b      *Balance
	open   map[endpoint]*socket
	failed map[endpoint]failure
	// claims are the loopback addresses in 127.18.0.0/16 that are this process's alone.
	claims map[netip.Addr]net.Listener
	// moves are the addresses that were claimed for load balancers whose own is another Havn's, by ARN.
	moves map[string]netip.Addr
	doors doors
	// told is what was reported of the load balancers.
	told map[string]elb.LoadBalancerState
}

// failure is why an endpoint is not listened on.
type failure struct {
	reason string
	tries  int
	again  time.Time
	// Of one that another Havn listens on, and hands over what is ours; nil of others.
	free   *atomic.Bool // it no longer does
	forget func()
}

// socket is one that is listened on.
type socket struct {
	stop    func()
	sharing atomic.Pointer[[]string] // ARNs of listeners, those of the oldest load balancer first
	others  atomic.Int32             // Havns that want clients of theirs handed over
}

func newSockets(b *Balance) *sockets {
	return &sockets{b: b, open: map[endpoint]*socket{}, failed: map[endpoint]failure{}, claims: map[netip.Addr]net.Listener{}, moves: map[string]netip.Addr{}, told: map[string]elb.LoadBalancerState{}, doors: doors{b, map[string]*net.UnixListener{}}}
}

// follow opens what a table wants, and closes what it no longer wants. It returns when to try again what failed; the
// zero time if nothing did.
func (s *sockets) follow(t *route.Table, outside []netip.Addr, now time.Time) (again time.Time) {
	own := s.claim(t)
	s.doors.follow(t)
	wanted := endpoints(t, own, outside)
	for e, socket := range s.open {
		if wanted[e] == nil {
			socket.stop()
			delete(s.open, e)
		}
	}
	for e := range s.failed {
		if wanted[e] == nil {
			s.forget(e)
		}
	}
	for e, listeners := range wanted {
		sharing := make([]string, len(listeners))
		for i, l := range listeners {
			sharing[i] = l.ARN
		}
		if socket := s.open[e]; socket != nil {
			if !slices.Equal(*socket.sharing.Load(), sharing) {
				socket.sharing.Store(&sharing)
			}
			continue
		}
		failed := s.failed[e]
		switch {
		case failed.free != nil && !failed.free.Load():
			continue
		case failed.free != nil:
			s.forget(e)
			failed = failure{}
		case now.Before(failed.again):
			again = earlier(again, failed.again)
			continue
		}
		socket, err := s.b.listen(e, sharing)
		switch {
		case err == nil:
			s.open[e] = socket
			s.forget(e)
		case absent(e, err):
			// the machine has no IPv6, and nobody misses it
		case errors.Is(err, syscall.EADDRINUSE) && s.held(e):
		default:
			failed.reason = s.reason(e, failed, err)
			failed.tries++
			failed.again = now.Add(patience(failed.tries))
			s.failed[e] = failed
			again = earlier(again, failed.again)
		}
	}
	states := s.states(t, wanted)
	for arn := range s.told {
		if _, is := states[arn]; !is {
			delete(s.told, arn)
		}
	}
	for arn, state := range states {
		if !sameState(s.told[arn], state) {
			s.told[arn] = state
			s.b.reports.balancer(arn, state)
		}
	}
	return again
}

// held notes that another Havn listens at an endpoint, if one does.
func (s *sockets) held(e endpoint) bool {
	free := &atomic.Bool{}
	forget, is := s.b.heldByHavn(e, func() {
		free.Store(true)
		s.b.poke()
	})
	if is {
		s.failed[e] = failure{free: free, forget: forget}
	}
	return is
}

// forget drops a failure.
func (s *sockets) forget(e endpoint) {
	if f := s.failed[e]; f.forget != nil {
		f.forget()
	}
	delete(s.failed, e)
}

// patience is how long to wait before a taken port is tried again: nobody tells when it becomes free, and trying costs
// two system calls.
func patience(tries int) time.Duration {
	return min(250*time.Millisecond<<min(tries-1, 6), 10*time.Second)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// absent reports whether an endpoint failed because the machine has no such address, which is nobody's fault: ::1 where
// there is no IPv6, or an address that has just gone.
func absent(e endpoint, err error) bool {
	gone := errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
	return gone && e.at.Addr() != loopback[0]
}

// reason says why an endpoint is not listened on, and who has its port; states adds where.
func (s *sockets) reason(e endpoint, before failure, err error) string {
	if before.reason != "" && before.tries%8 != 0 {
		return before.reason // finding out who has a port costs more than finding it taken
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := ports.Holder(e.network, e.at)
		if who == "" {
			who = "somebody who is not to be seen, such as a task's host port"
		}
		return fmt.Sprintf("port %d is taken by %s", e.at.Port(), who)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Sprintf("port %d needs a privilege (run Havn as root, give it CAP_NET_BIND_SERVICE, or lower the sysctl net.ipv4.ip_unprivileged_port_start)", e.at.Port())
	}
	return fmt.Sprintf("port %d cannot be listened on (%v)", e.at.Port(), err)
}

// close ends all sockets; connections go on.
func (s *sockets) close() {
	for _, socket := range s.open {
		socket.stop()
	}
	for e := range s.failed {
		s.forget(e)
	}
	for _, claim := range s.claims {
		claim.Close()
	}
	s.doors.close()
}

// listen opens a socket and serves what comes.
func (b *Balance) listen(e endpoint, sharing []string) (*socket, error) {
	s := &socket{}
	s.sharing.Store(&sharing)
	if e.network == "udp" {
		return s, b.listenUDP(e, s)
	}
	l, err := net.Listen("tcp", e.at.String())
	if err != nil {
		return nil, err
	}
	unmark := func() {}
	if e.shared() {
		unmark = b.leaveMark(e, &s.others)
	}
	s.stop = func() {
		l.Close()
		unmark() // now that the place is free
	}
	b.conns.run(func() {
		b.accept(l, func(conn *net.TCPConn) {
			sharing := *s.sharing.Load()
			if e.shared() {
				b.serve(conn, sharing, s.others.Load() > 0)
			} else if l := b.table.Load().Listeners[sharing[0]]; l != nil {
				b.serveFor(conn, l)
			}
		})
	})
	return s, nil
}

// tooMany is how long nothing is accepted after the process ran out of something, file descriptors above all.
const tooMany = 20 * time.Millisecond

func (b *Balance) accept(l net.Listener, serve func(*net.TCPConn)) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			b.Log.Warn("cannot accept a connection", "address", l.Addr(), "error", err)
			time.Sleep(tooMany)
			continue
		}
		b.conns.serve(conn.(*net.TCPConn), serve)
	}
}

func (e endpoint) String() string {
	return e.network + " " + e.at.Addr().String() + ":" + strconv.Itoa(int(e.at.Port()))
}
