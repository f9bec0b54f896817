package network

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// held are the host ports that this process has bound.
//
// A published port never reaches a socket of the host, as the firewall leads it away first. The socket is there so that
// everybody else on the machine, another Havn included, finds the port in use, and so that we find it in use when it
// is.
type held struct {
	low, high uint16 // the dynamic range

	mu      sync.Mutex
	sockets map[hostPort]int
	// next is where the search for a dynamic port goes on. Moving on keeps a port that was just released out of use for
	// a while.
	next uint16
}

type hostPort struct {
	protocol Protocol
	port     uint16
}

// take holds the host ports of the bindings, choosing those that are 0, or holds none and returns an error.
func (h *held) take(bindings []Binding) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range bindings {
		b := &bindings[i]
		err := h.takeOne(b)
		if err != nil {
			h.releaseLocked(bindings[:i])
			return err
		}
	}
	return nil
}

func (h *held) takeOne(b *Binding) error {
	if b.HostPort != 0 {
		return h.bindRun(*b)
	}
	size := int(h.high) - int(h.low) + 1
	for tried := 0; tried < size; {
		c := *b
		c.HostPort = h.next
		if int(c.HostPort)+int(c.Count)-1 > int(h.high) {
			tried += int(h.high) - int(h.next) + 1
			h.next = h.low
			continue
		}
		err := h.bindRun(c)
		var taken *PortTakenError
		step := int(c.Count)
		if errors.As(err, &taken) {
			step = int(taken.Port) - int(c.HostPort) + 1
		}
		tried += step
		h.next = h.low + uint16((int(h.next)-int(h.low)+step)%size)
		if err == nil {
			*b = c
			return nil
		}
		if taken == nil {
			return err
		}
	}
	return fmt.Errorf("cannot find %d free host ports for %s between %d and %d", b.Count, b.Protocol, h.low, h.high)
}

// bindRun holds all ports of one binding, or none.
func (h *held) bindRun(b Binding) error {
	for i := range b.Count {
		key := hostPort{b.Protocol, b.HostPort + i}
		fd, err := -1, error(&PortTakenError{Port: key.port, Protocol: key.protocol})
		if _, ours := h.sockets[key]; !ours {
			fd, err = bind(key)
		}
		if err != nil {
			b.Count = i
			h.releaseLocked([]Binding{b})
			return err
		}
		h.sockets[key] = fd
	}
	return nil
}

func (h *held) release(bindings []Binding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.releaseLocked(bindings)
}

func (h *held) releaseLocked(bindings []Binding) {
	for _, b := range bindings {
		for i := range b.Count {
			key := hostPort{b.Protocol, b.HostPort + i}
			if fd, ok := h.sockets[key]; ok {
				unix.Close(fd)
				delete(h.sockets, key)
			}
		}
	}
}

func (h *held) releaseAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, fd := range h.sockets {
		unix.Close(fd)
		delete(h.sockets, key)
	}
}

// bind returns a socket that is bound to the port on all addresses and that nobody connects to.
func bind(key hostPort) (int, error) {
	kind := unix.SOCK_STREAM
	if key.protocol == UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket: %w", err)
	}
	if key.protocol == UDP {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(key.port)})
	} else {
		err = bindTCP(fd, key.port)
	}
	if err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return -1, &PortTakenError{Port: key.port, Protocol: key.protocol}
	}
	return -1, fmt.Errorf("cannot hold host port %d/%s: %w", key.port, key.protocol, err)
}

// bindTCP binds without being stopped by the connections that a server who is gone left in TIME_WAIT, and yet so that
// nobody binds after it. The first needs SO_REUSEADDR, with which two sockets can share a port until one listens;
// therefore it listens once, which makes the kernel look for others and stop sharing, and then gives both up again.
func bindTCP(fd int, port uint16) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
		return err
	}
	return unix.Shutdown(fd, unix.SHUT_RD) // back from LISTEN to merely bound
}
