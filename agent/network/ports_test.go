package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// wantTaken demands the error that names the port and who has it: an endpoint, this process, or nobody.
func wantTaken(t *testing.T, n *Network, e Endpoint, port uint16, p Protocol, by string) {
	t.Helper()
	e.Mode = Bridge
	_, err := n.Connect(testContext(t), e)
	var taken *PortTakenError
	if !errors.As(err, &taken) || taken.Port != port || taken.Protocol != p {
		t.Errorf("error %v, want that %d/%s is taken", err, port, p)
		return
	}
	if self := fmt.Sprintf("(pid %d)", os.Getpid()); by != taken.Endpoint && !(by == "this process" && strings.HasSuffix(taken.Process, self)) {
		t.Errorf("%d/%s is taken by endpoint %q or process %q, want %s", port, p, taken.Endpoint, taken.Process, by)
	}
}

func listenTCP(t *testing.T, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func TestATakenPortIsRefusedByName(t *testing.T) {
	n, beside := openLab(t, labConfig(t)), openLab(t, labConfig(t))

	busy := uint16(listenTCP(t, "127.0.0.1:0").Addr().(*net.TCPAddr).Port)
	wantTaken(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 1}, {ContainerPort: 80, HostPort: busy}}}, busy, TCP, "this process")

	udp := listenUDP(t, "", 0)
	busy = uint16(udp.LocalAddr().(*net.UDPAddr).Port)
	wantTaken(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 53, HostPort: busy, Protocol: UDP}}}, busy, UDP, "this process")

	ours := connect(t, n, Endpoint{ID: "b", Ports: []Port{{ContainerPort: 80}}}).Bindings[0].HostPort
	same := Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80, HostPort: ours}}}
	wantTaken(t, n, same, ours, TCP, "b")
	wantTaken(t, beside, same, ours, TCP, "")
	twice := Endpoint{ID: "a", Ports: []Port{{ContainerPort: 53, Protocol: UDP, HostPort: ours}, {ContainerPort: 54, Protocol: UDP, HostPort: ours}}}
	wantTaken(t, n, twice, ours, UDP, "")

	// A refusal leaves nothing of the endpoint, nor of the ports that it did get.
	if got := n.Attachments(); len(got) != 1 {
		t.Errorf("attachments %v, want only b", got)
	}
	connect(t, beside, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 53, Protocol: UDP, HostPort: ours}}})
	disconnect(t, n, "b")
	connect(t, beside, Endpoint{ID: "b", Ports: []Port{{ContainerPort: 80, HostPort: ours}}})
}

func TestAPublishedPortCannotBeTakenByOthers(t *testing.T) {
	c := labConfig(t)
	n := openLab(t, c)
	a := connect(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80}, {ContainerPort: 53, Protocol: UDP}}})
	tcp, udp := a.Bindings[0].HostPort, a.Bindings[1].HostPort
	refused := func(when string) {
		t.Helper()
		for _, host := range []string{"", "127.0.0.1"} {
			if l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, tcp)); err == nil {
				l.Close()
				t.Errorf("%s: somebody could listen on %q port %d/tcp", when, host, tcp)
			}
			if l, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", host, udp)); err == nil {
				l.Close()
				t.Errorf("%s: somebody could listen on %q port %d/udp", when, host, udp)
			}
		}
	}
	refused("after Connect")
	n.Close()
	listenTCP(t, fmt.Sprintf(":%d", tcp)).Close()
	n = reopenLab(t, c)
	refused("after a restart")
	disconnect(t, n, "a")
	listenTCP(t, fmt.Sprintf(":%d", tcp)).Close()
}

func TestAPortTakenDuringARestartIsNoReasonToStop(t *testing.T) {
	c := labConfig(t)
	n := openLab(t, c)
	a := connect(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80}}})
	serveHTTP(t, a.Netns, "a", 80)
	n.Close()
	thief := listenTCP(t, fmt.Sprintf(":%d", a.Bindings[0].HostPort))
	n = reopenLab(t, c)
	get(t, "", "127.0.0.1", a.Bindings[0].HostPort) // the container answers, not the thief
	disconnect(t, n, "a")
	thief.Close()
}

// A server that is gone leaves connections in TIME_WAIT for a minute; its port is free nevertheless.
func TestAPortWithOldConnectionsIsFree(t *testing.T) {
	n, beside := openLab(t, labConfig(t)), openLab(t, labConfig(t))
	l := listenTCP(t, "127.0.0.1:0")
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // who closes first keeps the TIME_WAIT
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Fatal("the server sent something")
	}
	client.Close()
	l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	e := Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80, HostPort: port}}}
	connect(t, n, e)
	wantTaken(t, beside, e, port, TCP, "")
	if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
		l.Close()
		t.Error("somebody could listen on it afterwards")
	}
}

func TestDynamicPortsAreFreeOnesOfTheRange(t *testing.T) {
	c := labConfig(t)
	busy := uint16(listenTCP(t, "127.0.0.1:0").Addr().(*net.TCPAddr).Port)
	c.PortRange = [2]uint16{busy - 2, busy + 3} // of six one is busy for certain
	n := openLab(t, c)
	got := make(map[uint16]bool)
	for i := range 10 {
		a, err := n.Connect(testContext(t), Endpoint{ID: fmt.Sprint(i), Mode: Bridge, Ports: []Port{{ContainerPort: 80}}})
		if err != nil {
			break
		}
		p := a.Bindings[0].HostPort
		if got[p] || p == busy || p < busy-2 || p > busy+3 {
			t.Errorf("port %d after %v, busy %d", p, got, busy)
		}
		got[p] = true
	}
	if len(got) == 0 || len(got) > 5 {
		t.Errorf("got ports %v of five", got)
	}
	for i := range len(got) {
		disconnect(t, n, fmt.Sprint(i))
	}
	if len(got) == 5 { // nobody else on this machine is in the range: three in a row fit only above the busy one
		a := connect(t, n, Endpoint{ID: "run", Ports: []Port{{ContainerPort: 8000, Count: 3}}})
		want := Binding{BindIP: "0.0.0.0", ContainerPort: 8000, HostPort: busy + 1, Count: 3, Protocol: TCP}
		if a.Bindings[0] != want {
			t.Errorf("run %+v, want %+v", a.Bindings[0], want)
		}
		serveHTTP(t, a.Netns, "last of the run", 8002)
		get(t, "", "127.0.0.1", busy+3)
	}
}

func TestEndpointsThatMakeNoSenseAreRefused(t *testing.T) {
	n := openLab(t, labConfig(t))
	for _, e := range []Endpoint{
		{ID: "", Mode: Bridge},
		{ID: "../a", Mode: Bridge},
		{ID: ".a", Mode: Bridge},
		{ID: "a", Mode: "awsvpc"},
		{ID: "a", Mode: None, Ports: []Port{{ContainerPort: 80}}},
		{ID: "a", Mode: Host, Ports: []Port{{ContainerPort: 80, HostPort: 81}}},
		{ID: "a", Mode: Bridge, Ports: []Port{{HostPort: 80}}},
		{ID: "a", Mode: Bridge, Ports: []Port{{ContainerPort: 80, Protocol: "sctp"}}},
		{ID: "a", Mode: Bridge, Ports: []Port{{ContainerPort: 65535, Count: 2}}},
		{ID: "a", Mode: Bridge, Ports: []Port{{ContainerPort: 1, HostPort: 65000, Count: 1000}}},
		{ID: "a", Mode: Bridge, Ports: []Port{{ContainerPort: 1, Count: maxPorts + 1}}},
	} {
		if _, err := n.Connect(testContext(t), e); err == nil {
			t.Errorf("%+v was connected", e)
		}
	}
	if got := n.Attachments(); len(got) != 0 {
		t.Errorf("attachments %v", got)
	}
}
