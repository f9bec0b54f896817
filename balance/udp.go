package balance

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"havn/balance/route"
)

// udpIdle is after how long without a datagram a UDP flow is over (AWS, "Network Load Balancers": 120 seconds, which
// cannot be changed).
const udpIdle = 120 * time.Second

// maxDatagram is the longest that UDP has.
const maxDatagram = 64 << 10

// maxFlows is how many flows a UDP socket has at a time; a datagram that would begin another is dropped.
const maxFlows = 20_000

// udpSocket serves the clients of a UDP socket. A datagram names nobody, so all are for the first listener that shares
// it.
type udpSocket struct {
	b      *Balance
	conn   *net.UDPConn
	socket *socket

	mu     sync.Mutex
	flows  map[netip.AddrPort]*udpFlow // by client
	closed bool
}

// udpFlow is a client with its target.
type udpFlow struct {
	conn *net.UDPConn
	// header is what the target gets before the client's first datagram, in the same one (PROXY protocol, 2.2).
	header []byte
	heard  atomic.Int64 // when the client last sent something
}

func (b *Balance) listenUDP(e endpoint, s *socket) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(e.at))
	if err != nil {
		return err
	}
	u := &udpSocket{b: b, conn: conn, socket: s, flows: map[netip.AddrPort]*udpFlow{}}
	s.stop = u.close
	b.conns.run(u.serve)
	return nil
}

func (u *udpSocket) serve() {
	buffer := make([]byte, maxDatagram)
	for {
		n, client, err := u.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of a datagram that could not be delivered earlier
		}
		f := u.flow(client)
		if f == nil {
			continue
		}
		f.heard.Store(time.Now().UnixNano())
		datagram := buffer[:n]
		if f.header != nil {
			datagram, f.header = append(f.header, datagram...), nil
		}
		f.conn.Write(datagram) //nolint:errcheck // datagrams get lost
	}
}

// flow is a client's; nil where it can have none.
func (u *udpSocket) flow(client netip.AddrPort) *udpFlow {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := u.flows[client]
	if f != nil || len(u.flows) >= maxFlows || u.closed {
		return f
	}
	sharing := *u.socket.sharing.Load()
	from, to := netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), addrPort(u.conn.LocalAddr())
	g, target, done := u.b.begin(sharing[0], flow{"udp", from, to})
	if done == nil {
		return nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target.Address))
	if err != nil {
		done()
		return nil
	}
	f = &udpFlow{conn: conn}
	if on(g.Record.Attributes, "proxy_protocol_v2.enabled", false) {
		f.header = proxyHeader("udp", from, to)
	}
	u.flows[client] = f
	u.b.conns.run(func() { u.answer(client, target, f, done) })
	return f
}

// answer passes on what a target says, until the flow is over.
func (u *udpSocket) answer(client netip.AddrPort, target route.Target, f *udpFlow, done func()) {
	defer done()
	defer u.b.flows.add(target, func() { f.conn.Close() })()
	defer func() {
		u.mu.Lock()
		delete(u.flows, client)
		u.mu.Unlock()
		f.conn.Close()
	}()
	buffer := make([]byte, maxDatagram)
	silent := udpIdle
	for {
		f.conn.SetReadDeadline(time.Now().Add(silent)) //nolint:errcheck // then reading fails
		n, err := f.conn.Read(buffer)
		silent = udpIdle
		switch {
		case err == nil:
			u.conn.WriteToUDPAddrPort(buffer[:n], client) //nolint:errcheck // datagrams get lost
		case errors.Is(err, os.ErrDeadlineExceeded):
			if silent -= time.Since(time.Unix(0, f.heard.Load())); silent <= 0 {
				return
			}
		case errors.Is(err, net.ErrClosed):
			return
		}
	}
}

func (u *udpSocket) close() {
	u.conn.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, f := range u.flows {
		f.conn.Close()
	}
}
