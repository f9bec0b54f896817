package network

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hostDoor is the listener for the host's network. One process of the machine has the port, and while that is another
// one, which is a Havn that passes on what is ours, the door hears nothing and tries again and again. So whoever has
// the port may be killed: one of the others is the next to have it.
type hostDoor struct {
	at     netip.Addr
	log    *slog.Logger
	closed context.Context
	close  context.CancelFunc

	mu   sync.Mutex
	port net.Listener // nil while it is another's
}

// doorPause is for how long nobody may answer the host's network when the one who did is gone. To try costs a few
// system calls. An event such as the end of a lock would say less: nothing tells when a stranger lets go of the port.
const doorPause = 100 * time.Millisecond

// openHostDoor fails if it cannot listen for another reason than that somebody does.
func openHostDoor(ctx context.Context, at netip.Addr, log *slog.Logger) (*hostDoor, error) {
	d := &hostDoor{at: at, log: log}
	d.closed, d.close = context.WithCancel(context.WithoutCancel(ctx))
	_, err := d.take()
	if errors.Is(err, unix.EADDRINUSE) {
		log.Info("another process answers tasks on the host's network; a Havn passes on what is ours", "port", MetadataPort)
		return d, nil
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// take returns the listener, if the port is ours or free.
func (d *hostDoor) take() (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Err() != nil {
		return nil, net.ErrClosed
	}
	if d.port != nil {
		return d.port, nil
	}
	l, err := listenMetadata(d.closed, d.at)
	if err != nil {
		return nil, err
	}
	d.port = l
	return l, nil
}

// wait returns the listener when the port is ours.
func (d *hostDoor) wait() (net.Listener, error) {
	for waited := false; ; waited = true {
		l, err := d.take()
		if !errors.Is(err, unix.EADDRINUSE) {
			if waited && err == nil {
				d.log.Info("tasks on the host's network are answered here now", "port", MetadataPort)
			}
			return l, err
		}
		select {
		case <-d.closed.Done():
			return nil, net.ErrClosed
		case <-time.After(doorPause):
		}
	}
}

// Accept waits for the port, and then for a connection.
func (d *hostDoor) Accept() (net.Conn, error) {
	l, err := d.wait()
	if err != nil {
		return nil, err
	}
	return l.Accept()
}

// Close ends Accept, and leaves the port to others.
func (d *hostDoor) Close() error {
	d.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == nil {
		return nil
	}
	return d.port.Close()
}

// Addr is where it listens, now or later.
func (d *hostDoor) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.at, MetadataPort))
}
