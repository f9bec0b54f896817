package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func fault(t *testing.T, n *Network, id string, f Fault) {
	t.Helper()
	if err := n.StartFault(testContext(t), id, f); err != nil {
		t.Fatal(err)
	}
}

func noFault(t *testing.T, n *Network, id string, f Fault) {
	t.Helper()
	if err := n.StopFault(testContext(t), id, f); err != nil {
		t.Fatal(err)
	}
}

// blocked reports whether nothing comes back for a while.
func blocked(t *testing.T, from string, to netip.Addr) bool {
	t.Helper()
	short, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err := tryGet(short, from, to, 80)
	return err != nil
}

func TestAFaultDisturbsWhatItNamesAndNothingElse(t *testing.T) {
	c := labConfig(t)
	n := openLab(t, c)
	a, b, other := connect(t, n, Endpoint{ID: "a"}), connect(t, n, Endpoint{ID: "b"}), connect(t, n, Endpoint{ID: "other"})
	for _, at := range []Attachment{a, b, other} {
		serveHTTP(t, at.Netns, "it", 80)
	}
	one := func(ip netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(ip, 32)} }
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	for _, test := range []struct {
		name                           string
		fault                          Fault
		fromB, fromOther, toB, toOther bool // blocked: from and to a
	}{
		{"a port that nobody comes in by", Blackhole{Port: 80, Protocol: TCP, Ingress: true}, true, true, false, false},
		{"but for one", Blackhole{Port: 80, Protocol: TCP, Ingress: true, Except: one(b.IP)}, false, true, false, false},
		{"a port that nothing goes out to", Blackhole{Port: 80, Protocol: TCP}, false, false, true, true},
		{"but for one", Blackhole{Port: 80, Protocol: TCP, Except: one(b.IP)}, false, false, false, true},
		{"another port", Blackhole{Port: 81, Protocol: TCP}, false, false, false, false},
		{"another protocol", Blackhole{Port: 80, Protocol: UDP}, false, false, false, false},
		{"all packets are lost", Loss{100, Affected{Sources: all, FlowsPercent: 100}}, true, true, true, true},
		{"all to one", Loss{100, Affected{Sources: one(b.IP), FlowsPercent: 100}}, true, false, true, false},
		{"all but to one", Loss{100, Affected{Sources: all, Except: one(b.IP), FlowsPercent: 100}}, false, true, false, true},
	} {
		fault(t, n, "a", test.fault)
		if err := n.StartFault(testContext(t), "a", test.fault); !errors.Is(err, ErrFaultRunning) {
			t.Errorf("%s, again: %v", test.name, err)
		}
		for _, way := range []struct {
			name string
			from string
			to   netip.Addr
			want bool
		}{{"from b", b.Netns, a.IP, test.fromB}, {"from other", other.Netns, a.IP, test.fromOther},
			{"to b", a.Netns, b.IP, test.toB}, {"to other", a.Netns, other.IP, test.toOther}, {"between others", b.Netns, other.IP, false}} {
			if !way.want {
				get(t, way.from, way.to, 80)
			} else if !blocked(t, way.from, way.to) {
				t.Errorf("%s, %s: the way is open", test.name, way.name)
			}
		}
		noFault(t, n, "a", test.fault)
		noFault(t, n, "a", test.fault)
		if running, err := n.FaultRunning(testContext(t), "a", test.fault); running || err != nil {
			t.Errorf("%s: still running: %v, %v", test.name, running, err)
		}
	}
	get(t, b.Netns, a.IP, 80)
	get(t, a.Netns, b.IP, 80)
}

// A container that could not ask any more could not ask for the end of its fault.
func TestNoFaultConcernsTheEndpointThatEndsIt(t *testing.T) {
	n := openLab(t, labConfig(t))
	bridge, host, err := n.ListenMetadata(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	host.Close()
	answer(t, bridge, "havn")
	a := connect(t, n, Endpoint{ID: "a"})
	all := Affected{Sources: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, FlowsPercent: 100}
	faults := []Fault{Blackhole{Port: 80, Protocol: TCP}, Loss{100, all}, Latency{time.Minute, 0, all}}
	for _, f := range faults {
		if err := n.StartFault(testContext(t), "a", f); err != nil {
			if _, slow := f.(Latency); slow && strings.Contains(err.Error(), "this machine's kernel has no sch_") {
				t.Log("not seen here:", err)
				continue
			}
			t.Fatal(err)
		}
		if blocked(t, a.Netns, MetadataAddress) {
			t.Errorf("%+v cuts it off", f)
		}
		noFault(t, n, "a", f)
	}
	// Nor is an answer lost on its way in, whichever port it comes to.
	const port = 40000
	fault(t, n, "a", Blackhole{Port: port, Protocol: TCP, Ingress: true})
	in(t, a.Netns, func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
		conn, err := d.DialContext(testContext(t), "tcp4", netip.AddrPortFrom(MetadataAddress, 80).String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// What is lost is lost by chance, and by connection where it is said so. The bounds are those that no run in a million
// crosses.
func TestAFaultTakesItsShare(t *testing.T) {
	n := openLab(t, labConfig(t))
	a, b := connect(t, n, Endpoint{ID: "a"}), connect(t, n, Endpoint{ID: "b"})
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	sink := listenUDP(t, b.Netns, 9)
	raw, err := sink.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// All that is sent waits there at once, and none of it may be lost for want of room.
	if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	for _, test := range []struct {
		name      string
		loss      Loss
		sockets   int
		low, high int
	}{
		{"of all packets", Loss{50, Affected{Sources: all, FlowsPercent: 100}}, 1, 350, 650},
		{"of half of the connections", Loss{100, Affected{Sources: all, FlowsPercent: 50}}, 1000, 350, 650},
	} {
		fault(t, n, "a", test.loss)
		for i := range test.sockets {
			from := listenUDP(t, a.Netns, 0)
			for range 1000 / test.sockets {
				if _, err := from.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(b.IP, 9)); err != nil && !strings.Contains(err.Error(), "not permitted") {
					t.Fatal(i, err)
				}
			}
			from.Close()
		}
		noFault(t, n, "a", test.loss)
		last := listenUDP(t, a.Netns, 0)
		sendUDP(t, last, "end", b.IP, 9)
		got := 0
		for text := ""; text != "end"; got++ {
			text, _ = receiveUDP(t, sink)
		}
		if got--; got < test.low || got > test.high {
			t.Errorf("%s: %d of 1000 came through", test.name, got)
		}
	}
}

func TestAFaultSurvivesTheProcessAndEndsWithTheContainer(t *testing.T) {
	c := labConfig(t)
	n := openLab(t, c)
	a, b := connect(t, n, Endpoint{ID: "a"}), connect(t, n, Endpoint{ID: "b"})
	serveHTTP(t, b.Netns, "b", 80)
	hole := Blackhole{Port: 80, Protocol: TCP}
	fault(t, n, "a", hole)
	n.Close()
	n = reopenLab(t, c)
	if running, err := n.FaultRunning(testContext(t), "a", hole); !running || err != nil {
		t.Errorf("running %v, %v", running, err)
	}
	if !blocked(t, a.Netns, b.IP) {
		t.Error("the fault is said to run, and does not")
	}
	disconnect(t, n, "a")
	if _, err := n.FaultRunning(testContext(t), "a", hole); !errors.Is(err, ErrNoOwnNetwork) {
		t.Error(err)
	}
}

func TestTheHostsNetworkIsNotDisturbed(t *testing.T) {
	n := openLab(t, labConfig(t))
	connect(t, n, Endpoint{ID: "a", Mode: Host})
	if err := n.StartFault(testContext(t), "a", Blackhole{Port: 80, Protocol: TCP}); !errors.Is(err, ErrNoOwnNetwork) {
		t.Error(err)
	}
}

// Where the kernel can delay packets it does; where it cannot, it is said so and nothing is left half done.
func TestALatencyHoldsPacketsBackOrSaysWhyNot(t *testing.T) {
	n := openLab(t, labConfig(t))
	a, b := connect(t, n, Endpoint{ID: "a"}), connect(t, n, Endpoint{ID: "b"})
	serveHTTP(t, b.Netns, "b", 80)
	slow := Latency{300 * time.Millisecond, 0, Affected{Sources: []netip.Prefix{netip.PrefixFrom(b.IP, 32)}, FlowsPercent: 100}}
	err := n.StartFault(testContext(t), "a", slow)
	if err != nil {
		if !strings.Contains(err.Error(), "this machine's kernel has no sch_") {
			t.Fatal(err)
		}
		if running, err := n.FaultRunning(testContext(t), "a", slow); running || err != nil {
			t.Errorf("running %v, %v", running, err)
		}
		noFault(t, n, "a", slow)
		t.Log("not seen here:", err)
	} else {
		if !blocked(t, a.Netns, b.IP) {
			t.Error("nothing is held back")
		}
		noFault(t, n, "a", slow)
	}
	get(t, a.Netns, b.IP, 80)
}
