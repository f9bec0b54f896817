package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The lab: real Networks with names of their own, servers and clients inside namespaces. Whatever a test makes is gone
// when it ends, and the lab fails the test if it is not.

// patience is how long anything may take before it counts as never.
const patience = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// labConfig names a Network that no other test and no Havn on this machine has, and sees to its end.
func labConfig(t testing.TB) Config {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	c := Config{
		StateDir: t.TempDir(),
		Name:     fmt.Sprintf("%08x", rand.Uint32()),
		Log:      slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	t.Cleanup(func() { checkNothingLeft(t, c) })
	return c
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// openLab opens a Network and destroys it when the test ends, opening it again for that if the test closed it.
func openLab(t testing.TB, c Config) *Network {
	t.Helper()
	n := reopenLab(t, c)
	t.Cleanup(func() {
		n.Close()
		last, err := Open(context.Background(), c)
		if err == nil {
			err = last.Destroy(context.Background())
		}
		if err != nil {
			t.Errorf("the lab is not cleaned up: %v", err)
		}
	})
	return n
}

// reopenLab opens a Network that openLab will destroy.
func reopenLab(t testing.TB, c Config) *Network {
	t.Helper()
	n, err := Open(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// checkNothingLeft fails the test if the kernel still has anything of the Network.
func checkNothingLeft(t testing.TB, c Config) {
	t.Helper()
	links, err := dump(netlink.LinkList)
	if err != nil {
		t.Error(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, bridgePrefix+c.Name) || strings.HasPrefix(name, "v"+c.Name) {
			t.Errorf("link %s is left", name)
		}
	}
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		t.Error(err)
	}
	for _, table := range tables {
		if table.Name == tablePrefix+c.Name {
			t.Errorf("table %s is left", table.Name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, c.StateDir) {
			t.Errorf("mount is left: %s", line)
		}
	}
	entries, err := os.ReadDir(c.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range entries {
		t.Errorf("file %s is left", e.Name())
	}
}

func connect(t testing.TB, n *Network, e Endpoint) Attachment {
	t.Helper()
	if e.Mode == "" {
		e.Mode = Bridge
	}
	a, err := n.Connect(testContext(t), e)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func disconnect(t testing.TB, n *Network, id string) {
	t.Helper()
	if err := n.Disconnect(testContext(t), id); err != nil {
		t.Fatal(err)
	}
}

// in runs f in a network namespace; the empty path is the host's. Sockets that f makes belong to that namespace for
// good.
func in(t testing.TB, netns string, f func() error) {
	t.Helper()
	if err := tryIn(netns, f); err != nil {
		t.Fatal(err)
	}
}

func tryIn(netns string, f func() error) error {
	if netns == "" {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		ns, err := os.Open(netns)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// serveHTTP answers every request in the namespace with "NAME saw CLIENT-IP". It listens when it returns.
func serveHTTP(t testing.TB, netns, name string, port uint16) {
	t.Helper()
	in(t, netns, func() error {
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "%s saw %s", name, host)
		})}
		done := make(chan struct{})
		go func() { defer close(done); s.Serve(l) }()
		t.Cleanup(func() { s.Close(); <-done })
		return nil
	})
}

// get asks a server from inside a namespace.
func get(t testing.TB, netns string, host any, port uint16) string {
	t.Helper()
	body, err := tryGet(testContext(t), netns, host, port)
	if err != nil {
		t.Fatalf("from %q to %v:%d: %v", filepath.Base(netns), host, port, err)
	}
	return body
}

func tryGet(ctx context.Context, netns string, host any, port uint16) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = tryIn(netns, func() error {
				var d net.Dialer
				conn, err = d.DialContext(ctx, "tcp4", address)
				return err
			})
			return conn, err
		},
	}}
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%v:%d/", host, port), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// listenUDP returns a socket inside the namespace.
func listenUDP(t testing.TB, netns string, port uint16) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	in(t, netns, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
		return err
	})
	t.Cleanup(func() { conn.Close() })
	deadline, _ := testContext(t).Deadline()
	conn.SetDeadline(deadline)
	return conn
}

func sendUDP(t testing.TB, from *net.UDPConn, text string, host any, port uint16) {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprint(host)), port)
	if _, err := from.WriteToUDPAddrPort([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

func receiveUDP(t testing.TB, at *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 1500)
	size, from, err := at.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:size]), from
}

// An outside is another machine: a namespace that is one link away from the host and knows no route but that link.
type outside struct {
	netns    string
	ip, host netip.Addr // its own address, and the host's on the link
}

func newOutside(t testing.TB) outside {
	t.Helper()
	// From the block for benchmarks of networks, by chance, so that tests beside this one do not meet.
	o := outside{netns: filepath.Join(t.TempDir(), "outside")}
	o.host = netip.AddrFrom4([4]byte{198, 18, byte(rand.N(256)), byte(rand.N(32)*8) + 1})
	o.ip = o.host.Next()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(err)
	t.Cleanup(h.Close)
	hostNS, err := os.Open("/proc/thread-self/ns/net")
	must(err)
	t.Cleanup(func() { hostNS.Close() })
	f, err := os.Create(o.netns)
	must(err)
	f.Close()
	t.Cleanup(func() {
		if err := unix.Unmount(o.netns, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := &slots{hostNS: int(hostNS.Fd())}
	name := "vout" + strconv.Itoa(rand.N(1_000_000))
	done := make(chan error)
	go func() {
		done <- s.inNewNamespace(func() error {
			if err := unix.Mount("/proc/thread-self/ns/net", o.netns, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			ns, err := os.Open(o.netns)
			if err != nil {
				return err
			}
			defer ns.Close()
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.Flags = name, net.FlagUp
			if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerTxQLen: -1, PeerNamespace: netlink.NsFd(ns.Fd())}); err != nil {
				return err
			}
			inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer inside.Close()
			return addressAndUp(inside, "eth0", netip.PrefixFrom(o.ip, 29))
		})
	}()
	must(<-done)
	t.Cleanup(func() {
		if link, err := h.LinkByName(name); err == nil {
			err = h.LinkDel(link)
			if err != nil {
				t.Error(err)
			}
		}
	})
	must(addressAndUp(h, name, netip.PrefixFrom(o.host, 29)))
	return o
}

func addressAndUp(h *netlink.Handle, name string, p netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	a := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
	return errors.Join(h.AddrAdd(link, &netlink.Addr{IPNet: a}), h.LinkSetUp(link))
}

// hostAddress is an address of the host that is neither its loopback's nor a Network's.
func hostAddress(t testing.TB) netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !subnetBlock.Contains(p.Addr()) {
			return p.Addr()
		}
	}
	t.Skip("this host has no address but its loopback's")
	return netip.Addr{}
}

// dropForward makes a table of the host's that drops what is forwarded, as a Docker engine's does.
func dropForward(t testing.TB) (table *nftables.Table) {
	t.Helper()
	c := &nftables.Conn{}
	drop := nftables.ChainPolicyDrop
	table = c.AddTable(&nftables.Table{Name: fmt.Sprintf("lab-%08x", rand.Uint32()), Family: nftables.TableFamilyIPv4})
	c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
	return table
}
