package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MetadataAddress is where a container asks about itself, on port 80, whatever its network is. Amazon ECS developer
// guide, "Task metadata endpoint".
var MetadataAddress = netip.MustParseAddr("169.254.170.2")

// MetadataPort is the TCP port of the machine that the question is led to. It is one that only root can take, and no
// task may have it.
const MetadataPort = 169

var loopbackAddress = netip.MustParseAddr("127.0.0.1")

// ListenMetadata returns where questions to MetadataAddress arrive: those of this Network's bridge, with the
// container's own address as their source, and those of the host's network.
//
// The bridge's listener is at the gateway's address, which is ours alone, and the firewall lets nobody else there. The
// host's is at 127.0.0.1, for one Havn of the machine; see hostDoor.
func (n *Network) ListenMetadata(ctx context.Context) (bridge, host net.Listener, err error) {
	if bridge, err = listenMetadata(ctx, n.slots.gateway()); err != nil {
		return nil, nil, err
	}
	if host, err = openHostDoor(ctx, loopbackAddress, n.log); err != nil {
		bridge.Close()
		return nil, nil, err
	}
	return bridge, host, nil
}

// listenMetadata takes the port for itself alone. With SO_REUSEPORT it would be shared with every other process of root
// that asks to, and so with a container on the host's network, which would hear what other containers ask.
func listenMetadata(ctx context.Context, at netip.Addr) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", netip.AddrPortFrom(at, MetadataPort).String())
	if err != nil {
		return nil, fmt.Errorf("cannot listen for containers that ask about themselves: %w", err)
	}
	return l, nil
}

// Addresses returns the bridge's addresses of those endpoints that have one.
func (n *Network) Addresses(ids ...string) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []netip.Addr
	for _, id := range ids {
		if rec, ok := n.endpoints[id]; ok && rec.Mode == Bridge {
			all = append(all, n.slots.address(rec.Slot))
		}
	}
	return all
}

// Netns returns the path of an endpoint's network namespace; nothing if it has none of its own.
func (n *Network) Netns(id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rec, ok := n.endpoints[id]; ok && rec.Slot != 0 {
		return n.slots.netns(rec.Slot)
	}
	return ""
}

// routeMetadata lets the host find a way to MetadataAddress, for the firewall to bend, on a machine that has no default
// route. Each Havn has a route of its own, which its bridge takes along when it goes: they differ in their metric.
func (n *Network) routeMetadata() error {
	err := n.host.RouteReplace(&netlink.Route{
		LinkIndex: n.bridge.Index, Scope: netlink.SCOPE_LINK, Priority: int(hash(n.bridge.Name)>>1 | 1),
		Dst: &net.IPNet{IP: MetadataAddress.AsSlice(), Mask: net.CIDRMask(32, 32)},
	})
	if err != nil {
		return fmt.Errorf("cannot add a route to %s: %w", MetadataAddress, err)
	}
	return nil
}

// toMetadata leads a question to the listener at an address.
func toMetadata(at netip.Addr) []expr.Any {
	return slices.Concat(inPrefix(destination, netip.PrefixFrom(MetadataAddress, 32)), tcpTo(80), []expr.Any{
		&expr.Immediate{Register: regWord0, Data: at.AsSlice()},
		&expr.Immediate{Register: regWord1, Data: binaryutil.BigEndian.PutUint16(MetadataPort)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: regWord0, RegProtoMin: regWord1,
			Specified: true},
	})
}

func tcpTo(port uint16) []expr.Any { return portTo(unix.IPPROTO_TCP, port) }

func portTo(protocol byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{protocol}},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}
