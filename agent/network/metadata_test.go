package network

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// answer serves at a listener, and says who asked.
func answer(t *testing.T, l net.Listener, name string) {
	t.Helper()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s saw %s", name, host)
	})}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
}

func TestAContainersQuestionsReachItsOwnHavn(t *testing.T) {
	far := newOutside(t)
	c := labConfig(t)
	dropInput(t, c)
	one, two := openLab(t, c), openLab(t, labConfig(t))
	for name, n := range map[string]*Network{"one": one, "two": two} {
		bridge, host, err := n.ListenMetadata(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		host.Close() // one Havn of this machine listens there: who answers is the metadata server's to settle
		answer(t, bridge, name)
	}
	a, b := connect(t, one, Endpoint{ID: "a"}), connect(t, two, Endpoint{ID: "b"})
	// Neither a published port 80 nor anything else comes between.
	web := connect(t, two, Endpoint{ID: "web", Ports: []Port{{ContainerPort: 80}}})
	serveHTTP(t, web.Netns, "web", 80)
	for _, c := range []struct{ netns, want string }{
		{a.Netns, "one saw " + a.IP.String()},
		{b.Netns, "two saw " + b.IP.String()},
	} {
		if got := get(t, c.netns, MetadataAddress, 80); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if got := one.Addresses("a", "unknown"); len(got) != 1 || got[0] != a.IP {
		t.Errorf("the addresses of a are %v, want %v", got, a.IP)
	}
	if one.Netns("a") != a.Netns || one.Netns("unknown") != "" {
		t.Errorf("the namespace of a is %q, of nothing %q", one.Netns("a"), one.Netns("unknown"))
	}

	// Nobody else gets there, by whichever way.
	in(t, far.netns, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: one.Subnet().Addr().AsSlice(), Mask: net.CIDRMask(subnetBits, 32)}, Gw: far.host.AsSlice()})
	})
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, from := range []struct{ name, netns string }{
		{"another Havn's container", b.Netns}, {"another machine", far.netns}, {"the host", ""},
	} {
		if got, err := tryGet(short, from.netns, a.Gateway, MetadataPort); err == nil {
			t.Errorf("%s got %q", from.name, got)
		}
	}
}

func TestTheHostsQuestionsFindAListener(t *testing.T) {
	one, two := openLab(t, labConfig(t)), openLab(t, labConfig(t))
	for _, n := range []*Network{one, two} {
		bridge, host, err := n.ListenMetadata(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		bridge.Close()
		t.Cleanup(func() { host.Close() })
	}
	var d net.Dialer
	conn, err := d.DialContext(testContext(t), "tcp4", MetadataAddress.String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// dropInput makes a table of the host's that drops by policy what comes in, as ufw's does; but only by the Network's
// bridge, for this machine has more to do.
func dropInput(t *testing.T, of Config) {
	t.Helper()
	c := &nftables.Conn{}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Name: fmt.Sprintf("lab-%08x", rand.Uint32()), Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "INPUT", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(
		iface(expr.MetaKeyIIFNAME, expr.CmpOpNeq, bridgePrefix+of.Name), &expr.Verdict{Kind: expr.VerdictAccept})})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
}
