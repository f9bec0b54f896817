package balance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"havn/balance/route"
)

// Only one Havn of a machine can listen at 127.0.0.1:80, but all their load balancers have names that lead there. So the
// one that does hands a client that names another's load balancer over to that one: the connection itself, unread, over
// a socket in the abstract namespace (SCM_RIGHTS of unix(7)). Nothing of the client's traffic passes through the first.
//
//	client --127.0.0.1:80--> Havn 1: "Host: shop-7.us-east-1.elb.localhost"? not mine
//	                            `--- @havn/balance/shop-7.us-east-1.elb.localhost: the connection ---> Havn 2
//
// A mark beside each shared socket, @havn/balance/tcp 127.0.0.1:80, tells other Havns that its holder does so, and its
// end that the place is free.

// door is where connections with a load balancer are handed over.
func door(dnsName string) *net.UnixAddr {
	return &net.UnixAddr{Name: "@havn/balance/" + strings.ToLower(dnsName), Net: "unix"}
}

// mark is where a shared socket's holder is known by.
func mark(e endpoint) *net.UnixAddr {
	return &net.UnixAddr{Name: "@havn/balance/" + e.String(), Net: "unix"}
}

// doors are those of our load balancers, by DNSName. Run's goroutine opens and closes them.
type doors struct {
	b    *Balance
	open map[string]*net.UnixListener
}

// follow opens a door for each load balancer.
func (d *doors) follow(t *route.Table) {
	names := map[string]bool{}
	for _, l := range t.Balancers {
		if l.DNSName == "" {
			continue
		}
		names[l.DNSName] = true
		if d.open[l.DNSName] != nil {
			continue
		}
		opened, err := net.ListenUnix("unix", door(l.DNSName))
		if err != nil {
			continue // somebody pretends to be it; whoever comes to us reaches it all the same
		}
		d.open[l.DNSName] = opened
		d.b.conns.run(func() { d.b.welcome(opened, l.DNSName) })
	}
	for name, opened := range d.open {
		if !names[name] {
			opened.Close()
			delete(d.open, name)
		}
	}
}

func (d *doors) close() {
	for _, opened := range d.open {
		opened.Close()
	}
}

// welcome takes the clients in that are handed over.
func (b *Balance) welcome(l *net.UnixListener, dnsName string) {
	for {
		from, err := l.AcceptUnix()
		if err != nil {
			return
		}
		b.conns.hold(from, func() {
			conn, err := takeOver(from)
			if err != nil {
				b.Log.Debug("cannot take over a connection", "error", err)
				return
			}
			b.conns.serve(conn, func(conn *net.TCPConn) {
				if l := b.meant(dnsName, addrPort(conn.LocalAddr())); l != nil {
					b.serveFor(conn, l)
				}
			})
		})
	}
}

// meant is the listener of a load balancer that a client at an address of another Havn means; none where the load
// balancer would not listen there itself.
func (b *Balance) meant(dnsName string, at netip.AddrPort) *route.Listener {
	for _, l := range b.table.Load().Listeners {
		if strings.EqualFold(l.Balancer.DNSName, dnsName) && l.Port == at.Port() && networks(l.Protocol)[0] == "tcp" &&
			slices.Contains(places(l, nil, *b.outside.Load()), at.Addr()) {
			return l
		}
	}
	return nil
}

// handOver gives a client to the Havn that has a load balancer of that name, or of one that the name is below. It reports
// whether there is one.
func handOver(conn *net.TCPConn, host string) bool {
	for name := host; strings.HasSuffix(name, "."+domain); _, name, _ = strings.Cut(name, ".") {
		to, err := net.DialUnix("unix", nil, door(name))
		if err != nil {
			continue
		}
		defer to.Close()
		return trusted(to) && giveOver(conn, to) == nil
	}
	return false
}

// trusted reports whether the other end of a socket is of our user, or root: anybody can take a name in the abstract
// namespace.
func trusted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	err = raw.Control(func(fd uintptr) { peer, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return err == nil && peer != nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

func giveOver(conn *net.TCPConn, to *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = to.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// takeOver receives a connection.
func takeOver(from *net.UnixConn) (*net.TCPConn, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := from.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("no connection came: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("no connection came: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	file := os.NewFile(uintptr(fds[0]), "client")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, errors.New("what came is no TCP connection")
	}
	return tcp, nil
}

// leaveMark marks a shared socket of ours, and counts in others who waits for its end. The function that it returns
// takes the mark away.
func (b *Balance) leaveMark(e endpoint, others *atomic.Int32) (remove func()) {
	l, err := net.ListenUnix("unix", mark(e))
	if err != nil {
		return func() {} // then other Havns count the port as taken
	}
	var mu sync.Mutex
	waiting, removed := map[net.Conn]bool{}, false
	b.conns.run(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if removed {
				conn.Close()
			}
			waiting[conn] = true
			mu.Unlock()
			others.Add(1)
			b.conns.run(func() {
				conn.Read(make([]byte, 1)) //nolint:errcheck // it says nothing but that it ends
				conn.Close()
				others.Add(-1)
				mu.Lock()
				defer mu.Unlock()
				delete(waiting, conn)
			})
		}
	})
	return func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		removed = true
		for conn := range waiting {
			conn.Close()
		}
	}
}

// heldByHavn reports whether another Havn listens at a shared endpoint, which hands over what is ours. free is called
// when it no longer does; not any more after forget was called.
func (b *Balance) heldByHavn(e endpoint, free func()) (forget func(), held bool) {
	conn, err := net.DialUnix("unix", nil, mark(e))
	if err != nil {
		return nil, false
	}
	b.conns.run(func() {
		conn.Read(make([]byte, 1)) //nolint:errcheck // as above
		conn.Close()
		free()
	})
	return func() { conn.Close() }, true
}
