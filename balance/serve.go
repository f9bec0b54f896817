package balance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
)

// handshakeTimeout is how long a client may take over a TLS handshake.
const handshakeTimeout = 10 * time.Second

// serve serves a client of a socket that some listeners share; with those of other Havns, if others.
func (b *Balance) serve(conn *net.TCPConn, sharing []string, others bool) {
	t := b.table.Load()
	var all []*route.Listener
	for _, arn := range sharing {
		if l := t.Listeners[arn]; l != nil {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return
	}
	l, err := choose(conn, all, others)
	lost, ok := errors.AsType[*misdirected](err)
	if ok && handOver(conn, lost.host) {
		return
	}
	if ok && lost.http {
		fmt.Fprintf(conn, "HTTP/1.1 421 Misdirected Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", len(lost.Error())+1, lost)
		closeSoftly(conn)
	}
	if l != nil {
		b.serveFor(conn, l)
	}
}

// serveFor serves a client of a listener.
func (b *Balance) serveFor(conn *net.TCPConn, l *route.Listener) {
	switch l.Protocol {
	case elb.ProtocolEnumHttp:
		b.HTTP.Serve(conn, b.table.Load, l.ARN)
	case elb.ProtocolEnumHttps:
		if secure := b.secure(conn, l); secure != nil {
			b.HTTP.Serve(secure, b.table.Load, l.ARN)
		}
	case elb.ProtocolEnumTls:
		if secure := b.secure(conn, l); secure != nil {
			b.stream(secure, conn, l.ARN)
		}
	default:
		b.stream(conn, conn, l.ARN)
	}
}

// secure makes the handshake of a listener with TLS. Nil = it failed.
func (b *Balance) secure(conn *net.TCPConn, l *route.Listener) *tls.Conn {
	config, err := b.tls.config(l)
	if err != nil {
		b.Log.Debug("cannot serve TLS", "listener", l.ARN, "error", err)
		return nil
	}
	secure := tls.Server(conn, config)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		b.Log.Debug("TLS handshake failed", "listener", l.ARN, "client", conn.RemoteAddr(), "error", err)
		return nil
	}
	return secure
}

// closeSoftly lets a client read an answer before the connection goes: closing one with unread bytes resets it.
func closeSoftly(conn *net.TCPConn) {
	if conn.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	io.Copy(io.Discard, io.LimitReader(conn, maxLook)) //nolint:errcheck // it is over either way
}
