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
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
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
	next      int                      // where the search for a slot goes on; a freed address rests for a while
	busy      map[string]chan struct{} // IDs being worked on; closed when done
}

// Open makes the Network, or adopts what an earlier process left of it: all recorded endpoints work as before, their
// ports are held again, and what no record speaks for is removed.
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
	// Two Havns seldom try the same port.
	n.held.next = n.held.low + uint16(hash(c.Name)%(uint32(n.held.high-n.held.low)+1))
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
	if n.lock, err = lockFile(ctx, filepath.Join(c.StateDir, "lock")); err != nil {
		return nil, err
	}
	if n.endpoints, err = n.records.read(c.Log); err != nil {
		return nil, err
	}
	for _, rec := range n.endpoints {
		n.used[rec.Slot] = true
	}
	n.host = &netlink.Handle{}
	if n.slots.hostNS, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("cannot open the host's network namespace: %w", err)
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	if err := sweepTables(n.host); err != nil {
		return nil, err
	}
	inUse := slices.ContainsFunc(slices.Collect(maps.Values(n.endpoints)), func(r record) bool { return r.Slot != 0 })
	bridge, subnet, err := openBridge(n.host, bridgePrefix+c.Name, filepath.Join(c.StateDir, "subnet"), inUse, c.Log)
	if err != nil {
		return nil, err
	}
	n.bridge = bridge
	n.slots.host, n.slots.subnet, n.slots.bridge, n.slots.mtu = n.host, subnet, bridge.Index, bridge.MTU
	n.slots.doomed = &doomed{host: n.host, group: hash("doomed "+c.Name) | 1<<31}
	if err := n.routeMetadata(); err != nil {
		return nil, err
	}
	n.firewall = &firewall{name: tablePrefix + c.Name, bridge: bridge.Name, subnet: subnet,
		wanted: make(map[hostPort]netip.AddrPort)}
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

// lockPatience is how long a lock is waited for. The process that had it may have been killed while it started a
// program: until that has begun, it has a copy.
const lockPatience = time.Second

func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	again := time.NewTicker(lockPatience / 100)
	defer again.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			select {
			case <-again.C:
				continue
			case <-ctx.Done():
			}
		}
		f.Close()
		return nil, fmt.Errorf("another process has %s: %w", path, err)
	}
}

// adopt makes kernel and sockets agree with the records.
func (n *Network) adopt(ctx context.Context) error {
	existing, err := n.slots.existing()
	if err != nil {
		return err
	}
	maps.DeleteFunc(existing, func(slot int, _ bool) bool { return n.used[slot] })
	if err := atOnce(ctx, slices.Collect(maps.Keys(existing)), n.slots.remove); err != nil {
		return err
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
	if err := n.firewall.letThrough(); err != nil {
		// Others' tables may hold what this library cannot read. Where they drop nothing, all works nevertheless.
		n.log.Warn("cannot look after other chains", "error", err)
	}
	return n.firewall.rebuild()
}

// Subnet is where the addresses of this Network's containers come from.
func (n *Network) Subnet() netip.Prefix { return n.slots.subnet }

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
	if err := atOnce(ctx, slices.Collect(maps.Values(n.endpoints)), n.demolish); err != nil {
		return err
	}
	if err := n.firewall.takeBack(); err != nil {
		n.log.Warn("cannot look after other chains", "error", err)
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

// atOnce calls f for all of them, some at the same time, and returns the first error.
func atOnce[T any](ctx context.Context, all []T, f func(T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for _, one := range all {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(one)
		})
	}
	return g.Wait()
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
	if n.slots.hostNS >= 0 {
		unix.Close(n.slots.hostNS)
	}
	if n.lock != nil {
		n.lock.Close()
	}
}
