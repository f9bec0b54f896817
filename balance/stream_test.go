package balance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

type change = func(*state.LoadBalancer, *state.Listener, *state.TargetGroup)

// set sets an attribute of the target group.
func set(name, value string) change {
	return func(_ *state.LoadBalancer, _ *state.Listener, g *state.TargetGroup) { g.Attributes[name] = value }
}

func dial(t *testing.T, network, address string, port int) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends a text and demands it back.
func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("%q, %v; want %q", got, err, text)
	}
}

// cut demands that a connection is broken.
func cut(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatalf("it goes on: %d bytes", n)
	}
}

func TestTCPPassesBothWaysAndItsEnd(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp)
	w.is(w.target(m, echo(t).Addr()), elb.TargetHealthStateEnumHealthy)
	w.settled(m)
	conn := dial(t, "tcp", "127.0.0.1", m.port)
	say(t, conn, "hello")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || string(rest) != "bye" {
		t.Fatalf("after its end: %q, %v", rest, err)
	}
}

func TestTCPWithoutATargetIsReset(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp)
	w.settled(m)
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port)))
	if errors.Is(err, syscall.ECONNRESET) {
		return // so soon
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cut(t, conn)
}

func TestAllUnhealthyFailsOpen(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp, func(_ *state.LoadBalancer, _ *state.Listener, g *state.TargetGroup) {
		g.HealthCheck.Port, g.HealthCheck.Unhealthy = strconv.Itoa(freePort(t)), 1
	})
	w.is(w.target(m, echo(t).Addr()), elb.TargetHealthStateEnumUnhealthy)
	w.settled(m)
	say(t, dial(t, "tcp", "127.0.0.1", m.port), "hello")
}

func TestDrainWaitsForWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp)
	old := w.target(m, echo(t).Addr())
	w.is(old, elb.TargetHealthStateEnumHealthy)
	w.settled(m)
	conn := dial(t, "tcp", "127.0.0.1", m.port)
	say(t, conn, "before")

	fresh := w.target(m, echo(t).Addr())
	w.is(fresh, elb.TargetHealthStateEnumHealthy)
	w.deregister(old, time.Now())
	w.inForce(old)
	say(t, conn, "during") // it goes on
	for range 20 {         // and all that is new goes elsewhere
		say(t, dial(t, "tcp", "127.0.0.1", m.port), "new")
	}
	if n := w.b.Gauges.Of(old).UnderWay.Load(); n != 1 {
		t.Errorf("%d under way to the one that drains", n)
	}
	w.store.View(func(r *state.Reader) {
		if target, _ := state.Targets.Get(r, old); target.Drained {
			t.Error("drained with a connection under way")
		}
	})
	conn.Close()
	w.drained(old)
}

// deregister is what control and api/elbv2 do.
func (w *world) deregister(key string, at time.Time) {
	w.t.Helper()
	w.update(func(tx *state.Tx) {
		target, _ := state.Targets.Get(tx, key)
		target.DrainingSince = at
		state.Targets.Put(tx, target)
	})
}

func (w *world) drained(key string) {
	w.t.Helper()
	w.await(func(r *state.Reader) bool { target, _ := state.Targets.Get(r, key); return target.Drained })
}

// inForce returns when the table in force has a target draining. Nothing in the state says when that is.
func (w *world) inForce(key string) {
	w.t.Helper()
	for {
		for _, g := range w.b.table.Load().Groups {
			for _, target := range g.Targets {
				if target.Key == key && target.Draining {
					return
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func TestIdleTargetIsDrainedAtOnce(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp)
	key := w.target(m, echo(t).Addr())
	w.is(key, elb.TargetHealthStateEnumHealthy)
	w.deregister(key, time.Now())
	w.drained(key)
}

func TestDrainEndsWithItsDelay(t *testing.T) {
	for _, terminates := range []bool{false, true} {
		t.Run(fmt.Sprint(terminates), func(t *testing.T) {
			w := newWorld(t)
			m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp, set("deregistration_delay.timeout_seconds", "3600"),
				set("deregistration_delay.connection_termination.enabled", strconv.FormatBool(terminates)))
			key := w.target(m, echo(t).Addr())
			w.is(key, elb.TargetHealthStateEnumHealthy)
			w.settled(m)
			conn := dial(t, "tcp", "127.0.0.1", m.port)
			say(t, conn, "before")
			w.deregister(key, time.Now().Add(-time.Hour)) // so the delay is over
			w.drained(key)
			if terminates {
				cut(t, conn)
			} else {
				say(t, conn, "after")
			}
		})
	}
}

func TestDrainGoesOnAfterARestart(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp)
	key := w.target(m, echo(t).Addr())
	w.is(key, elb.TargetHealthStateEnumHealthy)
	w.settled(m)
	w.stop()
	w.deregister(key, time.Now())
	w.start()
	w.drained(key)
}

func TestUnhealthyTargetsConnectionsAreCut(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp)
	key := w.target(m, echo(t).Addr())
	w.is(key, elb.TargetHealthStateEnumHealthy)
	w.settled(m)
	conn := dial(t, "tcp", "127.0.0.1", m.port)
	say(t, conn, "before")
	w.update(func(tx *state.Tx) {
		target, _ := state.Targets.Get(tx, key)
		target.Health.State = elb.TargetHealthStateEnumUnhealthy
		state.Targets.Put(tx, target)
	})
	cut(t, conn)
}

func TestProxyProtocolTellsWhoTheClientIs(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTcp, set("proxy_protocol_v2.enabled", "true"))
	w.is(w.target(m, echo(t).Addr()), elb.TargetHealthStateEnumHealthy)
	w.settled(m)
	conn := dial(t, "tcp", "127.0.0.1", m.port)
	from, to := addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	want := fmt.Appendf(nil, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c%s%s", from.Addr().AsSlice(), to.Addr().AsSlice())
	want = append(want, byte(from.Port()>>8), byte(from.Port()), byte(to.Port()>>8), byte(to.Port()))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%x, %v; want %x", got, err, want)
	}
	six := proxyHeader("udp", netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("10.0.0.1:2"))
	if len(six) != 16+36 || six[13] != 0x22 {
		t.Errorf("of IPv6: %x", six)
	}
}

func TestUDP(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumUdp, set("proxy_protocol_v2.enabled", "true"))
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			server.WriteTo(buffer[:n], from) //nolint:errcheck // the client tells
		}
	}()
	key := w.target(m, server.LocalAddr()) // its health check, of TCP, fails; so it fails open
	l := w.settled(m)
	w.await(func(r *state.Reader) bool { _, ok := state.Targets.Get(r, key); return ok })
	w.present(key)
	conn := dial(t, "udp", l.Address, m.port)
	buffer := make([]byte, 2048)
	for i, want := range []int{28 + 4, 4} { // the header is before the first datagram alone
		if _, err := io.WriteString(conn, "ping"); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buffer)
		if err != nil || n != want {
			t.Fatalf("datagram %d: %q, %v", i, buffer[:n], err)
		}
	}
	if n := w.b.Gauges.Of(key).UnderWay.Load(); n != 1 {
		t.Errorf("%d under way", n)
	}
	w.deregister(key, time.Now().Add(-time.Hour))
	w.drained(key)
}

// present returns when the table in force has a target.
func (w *world) present(key string) {
	for {
		for _, g := range w.b.table.Load().Groups {
			for _, target := range g.Targets {
				if target.Key == key {
					return
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// certificate is one that a listener can have.
func certificate(t *testing.T, arn, kind string, names ...string) state.Certificate {
	t.Helper()
	var key any
	var public any
	if kind == "RSA" {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key, public = k, &k.PublicKey
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, public = k, &k.PublicKey
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: arn}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return state.Certificate{ARN: arn, Body: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Key: state.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))}
}

func TestTLSIsEndedHere(t *testing.T) {
	w := newWorld(t)
	all := []state.Certificate{
		certificate(t, "default", "ECDSA", "default.example"),
		certificate(t, "wild", "ECDSA", "*.example.com"),
		certificate(t, "exact-rsa", "RSA", "a.example.com"),
		certificate(t, "exact-ec", "ECDSA", "a.example.com"),
	}
	w.update(func(tx *state.Tx) {
		for _, c := range all {
			state.Certificates.Put(tx, c)
		}
	})
	m := w.balancer("a", freePort(t), elb.ProtocolEnumTls, func(_ *state.LoadBalancer, l *state.Listener, g *state.TargetGroup) {
		l.SSLPolicy, l.ALPNPolicy, g.Protocol = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06", []string{"HTTP2Preferred"}, elb.ProtocolEnumTcp
		for _, c := range all {
			l.Certificates = append(l.Certificates, c.ARN)
		}
	})
	w.is(w.target(m, echo(t).Addr()), elb.TargetHealthStateEnumHealthy)
	w.settled(m)
	for _, c := range []struct {
		name  string
		rsa   bool
		most  uint16
		want  string
		fails bool
	}{
		{name: "a.example.com", want: "exact-ec"},
		{name: "a.example.com", rsa: true, most: tls.VersionTLS12, want: "exact-rsa"},
		{name: "b.example.com", want: "wild"},
		{name: "c.b.example.com", want: "default"},
		{name: "", want: "default"},
		{name: "a.example.com", most: tls.VersionTLS11, fails: true},
	} {
		config := &tls.Config{ServerName: c.name, InsecureSkipVerify: true, MaxVersion: c.most, MinVersion: tls.VersionTLS10, NextProtos: []string{"http/1.1", "h2"}}
		if c.rsa {
			config.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}
		conn := tls.Client(dial(t, "tcp", "127.0.0.1", m.port), config)
		if err := conn.Handshake(); err != nil {
			if !c.fails {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		s := conn.ConnectionState()
		if got := s.PeerCertificates[0].Subject.CommonName; got != c.want || s.NegotiatedProtocol != "h2" || c.fails {
			t.Errorf("%+v: certificate %s, protocol %q", c, got, s.NegotiatedProtocol)
		}
		say(t, conn, "hello")
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(conn); err != nil || string(rest) != "bye" {
			t.Errorf("after its end: %q, %v", rest, err)
		}
	}
}

func TestTLSOfSeveralOnOnePortIsToldApartByItsServerName(t *testing.T) {
	w := newWorld(t)
	port := freePort(t)
	c := certificate(t, "c", "ECDSA", "x")
	w.update(func(tx *state.Tx) { state.Certificates.Put(tx, c) })
	https := func(_ *state.LoadBalancer, l *state.Listener, _ *state.TargetGroup) { l.Certificates = []string{"c"} }
	a := w.balancer("a", port, elb.ProtocolEnumHttps, https)
	b := w.balancer("b", port, elb.ProtocolEnumHttps, https)
	mail := w.balancer("mail", port, elb.ProtocolEnumTcp)
	greeter, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer greeter.Close()
	go func() {
		for {
			conn, err := greeter.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 hello") //nolint:errcheck // the client tells
			conn.Close()
		}
	}()
	w.is(w.target(mail, greeter.Addr()), elb.TargetHealthStateEnumHealthy)
	w.settled(a)
	w.settled(b)
	own := w.settled(mail)
	for _, name := range []string{a.name, b.name} {
		conn := tls.Client(dial(t, "tcp", "127.0.0.1", port), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if got := answer(t, conn); got != name[:1]+" x" {
			t.Errorf("for %s: %q", name, got)
		}
	}
	if got, err := io.ReadAll(dial(t, "tcp", own.Address, port)); err != nil || string(got) != "220 hello" {
		t.Errorf("at its own address: %q, %v", got, err)
	}
}
