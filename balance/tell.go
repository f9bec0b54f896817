package balance

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
)

// What a client says first tells which load balancer it means, where several share a socket: the server name of TLS, or
// the Host of HTTP. It is looked at and left in the socket, so whoever serves the connection reads it as on any other.

const (
	// maxLook is how much of it is looked at.
	maxLook = 64 << 10
	// firstWord is how long a client may take to say it. Browsers open connections before they need them.
	firstWord = 60 * time.Second
	// silence is after how long a client is taken for one that waits for the server's first word, as those of SMTP and
	// MySQL do. Only where a TCP listener is among those that share the socket.
	silence = 300 * time.Millisecond
)

// choose finds out which listener a client of a shared socket means; others is whether other Havns share it, too. Nil is
// none. Where there is no choice, it is made all the same, as a name that nobody has is not to be answered: but for TCP,
// whose clients may say nothing.
func choose(conn *net.TCPConn, sharing []*route.Listener, others bool) (*route.Listener, error) {
	patience := firstWord
	var quiet *route.Listener // the oldest whose clients may say nothing
	for _, l := range sharing {
		if quiet == nil && (l.Protocol == elb.ProtocolEnumTcp || l.Protocol == elb.ProtocolEnumTcpUdp) {
			quiet, patience = l, silence
		}
	}
	if quiet != nil && len(sharing) == 1 && !others {
		return quiet, nil
	}
	heard := firstName(conn, patience)
	if heard.nothing {
		return quiet, nil
	}
	if l := named(sharing, heard.host); l != nil {
		return l, nil
	}
	if strings.HasSuffix(heard.host, "."+domain) {
		return nil, &misdirected{heard.host, heard.http}
	}
	return sharing[0], nil
}

// domain is what all load balancers' DNSNames end with.
const domain = "elb.localhost"

// misdirected is a client that means a load balancer that is not here: one that has been deleted, or another Havn's.
type misdirected struct {
	host string
	http bool
}

func (m *misdirected) Error() string { return "there is no load balancer " + m.host + " here" }

// word is what a client said first.
type word struct {
	host    string // that it names; empty = none
	http    bool   // it speaks plain HTTP
	nothing bool   // it said nothing in time
}

// firstName listens for the host that a client names first.
func firstName(conn *net.TCPConn, patience time.Duration) word {
	heard := word{nothing: true}
	raw, err := conn.SyscallConn()
	if err != nil {
		return heard
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return heard
	}
	defer conn.SetReadDeadline(time.Time{}) //nolint:errcheck // whoever serves it finds out
	size := 4 << 10
	raw.Read(func(fd uintptr) bool { //nolint:errcheck // then it has named nobody
		for {
			buffer := make([]byte, size)
			n, _, err := syscall.Recvfrom(int(fd), buffer, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			if err == syscall.EAGAIN {
				return false
			}
			if err != nil || n == 0 {
				return true
			}
			host, http, whole := hostIn(buffer[:n])
			heard = word{host: host, http: http}
			switch {
			case whole || size > maxLook:
				return true
			case n < size:
				return false // until more comes
			}
			size *= 4
		}
	})
	return heard
}

// hostIn is the host that the beginning of a connection names; whole reports whether more of it would change nothing.
func hostIn(b []byte) (host string, http, whole bool) {
	if b[0] == 0x16 { // a TLS handshake (RFC 8446, 5.1)
		host, whole = serverName(b)
		return host, false, whole
	}
	method := b[:max(0, min(len(b), bytes.IndexByte(b, ' ')))]
	if len(method) == 0 && len(b) < 16 && token(b) {
		return "", false, false // a method's beginning, perhaps
	}
	if len(method) == 0 || !token(method) {
		return "", false, true
	}
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return "", true, false
		}
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 {
			return "", true, true
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && strings.EqualFold(string(name), "host") {
			return hostname(strings.TrimSpace(string(value))), true, true
		}
		b = rest
	}
}

// token reports whether b is of the letters of a method.
func token(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || 'Z' < c) && (c < 'a' || 'z' < c) && c != '-' {
			return false
		}
	}
	return true
}

// hostname is a Host without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// serverName is that of a ClientHello.
func serverName(hello []byte) (name string, whole bool) {
	short := false
	heard := errors.New("heard")
	err := tls.Server(overheard{bytes.NewReader(hello), &short}, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name = h.ServerName
			return nil, heard
		},
	}).Handshake()
	return name, errors.Is(err, heard) || !short
}

// overheard is what a client has said so far, as a connection on which nothing can be answered.
type overheard struct {
	r     io.Reader
	short *bool
}

func (o overheard) Read(b []byte) (int, error) {
	n, err := o.r.Read(b)
	if err == io.EOF {
		*o.short = true
	}
	return n, err
}
func (overheard) Write(b []byte) (int, error)      { return len(b), nil }
func (overheard) Close() error                     { return nil }
func (overheard) LocalAddr() net.Addr              { return nil }
func (overheard) RemoteAddr() net.Addr             { return nil }
func (overheard) SetDeadline(time.Time) error      { return nil }
func (overheard) SetReadDeadline(time.Time) error  { return nil }
func (overheard) SetWriteDeadline(time.Time) error { return nil }
