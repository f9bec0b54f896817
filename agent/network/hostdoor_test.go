package network

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// labDoor opens a door at an address of the loopback interface that no Havn of this machine listens at.
func labDoor(t *testing.T, at netip.Addr) *hostDoor {
	t.Helper()
	d, err := openHostDoor(testContext(t), at, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func labLoopback(t *testing.T) netip.Addr {
	t.Helper()
	labConfig(t) // the port takes root
	return netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), byte(rand.N(256)), byte(1 + rand.N(254))})
}

// A container on the host's network is root there, and by default it may listen at any port.
func TestNobodyListensBesideHavn(t *testing.T) {
	at := labLoopback(t)
	labDoor(t, at)
	share := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		failed := conn.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errors.Join(failed, err)
	}}
	for _, where := range []string{at.String(), "0.0.0.0", "::"} {
		l, err := share.Listen(testContext(t), "tcp", net.JoinHostPort(where, strconv.Itoa(MetadataPort)))
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("at %s: %v", where, err)
		}
		if l != nil {
			l.Close()
		}
	}
}

func TestWhenTheOneWhoHearsTheHostIsGoneTheNextDoes(t *testing.T) {
	at := labLoopback(t)
	first := labDoor(t, at)
	answer(t, first, "first")
	second := labDoor(t, at)
	answer(t, second, "second")
	if got, want := get(t, "", at, MetadataPort), "first saw 127.0.0.1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	first.Close()
	if _, err := second.wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, "", at, MetadataPort), "second saw 127.0.0.1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// The one that comes back waits in turn, and can be told to stop.
	third := labDoor(t, at)
	ended := make(chan error)
	go func() {
		_, err := third.Accept()
		ended <- err
	}()
	third.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
