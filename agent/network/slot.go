package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// slots makes and removes what stands for a slot in the kernel: a namespace mounted on a file, and a veth pair from it
// into the bridge. Different slots may be worked on at the same time.
type slots struct {
	dir    string // the namespaces' files, named by slot
	prefix string // of the veths' names on the host, followed by the slot in hex
	subnet netip.Prefix
	bridge int // index of the link
	mtu    int
	host   *netlink.Handle // one without a socket of its own, so that nobody waits behind another's request
	hostNS int             // the host's namespace itself
	doomed *doomed
	// reached is called after each step; a test dies there.
	reached func(step string)
}

// The first slot's address follows the network's own (0) and the gateway's (1).
const firstSlot = 2

// last is the slot before the broadcast address.
func (s *slots) last() int { return 1<<(32-s.subnet.Bits()) - 2 }

func (s *slots) gateway() netip.Addr { return s.address(1) }

func (s *slots) address(slot int) netip.Addr {
	base := s.subnet.Masked().Addr().As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])+uint32(slot))
	return netip.AddrFrom4(a)
}

// mac follows from the address, so that a neighbour's cache is right even when an address comes back soon.
func mac(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x68, b[0], b[1], b[2], b[3]} // 02: locally administered
}

func (s *slots) netns(slot int) string { return filepath.Join(s.dir, strconv.Itoa(slot)) }
func (s *slots) veth(slot int) string  { return s.prefix + strconv.FormatInt(int64(slot), 16) }

// make builds the slot from nothing. After an error, remove clears what there is of it.
func (s *slots) make(slot int, mode Mode) error {
	path := s.netns(slot)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the file of a network namespace: %w", err)
	}
	f.Close()
	s.reached("file")
	done := make(chan error)
	var inside *netlink.Handle
	go func() {
		done <- s.inNewNamespace(func() (err error) {
			inside, err = s.found(path, mode)
			return err
		})
	}()
	err = <-done
	if inside != nil {
		defer inside.Close()
	}
	if err != nil || mode == None {
		return err
	}
	return s.furnish(inside, slot)
}

// inNewNamespace runs f on a thread that is in a new network namespace. A thread that cannot be brought back is never
// given to another goroutine: it stays locked and dies with this one, which therefore must be a goroutine of its own.
func (s *slots) inNewNamespace(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot make a network namespace: %w", err)
	}
	err := f()
	if back := unix.Setns(s.hostNS, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("cannot leave a network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// found does what must be done inside the new namespace, and returns a socket that stays there.
func (s *slots) found(path string, mode Mode) (*netlink.Handle, error) {
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("cannot mount a network namespace on %s: %w", path, err)
	}
	s.reached("netns")
	// No IPv6 but on lo: nobody assigns addresses, and a neighbour's router advertisements are not to be believed.
	if mode == Bridge {
		if err := setSysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil {
			return nil, err
		}
	}
	inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open netlink in a network namespace: %w", err)
	}
	lo := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}} // lo is always the first
	if err := inside.LinkSetUp(lo); err != nil {
		return inside, fmt.Errorf("cannot set lo up: %w", err)
	}
	return inside, nil
}

// furnish connects the namespace to the bridge.
func (s *slots) furnish(inside *netlink.Handle, slot int) error {
	if err := s.addVeth(s.netns(slot), slot); err != nil {
		return err
	}
	s.reached("veth")
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("cannot find eth0: %w", err)
	}
	address := &net.IPNet{IP: s.address(slot).AsSlice(), Mask: net.CIDRMask(s.subnet.Bits(), 32)}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: address}); err != nil {
		return fmt.Errorf("cannot add address %s: %w", address, err)
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("cannot set eth0 up: %w", err)
	}
	s.reached("address")
	if err := inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: s.gateway().AsSlice()}); err != nil {
		return fmt.Errorf("cannot add the default route: %w", err)
	}
	s.reached("route")
	return s.settle(slot)
}

// settle makes the bridge forward for the new port now. The kernel notices that both ends are up in a queue of work
// that may have to wait; a packet before that is lost and sent again a whole second later. But it catches up with a
// link that somebody asks for by netlink (from Linux 6.9 on; before, the queue decides).
func (s *slots) settle(slot int) error {
	for _, f := range []func() (netlink.Link, error){
		func() (netlink.Link, error) { return s.host.LinkByName(s.veth(slot)) },
		func() (netlink.Link, error) { return s.host.LinkByIndex(s.bridge) }, // its carrier comes with its first port's
	} {
		if _, err := f(); err != nil {
			return fmt.Errorf("cannot look at a link: %w", err)
		}
	}
	return nil
}

func (s *slots) addVeth(netns string, slot int) error {
	ns, err := os.Open(netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex, attrs.Flags = s.veth(slot), s.mtu, s.bridge, net.FlagUp
	veth := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         "eth0",
		PeerMTU:          uint32(s.mtu),
		PeerHardwareAddr: mac(s.address(slot)),
		PeerNamespace:    netlink.NsFd(ns.Fd()),
		PeerTxQLen:       -1,
	}
	if err := s.host.LinkAdd(veth); err != nil {
		return fmt.Errorf("cannot add veth %s: %w", attrs.Name, err)
	}
	// Where bridges call iptables, a container's packet to its own binding is turned round inside the bridge.
	if err := s.host.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("cannot let veth %s send back: %w", attrs.Name, err)
	}
	return nil
}

// whole says whether the slot's kernel objects are still there; a reboot takes them all.
func (s *slots) whole(slot int, mode Mode) bool {
	var fsType unix.Statfs_t
	if unix.Statfs(s.netns(slot), &fsType) != nil || fsType.Type != unix.NSFS_MAGIC {
		return false
	}
	if mode == None {
		return true
	}
	link, err := s.host.LinkByName(s.veth(slot))
	return err == nil && link.Attrs().MasterIndex == s.bridge
}

// remove takes away whatever there is of the slot.
func (s *slots) remove(slot int) error {
	// The link goes first and by name: the namespace takes its end of the pair along only when the last process has
	// left it.
	if err := s.doomed.delete(s.veth(slot)); err != nil {
		return err
	}
	s.reached("veth gone")
	path := s.netns(slot)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not, or no longer, a mount
		}
		if err != nil {
			return fmt.Errorf("cannot unmount network namespace %s: %w", path, err)
		}
	}
	s.reached("unmounted")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove network namespace %s: %w", path, err)
	}
	return nil
}

// existing lists the slots of which something is there, by looking at the kernel and the folder.
func (s *slots) existing() (map[int]bool, error) {
	found := make(map[int]bool)
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if slot, err := strconv.Atoi(e.Name()); err == nil {
			found[slot] = true
		}
	}
	links, err := dump(s.host.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list links: %w", err)
	}
	for _, l := range links {
		if hex, ok := strings.CutPrefix(l.Attrs().Name, s.prefix); ok {
			if slot, err := strconv.ParseInt(hex, 16, 32); err == nil {
				found[int(slot)] = true
			}
		}
	}
	return found, nil
}

func noLink(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}
