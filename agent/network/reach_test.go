package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

func TestAPublishedPortIsReachedFromEverywhere(t *testing.T) {
	far := newOutside(t)
	n := openLab(t, labConfig(t))
	web := connect(t, n, Endpoint{ID: "web", Ports: []Port{{ContainerPort: 80}}})
	other := connect(t, n, Endpoint{ID: "other"})
	serveHTTP(t, web.Netns, "web", 80)
	port := web.Bindings[0].HostPort
	host := hostAddress(t)

	for _, c := range []struct {
		from, netns string
		to          any
		saw         netip.Addr
	}{
		{"the host", "", "127.0.0.1", web.Gateway},
		{"the host", "", "localhost", web.Gateway},
		{"the host", "", host, host},
		{"the host", "", web.Gateway, web.Gateway},
		{"the outside", far.netns, far.host, far.ip},
		{"another container", other.Netns, web.Gateway, web.Gateway},
		{"another container", other.Netns, host, web.Gateway},
		{"the container itself", web.Netns, host, web.Gateway},
	} {
		if got, want := get(t, c.netns, c.to, port), "web saw "+c.saw.String(); got != want {
			t.Errorf("from %s to %v: %q, want %q", c.from, c.to, got, want)
		}
	}
	// Without the host's help, containers of one Network meet directly.
	if got, want := get(t, other.Netns, web.IP, 80), "web saw "+other.IP.String(); got != want {
		t.Errorf("from another container to the address: %q, want %q", got, want)
	}
}

// What Connect returned can be used at once: the first packet is not lost.
func TestAConnectedContainerCanBeReachedAtOnce(t *testing.T) {
	n := openLab(t, labConfig(t))
	for _, id := range []string{"first", "second", "third"} {
		connect(t, n, Endpoint{ID: id})
		// Not by netlink: that asking would itself bring the state up to date.
		for _, c := range []struct{ file, want string }{
			{n.slots.veth(n.endpoints[id].Slot) + "/brport/state", "3"}, // forwarding
			{n.slots.veth(n.endpoints[id].Slot) + "/operstate", "up"},
			{n.bridge.Name + "/operstate", "up"},
		} {
			state, err := os.ReadFile("/sys/class/net/" + c.file)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(state)); got != c.want {
				t.Errorf("%s: %s is %s, want %s", id, c.file, got, c.want)
			}
		}
		disconnect(t, n, id) // the bridge loses its only port, and so for the next one its carrier
	}
}

func TestAContainerReachesTheOutsideAsTheHost(t *testing.T) {
	far := newOutside(t)
	n := openLab(t, labConfig(t))
	a := connect(t, n, Endpoint{ID: "a"})
	serveHTTP(t, far.netns, "far", 8080)
	if got, want := get(t, a.Netns, far.ip, 8080), "far saw "+far.host.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheOutsideHasNoWayInButABinding(t *testing.T) {
	far := newOutside(t)
	n := openLab(t, labConfig(t))
	a := connect(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 53, Protocol: UDP}}})
	in(t, far.netns, func() error { // a route straight to the containers
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: n.Subnet().Addr().AsSlice(), Mask: net.CIDRMask(n.Subnet().Bits(), 32)}, Gw: far.host.AsSlice()})
	})
	server, client := listenUDP(t, a.Netns, 53), listenUDP(t, far.netns, 0)
	// Both take the same way in this order; had the first been let in, it would be read first.
	sendUDP(t, client, "straight", a.IP, 53)
	sendUDP(t, client, "by the binding", far.host, a.Bindings[0].HostPort)
	if got, _ := receiveUDP(t, server); got != "by the binding" {
		t.Errorf("the container received %q", got)
	}
}

// route_localnet on the bridge must not open the host's loopback to a container that sends there on purpose.
func TestAContainerCannotReachTheHostsLoopback(t *testing.T) {
	n := openLab(t, labConfig(t))
	a := connect(t, n, Endpoint{ID: "a"})
	in(t, a.Netns, func() error { // send 127.0.0.0/8 to the host instead of the container's own lo
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		loopback := &net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)}
		if err := netlink.AddrDel(lo, &netlink.Addr{IPNet: loopback}); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(127, 0, 0, 0), Mask: loopback.Mask}, Gw: a.Gateway.AsSlice()})
	})
	server, client := listenUDP(t, "", 0), listenUDP(t, a.Netns, 0)
	port := uint16(server.LocalAddr().(*net.UDPAddr).Port)
	sendUDP(t, client, "by the loopback", "127.0.0.1", port)
	sendUDP(t, client, "by the bridge", a.Gateway, port)
	if got, _ := receiveUDP(t, server); got != "by the bridge" {
		t.Errorf("the host received %q", got)
	}
}

func TestUDPIsPublishedAndAnswered(t *testing.T) {
	far := newOutside(t)
	n := openLab(t, labConfig(t))
	a := connect(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 53, Protocol: UDP}}})
	server := listenUDP(t, a.Netns, 53)
	port := a.Bindings[0].HostPort
	for _, c := range []struct {
		netns string
		to    any
	}{{"", "127.0.0.1"}, {"", hostAddress(t)}, {far.netns, far.host}} {
		client := listenUDP(t, c.netns, 0)
		sendUDP(t, client, "ask", c.to, port)
		text, from := receiveUDP(t, server)
		sendUDP(t, server, "answer to "+text, from.Addr(), from.Port())
		text, from = receiveUDP(t, client)
		want := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprint(c.to)), port)
		if text != "answer to ask" || from != want {
			t.Errorf("got %q from %v, want an answer from %v", text, from, want)
		}
	}
}

func TestAUDPFlowFindsThePortsNextOwner(t *testing.T) {
	far := newOutside(t)
	n := openLab(t, labConfig(t))
	client := listenUDP(t, far.netns, 0)
	first := connect(t, n, Endpoint{ID: "first", Ports: []Port{{ContainerPort: 53, Protocol: UDP}}})
	port := first.Bindings[0].HostPort
	server := listenUDP(t, first.Netns, 53)
	sendUDP(t, client, "one", far.host, port)
	receiveUDP(t, server)
	disconnect(t, n, "first")
	sendUDP(t, client, "nobody", far.host, port) // leaves a flow that leads to the host
	second := connect(t, n, Endpoint{ID: "second", Ports: []Port{{ContainerPort: 53, HostPort: port, Protocol: UDP}}})
	server = listenUDP(t, second.Netns, 53)
	sendUDP(t, client, "two", far.host, port) // from the same port of the same client
	if got, _ := receiveUDP(t, server); got != "two" {
		t.Errorf("the second owner received %q", got)
	}
}

func TestTwoNetworksDoNotTouch(t *testing.T) {
	left, right := openLab(t, labConfig(t)), openLab(t, labConfig(t))
	if left.Subnet().Overlaps(right.Subnet()) {
		t.Fatalf("subnets %s and %s overlap", left.Subnet(), right.Subnet())
	}
	a := connect(t, left, Endpoint{ID: "web", Ports: []Port{{ContainerPort: 80}}})
	b := connect(t, right, Endpoint{ID: "web", Ports: []Port{{ContainerPort: 80}}})
	serveHTTP(t, a.Netns, "a", 80)
	serveHTTP(t, b.Netns, "b", 80)
	if got, want := get(t, b.Netns, b.Gateway, a.Bindings[0].HostPort), "a saw "+a.Gateway.String(); got != want {
		t.Errorf("across Networks by a binding: %q, want %q", got, want)
	}
	if err := left.Destroy(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, "", "127.0.0.1", b.Bindings[0].HostPort), "b saw "+b.Gateway.String(); got != want {
		t.Errorf("after the other was destroyed: %q, want %q", got, want)
	}
}

func TestAForwardPolicyOfDropIsPassed(t *testing.T) {
	far := newOutside(t)
	table := dropForward(t)
	c := labConfig(t)
	n := openLab(t, c)
	a := connect(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80}}})
	serveHTTP(t, a.Netns, "a", 80)
	serveHTTP(t, far.netns, "far", 80)
	get(t, far.netns, far.host, a.Bindings[0].HostPort)
	get(t, a.Netns, far.ip, 80)

	rules := func() int {
		all, err := (&nftables.Conn{}).GetRules(table, &nftables.Chain{Name: "FORWARD", Table: table})
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	n.Close()
	n = reopenLab(t, c)
	if got := rules(); got != 2 {
		t.Errorf("%d rules after opening twice, want 2", got)
	}
	if err := n.Destroy(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := rules(); got != 0 {
		t.Errorf("%d rules after Destroy, want 0", got)
	}
}

func TestHostModeIsTheHost(t *testing.T) {
	n := openLab(t, labConfig(t))
	a := connect(t, n, Endpoint{ID: "a", Mode: Host, Ports: []Port{{ContainerPort: 8080}}})
	want := Binding{BindIP: "0.0.0.0", ContainerPort: 8080, HostPort: 8080, Count: 1, Protocol: TCP}
	if a.Netns != "" || a.IP.IsValid() || len(a.Bindings) != 1 || a.Bindings[0] != want {
		t.Errorf("%+v", a)
	}
	disconnect(t, n, "a")
}

func TestNoneModeHasLoopbackAndNothingElse(t *testing.T) {
	n := openLab(t, labConfig(t))
	a := connect(t, n, Endpoint{ID: "a", Mode: None})
	in(t, a.Netns, func() error {
		links, err := dump(netlink.LinkList)
		if len(links) != 1 || links[0].Attrs().Name != "lo" {
			t.Errorf("links: %v", links)
		}
		return err
	})
	serveHTTP(t, a.Netns, "a", 80)
	if got := get(t, a.Netns, "127.0.0.1", 80); got != "a saw 127.0.0.1" {
		t.Error(got)
	}
}
