package logging

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// link is a connection to a destination that takes what comes and answers nothing. It is made when there is something to
// send, and made anew after every failure.
//
// What such a destination has been given may still be lost with it: a datagram that nobody waits for, or what a stream's
// other end had not read when it died. A link learns of that as far as the kernel does: it asks before it sends whether the
// other end is still there, and afterwards whether somebody has refused.
type link struct {
	places  []place // tried in this order
	tls     *tls.Config
	tooLong func(conn net.Conn, packet []byte) error // sends a datagram that is too long in another way; nil: there is none

	conn   net.Conn
	stream bool
}

// place is where a destination is, in the words of net.Dial.
type place struct{ network, address string }

// send gives the packets to the destination, each as a datagram if it takes datagrams.
func (l *link) send(ctx context.Context, packets [][]byte) error {
	if l.conn != nil && l.lost() != nil {
		l.hangUp()
	}
	if l.conn == nil {
		if err := l.dial(ctx); err != nil {
			return err
		}
	}
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) }) //nolint:errcheck // it is closed, then
	err := l.write(packets)
	if err == nil {
		err = l.lost()
	}
	if !stop() { // its deadline stays
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		l.hangUp()
		return fmt.Errorf("cannot send to %s: %w", conn.RemoteAddr(), err)
	}
	return nil
}

func (l *link) dial(ctx context.Context) error {
	var failed error
	for _, p := range l.places {
		var conn net.Conn
		var err error
		if l.tls != nil {
			conn, err = (&tls.Dialer{Config: l.tls}).DialContext(ctx, p.network, p.address)
		} else {
			conn, err = (&net.Dialer{}).DialContext(ctx, p.network, p.address)
		}
		if err == nil {
			l.conn, l.stream = conn, p.network == "tcp" || p.network == "unix"
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (l *link) write(packets [][]byte) error {
	if l.stream {
		packets = [][]byte{bytes.Join(packets, nil)}
	}
	for _, p := range packets {
		_, err := l.conn.Write(p)
		if l.tooLong != nil && (errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS)) {
			err = l.tooLong(l.conn, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lost is why the other end cannot be there any more, as far as the kernel has heard.
func (l *link) lost() error {
	conn := l.conn
	secured, _ := conn.(*tls.Conn)
	if secured != nil {
		conn = secured.NetConn()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var why error
	n, b := 0, make([]byte, 1)
	err = raw.Control(func(fd uintptr) {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			why = unix.Errno(code)
			return
		}
		n, _, why = unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	switch {
	case err != nil:
		return err
	case errors.Is(why, unix.EAGAIN):
		return nil
	case why != nil:
		return why
	case l.stream && n == 0:
		return io.EOF
	case secured != nil: // something of TLS itself: a goodbye, or a ticket
		return goodbye(secured, b)
	}
	return nil
}

// goodbye is an error if what can be read is the other end's farewell.
func goodbye(conn *tls.Conn, b []byte) error {
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

func (l *link) hangUp() {
	l.conn.Close()
	l.conn = nil
}

// Close ends the connection, if there is one.
func (l *link) Close() error {
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

// tlsConfig trusts the machine's authorities, and the ones in the file that authorities names, and shows the certificate
// in the files. All of them are paths on the node, and may be empty.
func tlsConfig(authorities, certificate, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != "" {
		text, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("could not read CA certificate: %w", err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("cannot read the machine's certificate authorities: %w", err)
		}
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("failed to append certificates from PEM file: %s", authorities)
		}
	}
	if certificate != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
