package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Subnets are of this size and come from this block, which the usual defaults of other software leave alone.
const subnetBits = 20

var subnetBlock = netip.MustParsePrefix("10.192.0.0/11")

// openBridge makes the bridge, or adopts it, and returns its link and subnet. file remembers the subnet. A remembered
// subnet that somebody else uses by now is given up, but not while inUse: the containers have their addresses.
func openBridge(
	h *netlink.Handle, name, file string, inUse bool, log *slog.Logger,
) (*netlink.Bridge, netip.Prefix, error) {
	fail := func(err error) (*netlink.Bridge, netip.Prefix, error) {
		return nil, netip.Prefix{}, fmt.Errorf("cannot open bridge %s: %w", name, err)
	}
	bridge, err := ensureBridge(h, name)
	if err != nil {
		return fail(err)
	}
	subnet, err := readSubnet(file)
	if err != nil {
		return fail(err)
	}
	// Somebody else may take the same subnet between our looking and our taking. So look again after it; whoever sees
	// an overlap then moves on. Starting points differ by name, so this ends at once in practice and within the block
	// at worst.
	for try := 0; ; try++ {
		taken, err := takenPrefixes(h, bridge.Index)
		if err != nil {
			return fail(err)
		}
		switch {
		case subnet.IsValid() && !overlapsAny(subnet, taken):
			if current, err := hasAddress(h, bridge, subnet); err != nil {
				return fail(err)
			} else if current {
				return bridge, subnet, setUp(h, bridge, name)
			}
		case subnet.IsValid() && inUse:
			log.Warn("the containers' subnet is used by somebody else too", "subnet", subnet)
			return bridge, subnet, errors.Join(setAddress(h, bridge, subnet), setUp(h, bridge, name))
		default:
			if subnet, err = chooseSubnet(name, try, taken); err != nil {
				return fail(err)
			}
			if err := writeFile(file, []byte(subnet.String()+"\n")); err != nil {
				return fail(err)
			}
		}
		if try > 1<<(subnetBits-subnetBlock.Bits()) {
			return fail(errors.New("no subnet stays free"))
		}
		if err := setAddress(h, bridge, subnet); err != nil {
			return fail(err)
		}
	}
}

func ensureBridge(h *netlink.Handle, name string) (*netlink.Bridge, error) {
	mtu, err := uplinkMTU(h)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	// A MAC address of its own: else the bridge's would change with the containers that come and go.
	sum := fnv.New32a()
	sum.Write([]byte(name))
	attrs.HardwareAddr = append(net.HardwareAddr{0x02, 0x69}, binary.BigEndian.AppendUint32(nil, sum.Sum32())...)
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, err
	}
	bridge, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, fmt.Errorf("there is a %s of that name", link.Type())
	}
	return bridge, nil
}

// setUp turns the bridge on, with the settings that the package's page explains.
func setUp(h *netlink.Handle, bridge *netlink.Bridge, name string) error {
	for _, s := range []struct{ key, value string }{
		{"net/ipv6/conf/" + name + "/disable_ipv6", "1"},
		{"net/ipv4/conf/" + name + "/route_localnet", "1"},
	} {
		if err := setSysctl(s.key, s.value); err != nil {
			return err
		}
	}
	if err := h.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("cannot set bridge %s up: %w", name, err)
	}
	return nil
}

func gatewayNet(subnet netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: subnet.Addr().Next().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}
}

func hasAddress(h *netlink.Handle, bridge *netlink.Bridge, subnet netip.Prefix) (bool, error) {
	have, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(bridge, netlink.FAMILY_V4) })
	if err != nil {
		return false, err
	}
	return len(have) == 1 && have[0].IPNet.String() == gatewayNet(subnet).String(), nil
}

// setAddress leaves the bridge with the subnet's gateway address and no other.
func setAddress(h *netlink.Handle, bridge *netlink.Bridge, subnet netip.Prefix) error {
	have, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(bridge, netlink.FAMILY_V4) })
	if err != nil {
		return err
	}
	want := gatewayNet(subnet)
	for _, a := range have {
		if a.IPNet.String() != want.String() {
			if err := h.AddrDel(bridge, &a); err != nil {
				return err
			}
		}
	}
	return h.AddrReplace(bridge, &netlink.Addr{IPNet: want})
}

// readSubnet returns the zero Prefix when nothing, or nothing sensible, is remembered.
func readSubnet(file string) (netip.Prefix, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return netip.Prefix{}, nil
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(string(data)))
	if err != nil || !p.Addr().Is4() || p.Bits() != subnetBits {
		return netip.Prefix{}, nil
	}
	return p.Masked(), nil
}

// chooseSubnet returns a subnet of the block that is free of taken. Different names start to look at different places.
func chooseSubnet(name string, try int, taken []netip.Prefix) (netip.Prefix, error) {
	count := uint32(1) << (subnetBits - subnetBlock.Bits())
	sum := fnv.New32a()
	sum.Write([]byte(name))
	block := subnetBlock.Addr().As4()
	for i := range count {
		at := (sum.Sum32() + uint32(try) + i) % count
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(block[:])+at<<(32-subnetBits))
		p := netip.PrefixFrom(netip.AddrFrom4(a), subnetBits)
		if !overlapsAny(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no /%d of %s is free", subnetBits, subnetBlock)
}

func overlapsAny(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if p.Overlaps(t) {
			return true
		}
	}
	return false
}

// takenPrefixes are the addresses and routes of all links but ours, and the nameservers, which are reached by the
// default route and must not be shadowed.
func takenPrefixes(h *netlink.Handle, ours int) ([]netip.Prefix, error) {
	var taken []netip.Prefix
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.LinkIndex != ours {
			taken = append(taken, prefixOf(a.IPNet))
		}
	}
	everyTable := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := dump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_V4, everyTable, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list routes: %w", err)
	}
	for _, r := range routes {
		if r.LinkIndex == ours {
			continue
		}
		if p := prefixOf(r.Dst); r.Dst != nil && p.Bits() > 0 {
			taken = append(taken, p)
		}
		if gw, ok := netip.AddrFromSlice(r.Gw.To4()); ok {
			taken = append(taken, netip.PrefixFrom(gw, 32))
		}
	}
	if conf, err := HostResolvConf(); err == nil {
		for _, a := range nameservers(conf) {
			if a.Is4() {
				taken = append(taken, netip.PrefixFrom(a, 32))
			}
		}
	}
	return taken, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr, bits)
}

// uplinkMTU is the MTU of the link that the default route leads to: what a container sends larger would not get out.
func uplinkMTU(h *netlink.Handle) (int, error) {
	const usual = 1500
	routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return 0, fmt.Errorf("cannot list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && prefixOf(r.Dst).Bits() > 0 {
			continue
		}
		if link, err := h.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU, nil
		}
	}
	return usual, nil
}

// setSysctl writes only what differs, for /proc/sys may be read-only and right.
func setSysctl(key, value string) error {
	path := filepath.Join("/proc/sys", key)
	have, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(have)) == value {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net/ipv6/") {
		return nil // a kernel without IPv6 has none to turn off
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("cannot set %s to %s: %w", strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}
