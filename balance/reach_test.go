package balance

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/state"
)

func TestTwoBalancersShareAPort(t *testing.T) {
	w := newWorld(t)
	port := freePort(t)
	a := w.balancer("a", port, elb.ProtocolEnumHttp)
	b := w.balancer("b", port, elb.ProtocolEnumHttp)
	first, second := w.settled(a), w.settled(b)
	for _, l := range []state.LoadBalancer{first, second} {
		if l.State.Code != elb.LoadBalancerStateEnumActive {
			t.Fatalf("%s is %s: %s", l.Name, l.State.Code, aws.ToString(l.State.Reason))
		}
	}
	for _, c := range []struct{ at, host, want string }{
		{"127.0.0.1", a.name, "a " + a.name},
		{"127.0.0.1", b.name, "b " + b.name},
		{"127.0.0.1", strings.ToUpper(b.name) + ":" + strconv.Itoa(port), "b " + strings.ToUpper(b.name) + ":" + strconv.Itoa(port)},
		{"127.0.0.1", "shop." + b.name, "b shop." + b.name},
		{"127.0.0.1", "example.com", "a example.com"}, // what names nobody: the oldest
		{"127.0.0.1", "gone-99.us-east-1.elb.localhost", "421 Misdirected Request"},
		{first.Address, b.name, "a " + b.name}, // its own address is its own, whatever is said there
		{second.Address, "example.com", "b example.com"},
	} {
		if got := get(t, c.at, port, c.host); got != c.want {
			t.Errorf("at %s for %s: %q, want %q", c.at, c.host, got, c.want)
		}
	}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		if got := get(t, "::1", port, b.name); got != "b "+b.name {
			t.Errorf("at ::1: %q", got)
		}
	}
}

func TestDeletedListenerIsNotListenedOn(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumHttp)
	l := w.settled(m)
	w.update(func(tx *state.Tx) {
		state.Listeners.Delete(tx, m.listener)
		state.LoadBalancers.Delete(tx, m.balancer)
	})
	w.stop() // everything that was to be closed is closed then, at the latest
	if conn, err := net.Dial("tcp", net.JoinHostPort(l.Address, strconv.Itoa(m.port))); err == nil {
		conn.Close()
		t.Error("it is still listened on")
	}
}

func TestTakenPortImpairsAndIsTakenOverWhenFree(t *testing.T) {
	w := newWorld(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	m := w.balancer("a", other.Addr().(*net.TCPAddr).Port, elb.ProtocolEnumHttp)
	var l state.LoadBalancer
	w.await(func(r *state.Reader) bool {
		l, _ = state.LoadBalancers.Get(r, m.balancer)
		reason := aws.ToString(l.State.Reason)
		return l.State.Code == elb.LoadBalancerStateEnumActiveImpaired && l.Address != "" &&
			reason == fmt.Sprintf("port %d is taken by balance.test (pid %d) at 127.0.0.1. It is reachable at %s all the same", m.port, os.Getpid(), l.Address)
	})
	if got := get(t, l.Address, m.port, m.name); got != "a "+m.name {
		t.Errorf("at its own address: %q", got)
	}
	other.Close()
	w.await(func(r *state.Reader) bool {
		l, _ := state.LoadBalancers.Get(r, m.balancer)
		return l.State.Code == elb.LoadBalancerStateEnumActive && l.State.Reason == nil
	})
	if got := get(t, "127.0.0.1", m.port, m.name); got != "a "+m.name {
		t.Errorf("at 127.0.0.1: %q", got)
	}
}

func TestPortThatIsTakenEverywhereFails(t *testing.T) {
	w := newWorld(t)
	other, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	m := w.balancer("a", other.Addr().(*net.TCPAddr).Port, elb.ProtocolEnumHttp)
	if l := w.settled(m); l.State.Code != elb.LoadBalancerStateEnumFailed {
		t.Fatalf("%s: %s", l.State.Code, aws.ToString(l.State.Reason))
	}
}

func TestTwoHavnsServeUnderTheirNames(t *testing.T) {
	port := freePort(t)
	one, two := newWorld(t), newWorld(t)
	a := one.balancer("a", port, elb.ProtocolEnumHttp)
	first := one.settled(a)
	b := two.balancer("b", port, elb.ProtocolEnumHttp, func(l *state.LoadBalancer, _ *state.Listener, _ *state.TargetGroup) { l.Address = first.Address })
	second := two.settled(b)
	if second.Address == first.Address || second.State.Code != elb.LoadBalancerStateEnumActive {
		t.Fatalf("the second one is %s at %s: %s", second.State.Code, second.Address, aws.ToString(second.State.Reason))
	}
	for _, c := range []struct{ at, host, want string }{
		{first.Address, "x", "a x"},
		{second.Address, "x", "b x"},
		{"127.0.0.1", "x", "a x"},
		{"127.0.0.1", a.name, "a " + a.name},
		{"127.0.0.1", b.name, "b " + b.name},
		{"127.0.0.1", "shop." + b.name, "b shop." + b.name},
		{"127.0.0.1", "c.us-east-1.elb.localhost", "421 Misdirected Request"},
	} {
		if got := get(t, c.at, port, c.host); got != c.want {
			t.Errorf("at %s for %s: %q, want %q", c.at, c.host, got, c.want)
		}
	}
	one.stop()
	for { // it takes the place of the first, without a word to the state
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(time.Millisecond)
	}
	for host, want := range map[string]string{"x": "b x", a.name: "421 Misdirected Request"} {
		if got := get(t, "127.0.0.1", port, host); got != want {
			t.Errorf("when the first is gone, for %s: %q, want %q", host, got, want)
		}
	}
}

func TestHandOverLeadsWhereTheBalancerWouldListen(t *testing.T) {
	w := newWorld(t)
	m := w.balancer("a", freePort(t), elb.ProtocolEnumHttp)
	w.settled(m)
	for at, want := range map[string]bool{"127.0.0.1": true, "192.0.2.1": false} {
		if got := w.b.meant(m.name, netip.AddrPortFrom(netip.MustParseAddr(at), uint16(m.port))); (got != nil) != want {
			t.Errorf("at %s: %v", at, got)
		}
	}
}

func TestInternalBalancersStayInside(t *testing.T) {
	lan, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	listener := func(scheme elb.LoadBalancerSchemeEnum, ip elb.IpAddressType, p elb.ProtocolEnum) *route.Table {
		return &route.Table{Listeners: map[string]*route.Listener{"l": {ARN: "l", Port: 80, Protocol: p, Balancer: state.LoadBalancer{Address: "127.18.0.1", Scheme: scheme, IPAddressType: ip}}}}
	}
	own := netip.MustParseAddr("127.18.0.1")
	for _, c := range []struct {
		t    *route.Table
		want string
	}{
		{listener(elb.LoadBalancerSchemeEnumInternal, elb.IpAddressTypeDualstack, elb.ProtocolEnumHttp), "tcp 127.0.0.1:80, tcp 127.18.0.1:80, tcp ::1:80"},
		{listener(elb.LoadBalancerSchemeEnumInternetFacing, elb.IpAddressTypeIpv4, elb.ProtocolEnumUdp), "udp 127.0.0.1:80, udp 127.18.0.1:80, udp 192.0.2.1:80, udp ::1:80"},
		{listener(elb.LoadBalancerSchemeEnumInternetFacing, elb.IpAddressTypeDualstack, elb.ProtocolEnumHttps), "tcp 127.0.0.1:80, tcp 127.18.0.1:80, tcp 192.0.2.1:80, tcp 2001:db8::1:80, tcp ::1:80"},
	} {
		if got := listed(endpoints(c.t, []netip.Addr{own}, []netip.Addr{lan, v6})); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func listed(all map[endpoint][]*route.Listener) string {
	var names []string
	for e := range all {
		names = append(names, e.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
