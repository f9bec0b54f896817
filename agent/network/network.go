package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config says which Network to open.
type Config struct {
	// StateDir is this Network's own folder. Namespaces are mounted in it.
	StateDir string
	// Name is short and unique on the machine: 1 to 8 of a-z and 0-9. Names in the kernel derive from it.
	Name string
	// PortRange is where dynamic host ports come from, both ends included. The zero value means 49153 to 65535.
	PortRange [2]uint16
	Log       *slog.Logger // nil means slog.Default
}

// A Network is one Havn's part of the machine's network. All methods may be called at the same time.
type Network struct {
	log      *slog.Logger
	dir      string
	lock     *os.File // held while open: two processes on one folder would give out the same addresses
	host     *netlink.Handle
	bridge   *netlink.Bridge
	slots    *slots
	records  records
	held     *held
	firewall *firewall

	mu        sync.Mutex
	closed    bool
	endpoints map[string]record
	used      map[int]bool             // slots in use, by an endpoint or on their way to or from one
	next      int                      // where the search for a slot goes on; a freed address stays out of use for a while
	busy      map[string]chan struct{} // IDs being worked on; closed when done
}

// Open makes the Network, or adopts what an earlier process left of it: all recorded endpoints work as before, their ports
// are held again, and what no record speaks for is removed.
func Open(ctx context.Context, c Config) (*Network, error) {
	n, err := open(ctx, c, func(string) {})
	if err != nil {
		return nil, fmt.Errorf("cannot open network %q: %w", c.Name, err)
	}
	return n, nil
}

func open(ctx context.Context, c Config, reached func(step string)) (_ *Network, err error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	n := &Network{
		log: c.Log, dir: c.StateDir,
		records: records{filepath.Join(c.StateDir, "endpoints")},
		held:    &held{low: c.PortRange[0], high: c.PortRange[1], sockets: make(map[hostPort]int)},
		used:    make(map[int]bool),
		next:    firstSlot,
		busy:    make(map[string]chan struct{}),
	}
	n.held.next = n.held.low + uint16(hash(c.Name)%(uint32(n.held.high-n.held.low)+1)) // two Havns seldom try the same port
	n.slots = &slots{dir: filepath.Join(c.StateDir, "netns"), prefix: "v" + c.Name + "-", hostNS: -1, reached: reached}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for _, dir := range []string{n.records.dir, n.slots.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if n.lock, err = lockFile(filepath.Join(c.StateDir, "lock")); err != nil {
		return nil, err
	}
	if n.endpoints, err = n.records.read(c.Log); err != nil {
		return nil, err
	}
	for _, rec := range n.endpoints {
		n.used[rec.Slot] = true
	}
	if n.host, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	if n.slots.hostNS, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("cannot open the host's network namespace: %w", err)
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	inUse := slices.ContainsFunc(slices.Collect(maps.Values(n.endpoints)), func(r record) bool { return r.Slot != 0 })
	bridge, subnet, err := openBridge(n.host, "hvn-"+c.Name, filepath.Join(c.StateDir, "subnet"), inUse, c.Log)
	if err != nil {
		return nil, err
	}
	n.bridge = bridge
	n.slots.host, n.slots.subnet, n.slots.bridge, n.slots.mtu = n.host, subnet, bridge.Index, bridge.MTU
	n.firewall = &firewall{name: "havn-" + c.Name, bridge: bridge.Name, subnet: subnet, wanted: make(map[hostPort]netip.AddrPort)}
	return n, n.adopt(ctx)
}

func (c *Config) complete() error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.PortRange == [2]uint16{} {
		c.PortRange = [2]uint16{49153, 65535}
	}
	if c.PortRange[0] == 0 || c.PortRange[0] > c.PortRange[1] {
		return fmt.Errorf("port range %d-%d is empty", c.PortRange[0], c.PortRange[1])
	}
	if len(c.Name) < 1 || len(c.Name) > 8 {
		return errors.New("the name must have 1 to 8 letters") // hvn-NAME and vNAME-SLOT must fit into 15
	}
	for _, r := range c.Name {
		if !('a' <= r && r <= 'z' || '0' <= r && r <= '9') {
			return errors.New("the name must be of a-z and 0-9")
		}
	}
	dir, err := filepath.Abs(c.StateDir)
	c.StateDir = dir
	return err
}

func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process has %s: %w", path, err)
	}
	return f, nil
}

// adopt makes kernel and sockets agree with the records.
func (n *Network) adopt(ctx context.Context) error {
	existing, err := n.slots.existing()
	if err != nil {
		return err
	}
	for slot := range existing {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !n.used[slot] {
			if err := n.slots.remove(slot); err != nil {
				return err
			}
		}
	}
	for _, rec := range n.endpoints {
		if rec.Mode != Bridge {
			continue
		}
		maps.Copy(n.firewall.wanted, elementsOf(n.slots.address(rec.Slot), rec.Bindings))
		for _, b := range rec.Bindings {
			if err := n.held.take([]Binding{b}); err != nil {
				// Taken while no Havn was there to hold it. The firewall goes on leading it to the container.
				n.log.Warn("cannot hold a published port again", "endpoint", rec.ID, "error", err)
			}
		}
	}
	return n.firewall.rebuild()
}

// Connect connects the endpoint. If one of that ID is connected already, by this process or an earlier one, Connect
// repairs what is missing of it and returns the same attachment; what else is asked for is then not looked at.
func (n *Network) Connect(ctx context.Context, e Endpoint) (Attachment, error) {
	a, err := n.connect(ctx, e)
	if err != nil {
		return Attachment{}, fmt.Errorf("cannot connect %s: %w", e.ID, err)
	}
	return a, nil
}

func (n *Network) connect(ctx context.Context, e Endpoint) (Attachment, error) {
	if err := e.check(); err != nil {
		return Attachment{}, err
	}
	done, err := n.claim(ctx, e.ID)
	if err != nil {
		return Attachment{}, err
	}
	defer done()
	n.mu.Lock()
	rec, known := n.endpoints[e.ID]
	n.mu.Unlock()
	if known {
		return n.attachment(rec), n.repair(rec)
	}
	rec = record{Version: recordVersion, ID: e.ID, Mode: e.Mode}
	for _, p := range e.Ports {
		rec.Bindings = append(rec.Bindings, p.binding())
	}
	if err := n.build(&rec); err != nil {
		return Attachment{}, err
	}
	n.slots.reached("built")
	if err := n.records.write(rec); err != nil {
		return Attachment{}, errors.Join(err, n.records.remove(rec.ID), n.unbuild(rec))
	}
	n.slots.reached("recorded")
	n.mu.Lock()
	n.endpoints[rec.ID] = rec
	n.mu.Unlock()
	if rec.Mode == Bridge {
		if err := n.firewall.publish(n.slots.address(rec.Slot), rec.Bindings); err != nil {
			return Attachment{}, errors.Join(err, n.demolish(rec))
		}
	}
	n.slots.reached("published")
	return n.attachment(rec), nil
}

// build gets everything that the record will speak for, or nothing.
func (n *Network) build(rec *record) (err error) {
	if rec.Mode == Host {
		for i := range rec.Bindings {
			rec.Bindings[i].HostPort = rec.Bindings[i].ContainerPort
		}
		return nil
	}
	if err := n.held.take(rec.Bindings); err != nil {
		return err
	}
	n.slots.reached("held")
	if rec.Slot, err = n.allocate(); err == nil {
		err = n.slots.make(rec.Slot, rec.Mode)
	}
	if err != nil {
		return errors.Join(err, n.unbuild(*rec))
	}
	return nil
}

// unbuild gives back what build got.
func (n *Network) unbuild(rec record) error {
	if rec.Slot != 0 {
		if err := n.slots.remove(rec.Slot); err != nil {
			return err // the slot stays in use: there is something in it
		}
		n.mu.Lock()
		delete(n.used, rec.Slot)
		n.mu.Unlock()
	}
	if rec.Mode == Bridge {
		n.held.release(rec.Bindings)
	}
	return nil
}

// repair makes a recorded endpoint whole again, as after a reboot of the machine.
func (n *Network) repair(rec record) error {
	if rec.Slot == 0 || n.slots.whole(rec.Slot, rec.Mode) {
		return nil
	}
	if err := n.slots.remove(rec.Slot); err != nil {
		return err
	}
	return n.slots.make(rec.Slot, rec.Mode)
}

func (n *Network) attachment(rec record) Attachment {
	a := Attachment{Bindings: slices.Clone(rec.Bindings)}
	if rec.Slot != 0 {
		a.Netns = n.slots.netns(rec.Slot)
	}
	if rec.Mode == Bridge {
		a.IP, a.Gateway, a.PrefixBits = n.slots.address(rec.Slot), n.slots.gateway(), n.slots.subnet.Bits()
	}
	return a
}

// Disconnect removes the endpoint and all that it had. It is no error if there is none.
func (n *Network) Disconnect(ctx context.Context, id string) error {
	if !validID(id) {
		return nil // Connect never took it
	}
	done, err := n.claim(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot disconnect %s: %w", id, err)
	}
	defer done()
	n.mu.Lock()
	rec, known := n.endpoints[id]
	n.mu.Unlock()
	if !known {
		return nil
	}
	if err := n.demolish(rec); err != nil {
		return fmt.Errorf("cannot disconnect %s: %w", id, err)
	}
	return nil
}

// demolish takes an endpoint away; after an error it is still recorded and can be taken away again.
func (n *Network) demolish(rec record) error {
	if rec.Mode == Bridge {
		if err := n.firewall.unpublish(rec.Bindings); err != nil {
			return err
		}
		n.forgetFlows(rec)
	}
	n.slots.reached("unpublished")
	if rec.Slot != 0 {
		if err := n.slots.remove(rec.Slot); err != nil {
			return err
		}
	}
	n.slots.reached("removed")
	if err := n.records.remove(rec.ID); err != nil {
		return err
	}
	n.slots.reached("forgotten")
	n.mu.Lock()
	delete(n.endpoints, rec.ID)
	delete(n.used, rec.Slot)
	n.mu.Unlock()
	if rec.Mode == Bridge {
		n.held.release(rec.Bindings)
	}
	return nil
}

// forgetFlows makes the kernel forget UDP flows to the container: they have no end of their own, and would go on being led to
// its address after the port has found a new owner.
func (n *Network) forgetFlows(rec record) {
	if !slices.ContainsFunc(rec.Bindings, func(b Binding) bool { return b.Protocol == UDP }) {
		return
	}
	var f netlink.ConntrackFilter
	err := errors.Join(f.AddProtocol(unix.IPPROTO_UDP), f.AddIP(netlink.ConntrackReplySrcIP, n.slots.address(rec.Slot).AsSlice()))
	if err == nil {
		_, err = n.host.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, &f)
	}
	if err != nil {
		n.log.Warn("cannot forget UDP flows", "endpoint", rec.ID, "error", err)
	}
}

// Attachments returns the IDs of all connected endpoints, sorted.
func (n *Network) Attachments() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.endpoints))
}

// Subnet is where the addresses of this Network's containers come from.
func (n *Network) Subnet() netip.Prefix { return n.slots.subnet }

// claim waits until nobody works on the endpoint and keeps others from it until done is called.
func (n *Network) claim(ctx context.Context, id string) (done func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return nil, ErrClosed
		}
		other, busy := n.busy[id]
		if !busy {
			mine := make(chan struct{})
			n.busy[id] = mine
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				delete(n.busy, id)
				n.mu.Unlock()
				close(mine)
			}, nil
		}
		n.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// allocate finds a free slot.
func (n *Network) allocate() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	size := n.slots.last() - firstSlot + 1
	for range size {
		slot := n.next
		n.next++
		if n.next > n.slots.last() {
			n.next = firstSlot
		}
		if !n.used[slot] {
			n.used[slot] = true
			return slot, nil
		}
	}
	return 0, fmt.Errorf("no address of %s is free", n.slots.subnet)
}

// Close waits for what is under way and releases the held ports. Containers keep their network.
func (n *Network) Close() error {
	if !n.shut() {
		return nil
	}
	n.release()
	return nil
}

// Destroy disconnects everything and removes all that the Network has on this machine, its folder's content included.
func (n *Network) Destroy(ctx context.Context) error {
	if !n.shut() {
		return fmt.Errorf("cannot destroy the network: %w", ErrClosed)
	}
	defer n.release()
	if err := n.destroy(ctx); err != nil {
		return fmt.Errorf("cannot destroy the network: %w", err)
	}
	return nil
}

func (n *Network) destroy(ctx context.Context) error {
	for _, rec := range n.endpoints {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.demolish(rec); err != nil {
			return err
		}
	}
	if err := n.firewall.remove(); err != nil {
		return err
	}
	if err := n.host.LinkDel(n.bridge); err != nil && !noLink(err) {
		return fmt.Errorf("cannot delete bridge %s: %w", n.bridge.Name, err)
	}
	for _, name := range []string{"endpoints", "netns", "subnet", "lock"} {
		// Not RemoveAll: what is unexpectedly still mounted or recorded must not go unnoticed.
		if err := os.Remove(filepath.Join(n.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// shut lets nothing new begin and waits for what is under way. It returns false if that was done before.
func (n *Network) shut() bool {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return false
	}
	n.closed = true
	working := slices.Collect(maps.Values(n.busy))
	n.mu.Unlock()
	for _, done := range working {
		<-done
	}
	return true
}

func (n *Network) release() {
	n.held.releaseAll()
	if n.host != nil {
		n.host.Close()
	}
	if n.slots.hostNS >= 0 {
		unix.Close(n.slots.hostNS)
	}
	if n.lock != nil {
		n.lock.Close()
	}
}
