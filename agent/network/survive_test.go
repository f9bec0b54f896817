package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A child process does one thing to a Network and is killed by itself at a step; SIGKILL leaves no time to tidy up.
type child struct {
	Config   Config
	Connect  *Endpoint
	Remove   string // an ID to disconnect
	DieAfter int    // steps; 0 is never
}

const childVariable = "HAVN_NETWORK_TEST_CHILD"

func TestMain(m *testing.M) {
	if script := os.Getenv(childVariable); script != "" {
		if err := runChild(script); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runChild(script string) error {
	var c child
	if err := json.Unmarshal([]byte(script), &c); err != nil {
		return err
	}
	steps := 0
	n, err := open(context.Background(), c.Config, func(step string) {
		fmt.Println(step)
		if steps++; steps == c.DieAfter {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	})
	if err == nil && c.Connect != nil {
		_, err = n.Connect(context.Background(), *c.Connect)
	}
	if err == nil && c.Remove != "" {
		err = n.Disconnect(context.Background(), c.Remove)
	}
	return err
}

// run returns the last step that the child reached, and whether it was killed there.
func (c child) run(t *testing.T) (last string, killed bool) {
	t.Helper()
	c.Config.Log = nil
	script, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(script))
	cmd.Stderr = testWriter{t}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(interface{ Signaled() bool }).Signaled() {
		killed = true
	} else if err != nil {
		t.Fatalf("child: %v", err)
	}
	steps := strings.Fields(strings.ReplaceAll(string(out), " ", "_"))
	if len(steps) == 0 {
		return "", killed
	}
	return steps[len(steps)-1], killed
}

// checkAgrees fails the test unless kernel, sockets and folder hold exactly what the endpoints account for.
func checkAgrees(t *testing.T, n *Network) {
	t.Helper()
	slots, elements, sockets := make(map[int]bool), 0, 0
	for _, rec := range n.endpoints {
		if rec.Slot != 0 {
			if slots[rec.Slot] {
				t.Errorf("slot %d has two endpoints", rec.Slot)
			}
			slots[rec.Slot] = true
			if !n.slots.whole(rec.Slot, rec.Mode) {
				t.Errorf("endpoint %s is not whole", rec.ID)
			}
		}
		if rec.Mode == Bridge {
			for _, b := range rec.Bindings {
				elements += int(b.Count)
				sockets += int(b.Count)
			}
		}
	}
	existing, err := n.slots.existing()
	if err != nil {
		t.Error(err)
	}
	if !maps.Equal(existing, slots) {
		t.Errorf("slots %v exist, want %v", existing, slots)
	}
	inKernel, err := (&nftables.Conn{}).GetSetElements(n.firewall.ports())
	if err != nil {
		t.Error(err)
	}
	if len(inKernel) != elements {
		t.Errorf("%d ports are published, want %d", len(inKernel), elements)
	}
	if len(n.held.sockets) != sockets {
		t.Errorf("%d ports are held, want %d", len(n.held.sockets), sockets)
	}
	used := maps.Clone(n.used)
	delete(used, 0) // of endpoints without a slot
	if !maps.Equal(used, slots) {
		t.Errorf("slots %v are in use, want %v", used, slots)
	}
}

func TestKilledAnywhereInConnect(t *testing.T) {
	e := Endpoint{ID: "a", Mode: Bridge, Ports: []Port{{ContainerPort: 80}, {ContainerPort: 53, Protocol: UDP}}}
	for after := 1; ; after++ {
		c := labConfig(t)
		openLab(t, c).Close()
		step, killed := child{Config: c, Connect: &e, DieAfter: after}.run(t)
		t.Logf("killed %v at %s", killed, step)
		n := reopenLab(t, c)
		for _, rec := range n.endpoints {
			if err := n.repair(rec); err != nil {
				t.Error(err)
			}
		}
		checkAgrees(t, n)
		if recorded := slices.Contains([]string{"recorded", "published"}, step); recorded != (len(n.Attachments()) == 1) {
			t.Errorf("after %s: attachments %v", step, n.Attachments())
		}
		a := connect(t, n, e)
		if again := connect(t, n, e); !reflect.DeepEqual(a, again) {
			t.Errorf("after %s: %+v, then %+v", step, a, again)
		}
		checkAgrees(t, n)
		serveHTTP(t, a.Netns, "a", 80)
		get(t, "", "127.0.0.1", a.Bindings[0].HostPort)
		disconnect(t, n, "a")
		checkAgrees(t, n)
		n.Close()
		if !killed {
			if after < 9 {
				t.Errorf("Connect has only %d steps to die at", after-1)
			}
			return
		}
	}
}

func TestKilledAnywhereInDisconnect(t *testing.T) {
	e := Endpoint{ID: "a", Mode: Bridge, Ports: []Port{{ContainerPort: 80}}}
	for after := 1; ; after++ {
		c := labConfig(t)
		n := openLab(t, c)
		connect(t, n, e)
		n.Close()
		step, killed := child{Config: c, Remove: "a", DieAfter: after}.run(t)
		t.Logf("killed %v at %s", killed, step)
		n = reopenLab(t, c)
		if forgotten := step == "forgotten"; forgotten != (len(n.Attachments()) == 0) {
			t.Errorf("after %s: attachments %v", step, n.Attachments())
		}
		disconnect(t, n, "a")
		disconnect(t, n, "a")
		checkAgrees(t, n)
		connect(t, n, e) // and it can begin anew
		checkAgrees(t, n)
		n.Close()
		if !killed {
			if after < 5 {
				t.Errorf("Disconnect has only %d steps to die at", after-1)
			}
			return
		}
	}
}

func TestContainersOutliveTheProcess(t *testing.T) {
	c := labConfig(t)
	n := openLab(t, c)
	e := Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80}}}
	a := connect(t, n, e)
	serveHTTP(t, a.Netns, "a", 80)
	n.Close()
	get(t, "", "127.0.0.1", a.Bindings[0].HostPort)
	if _, err := n.Connect(testContext(t), Endpoint{ID: "b", Mode: None}); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect after Close: %v", err)
	}
	n = reopenLab(t, c)
	get(t, "", "127.0.0.1", a.Bindings[0].HostPort)
	if again := connect(t, n, e); !reflect.DeepEqual(a, again) {
		t.Errorf("%+v after a restart, before %+v", again, a)
	}
	if b := connect(t, n, Endpoint{ID: "b"}); b.IP == a.IP {
		t.Errorf("address %s was given out twice", b.IP)
	}
	if _, err := Open(testContext(t), c); err == nil {
		t.Error("a second process could open the same folder")
	}
}

func TestConnectRepairsWhatWasLost(t *testing.T) {
	c := labConfig(t)
	n := openLab(t, c)
	e := Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80}}}
	a := connect(t, n, e)
	slot := n.endpoints["a"].Slot
	for name, lose := range map[string]func() error{
		"as after a reboot": func() error { return unix.Unmount(a.Netns, unix.MNT_DETACH) },
		"the veth": func() error {
			link, err := netlink.LinkByName(n.slots.veth(slot))
			if err == nil {
				err = netlink.LinkDel(link)
			}
			return err
		},
		"the rules": func() error {
			conn := &nftables.Conn{}
			conn.DelTable(n.firewall.table())
			return conn.Flush()
		},
		"the bridge":       func() error { return netlink.LinkDel(n.bridge) },
		"the record, torn": func() error { return os.WriteFile(n.records.path("a"), []byte("{"), 0o600) },
	} {
		if err := lose(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n.Close()
		n = reopenLab(t, c)
		a = connect(t, n, e)
		checkAgrees(t, n)
		// The server must be gone before the next loss, as it lives in the namespace that gets lost.
		t.Run(name, func(t *testing.T) {
			serveHTTP(t, a.Netns, name, 80)
			get(t, "", "127.0.0.1", a.Bindings[0].HostPort)
		})
		slot = n.endpoints["a"].Slot
	}
}

// Somebody flushes all rules of the machine: the next change brings ours back.
func TestFlushedRulesComeBack(t *testing.T) {
	n := openLab(t, labConfig(t))
	connect(t, n, Endpoint{ID: "a", Ports: []Port{{ContainerPort: 80}}})
	b := connect(t, n, Endpoint{ID: "b", Ports: []Port{{ContainerPort: 80}}})
	serveHTTP(t, b.Netns, "b", 80)
	flush := func() {
		conn := &nftables.Conn{}
		conn.DelTable(n.firewall.table())
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	disconnect(t, n, "a")
	checkAgrees(t, n)
	flush()
	connect(t, n, Endpoint{ID: "c", Ports: []Port{{ContainerPort: 80}}})
	checkAgrees(t, n)
	get(t, "", "127.0.0.1", b.Bindings[0].HostPort)
}

func TestManyAtOnce(t *testing.T) {
	n := openLab(t, labConfig(t))
	const ids, each = 8, 3
	var wg sync.WaitGroup
	got := make([]Attachment, ids*each)
	for i := range got {
		wg.Go(func() {
			e := Endpoint{ID: strconv.Itoa(i % ids), Mode: Bridge, Ports: []Port{{ContainerPort: 80}, {ContainerPort: 81}}}
			a, err := n.Connect(testContext(t), e)
			if err != nil {
				t.Error(err)
			}
			got[i] = a
		})
	}
	wg.Wait()
	checkAgrees(t, n)
	addresses := make(map[netip.Addr]bool)
	for i, a := range got {
		addresses[a.IP] = true
		if !reflect.DeepEqual(a, got[i%ids]) {
			t.Errorf("endpoint %d got %+v and %+v", i%ids, a, got[i%ids])
		}
	}
	if len(addresses) != ids {
		t.Errorf("%d addresses for %d endpoints", len(addresses), ids)
	}
	for i := range ids {
		wg.Go(func() {
			if err := n.Disconnect(testContext(t), strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { // beside one that comes and goes
			e := Endpoint{ID: "x" + strconv.Itoa(i), Mode: None}
			if _, err := n.Connect(testContext(t), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	checkAgrees(t, n)
}

// Any sequence of calls, restarts among them, leaves what a plain map of endpoints says there should be.
func TestAnySequence(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			c := labConfig(t)
			c.PortRange = [2]uint16{uint16(20000 + 100*r.IntN(100)), 0}
			c.PortRange[1] = c.PortRange[0] + 9 // small, so that it runs out now and then
			n := openLab(t, c)
			want := make(map[string]Attachment)
			for range 40 {
				id := string(rune('a' + r.IntN(6)))
				before, known := want[id]
				switch r.IntN(10) {
				case 0:
					n.Close()
					n = reopenLab(t, c)
				case 1, 2, 3:
					disconnect(t, n, id)
					delete(want, id)
				default:
					e := Endpoint{ID: id, Mode: []Mode{Bridge, Bridge, Host, None}[r.IntN(4)]}
					if e.Mode != None {
						for range r.IntN(4) {
							p := Port{ContainerPort: uint16(1 + r.IntN(1000)), Protocol: []Protocol{TCP, UDP}[r.IntN(2)]}
							if e.Mode == Bridge {
								p.Count = uint16(r.IntN(4))
							}
							e.Ports = append(e.Ports, p)
						}
					}
					a, err := n.Connect(testContext(t), e)
					switch {
					case err == nil && known && !reflect.DeepEqual(a, before):
						t.Fatalf("%s was %+v and is now %+v", id, before, a)
					case err == nil:
						want[id] = a
					case known || !strings.Contains(err.Error(), "free host port"):
						t.Fatal(err)
					}
				}
				if got, ids := n.Attachments(), slices.Sorted(maps.Keys(want)); !slices.Equal(got, ids) {
					t.Fatalf("attachments %v, want %v", got, ids)
				}
				checkAgrees(t, n)
			}
		})
	}
}

func TestChosenSubnetsAreFree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var taken []netip.Prefix
		for range r.IntN(300) {
			a := subnetBlock.Addr().As4()
			a[1], a[2] = a[1]+byte(r.IntN(32)), byte(r.IntN(256))
			taken = append(taken, netip.PrefixFrom(netip.AddrFrom4(a), 14+r.IntN(19)))
		}
		p, err := chooseSubnet(fmt.Sprint(r.Uint32()), 0, taken)
		if err != nil {
			continue // checked below to be rightly so
		}
		if overlapsAny(p, taken) || !subnetBlock.Overlaps(p) || p != p.Masked() || p.Bits() != subnetBits {
			t.Fatalf("chose %s", p)
		}
	}
	free := netip.MustParsePrefix("10.200.16.0/20")
	var rest []netip.Prefix
	for a := subnetBlock.Addr().As4(); a[1] < 224; a[1]++ {
		for third := 0; third < 256; third += 16 {
			a[2] = byte(third)
			if p := netip.PrefixFrom(netip.AddrFrom4(a), 20); p != free {
				rest = append(rest, p)
			}
		}
	}
	if p, err := chooseSubnet("any", 0, rest); err != nil || p != free {
		t.Errorf("chose %s, %v; only %s is free", p, err, free)
	}
	if p, err := chooseSubnet("any", 0, append(rest, free)); err == nil {
		t.Errorf("chose %s where nothing is free", p)
	}
}

// With br_netfilter on, as a Docker engine turns it on, the rules of a Havn that was killed and whose bridge is gone
// would masquerade the containers of a new bridge that chose the same subnet.
func TestTheTableOfAHavnThatIsGoneIsSweptAndOfOneThatIsHereIsNot(t *testing.T) {
	alive := openLab(t, labConfig(t))
	stale := &firewall{name: fmt.Sprintf("%s%08x", tablePrefix, rand.Uint32()), bridge: "hvn-gone", subnet: subnetBlock,
		wanted: map[hostPort]netip.AddrPort{}}
	if err := stale.rebuild(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stale.remove(); err != nil {
			t.Error(err)
		}
	})
	n := openLab(t, labConfig(t))
	web, other := connect(t, n, Endpoint{ID: "web"}), connect(t, n, Endpoint{ID: "other"})
	serveHTTP(t, web.Netns, "web", 80)
	if got, want := get(t, other.Netns, web.IP, 80), "web saw "+other.IP.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	tables, err := (&nftables.Conn{}).ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		t.Fatal(err)
	}
	here := map[string]bool{}
	for _, table := range tables {
		here[table.Name] = true
	}
	if here[stale.name] || !here[alive.firewall.name] || !here[n.firewall.name] {
		t.Errorf("of the tables there are %v", here)
	}
}
