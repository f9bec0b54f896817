package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewall is this Havn's nftables table. As nft prints it, for a bridge BR with subnet SUBNET:
//
//	table ip havn-NAME {
//		map ports { type inet_proto . inet_service : ipv4_addr . inet_service }
//		chain guard   { type filter hook prerouting priority raw
//			iifname BR ip daddr 127.0.0.0/8 drop }                        # route_localnet is for the host only
//		chain inbound { type nat hook prerouting priority dstnat
//			iifname BR ip daddr 169.254.170.2 tcp dport 80 dnat to GATEWAY:169    # what a container asks about itself
//			fib daddr type local dnat ip to meta l4proto . th dport map @ports }   # from outside, and from containers
//		chain local   { type nat hook output priority -100
//			ip daddr 169.254.170.2 tcp dport 80 dnat to 127.0.0.1:169             # the same, on the host's network
//			fib daddr type local dnat ip to meta l4proto . th dport map @ports }   # from the host itself
//		chain source  { type nat hook postrouting priority srcnat
//			ip saddr SUBNET oifname != BR masquerade                      # containers to the outside
//			ip saddr SUBNET oifname BR ct status dnat masquerade          # container by host port: answers must pass us
//			ip saddr 127.0.0.0/8 oifname BR masquerade }                  # the host by 127.0.0.1: answers find back
//		chain forward { type filter hook forward priority filter
//			oifname BR iifname != BR ct direction original ct status ! dnat drop } # no way in but by a binding
//		chain input   { type filter hook input priority filter
//			iifname != BR ip daddr GATEWAY tcp dport 169 drop }           # nobody else asks for a container
//	}
//
// A binding is one element of the map per port, so rules do not grow with containers. The wanted content of the map is
// kept here: should the table not be as expected (somebody flushed all rules), it is made anew, whole, in one
// transaction.
type firewall struct {
	name   string // of the table
	bridge string
	subnet netip.Prefix

	mu     sync.Mutex
	wanted map[hostPort]netip.AddrPort
}

var (
	ipAddr      = nftables.TypeIPAddr
	portKeyType = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	portValType = nftables.MustConcatSetType(ipAddr, nftables.TypeInetService)
)

// elementsPerMessage keeps a message well under netlink's limit of 64 KiB per attribute.
const elementsPerMessage = 500

// publish leads the bindings' host ports to the container at ip.
func (f *firewall) publish(ip netip.Addr, bindings []Binding) error {
	if len(bindings) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	change := elementsOf(ip, bindings)
	maps.Copy(f.wanted, change)
	c := &nftables.Conn{}
	addElements(c, f.ports(), change)
	if err := c.Flush(); err != nil {
		if err := f.rebuildLocked(); err != nil {
			return fmt.Errorf("cannot publish ports: %w", err)
		}
	}
	return nil
}

// unpublish takes the bindings back.
func (f *firewall) unpublish(bindings []Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	change := make(map[hostPort]netip.AddrPort)
	for key := range elementsOf(netip.IPv4Unspecified(), bindings) {
		if to, ok := f.wanted[key]; ok {
			change[key] = to
			delete(f.wanted, key)
		}
	}
	if len(change) == 0 {
		return nil
	}
	c := &nftables.Conn{}
	for chunk := range slices.Chunk(setElements(change), elementsPerMessage) {
		if err := c.SetDeleteElements(f.ports(), chunk); err != nil {
			return fmt.Errorf("cannot unpublish ports: %w", err)
		}
	}
	if err := c.Flush(); err != nil {
		if err := f.rebuildLocked(); err != nil {
			return fmt.Errorf("cannot unpublish ports: %w", err)
		}
	}
	return nil
}

// rebuild makes the kernel's table what it should be. Packets see the old table or the new one, never none.
func (f *firewall) rebuild() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rebuildLocked()
}

func (f *firewall) rebuildLocked() error {
	c := &nftables.Conn{}
	t := f.table()
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	ports := f.ports()
	if err := c.AddSet(ports, nil); err != nil {
		return fmt.Errorf("cannot describe the map of ports: %w", err)
	}
	addElements(c, ports, f.wanted)

	accept := nftables.ChainPolicyAccept
	chain := func(
		name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority, rules ...[]expr.Any,
	) {
		ch := c.AddChain(&nftables.Chain{
			Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority, Policy: &accept,
		})
		for _, r := range rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: r})
		}
	}
	loopback, gateway := netip.MustParsePrefix("127.0.0.0/8"), f.subnet.Addr().Next()
	drop := []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	masquerade := []expr.Any{&expr.Masq{}}
	in, out := func(op expr.CmpOp) []expr.Any { return iface(expr.MetaKeyIIFNAME, op, f.bridge) },
		func(op expr.CmpOp) []expr.Any { return iface(expr.MetaKeyOIFNAME, op, f.bridge) }

	chain("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw,
		slices.Concat(in(expr.CmpOpEq), inPrefix(destination, loopback), drop))
	chain("inbound", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest,
		slices.Concat(in(expr.CmpOpEq), toMetadata(gateway)),
		toContainer(ports))
	chain("local", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest,
		toMetadata(loopbackAddress),
		toContainer(ports))
	chain("source", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource,
		slices.Concat(inPrefix(source, f.subnet), out(expr.CmpOpNeq), masquerade),
		slices.Concat(inPrefix(source, f.subnet), out(expr.CmpOpEq), dnatted(expr.CmpOpNeq), masquerade),
		slices.Concat(inPrefix(source, loopback), out(expr.CmpOpEq), masquerade))
	chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter,
		slices.Concat(out(expr.CmpOpEq), in(expr.CmpOpNeq), original(), dnatted(expr.CmpOpEq), drop))
	chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter,
		slices.Concat(in(expr.CmpOpNeq), inPrefix(destination, netip.PrefixFrom(gateway, 32)), tcpTo(MetadataPort), drop))
	if err := c.Flush(); err != nil {
		return fmt.Errorf("cannot write nftables table %s: %w", f.name, err)
	}
	return nil
}

// remove deletes the table.
func (f *firewall) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &nftables.Conn{}
	c.DelTable(f.table())
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot delete nftables table %s: %w", f.name, err)
	}
	return nil
}

func (f *firewall) table() *nftables.Table {
	return &nftables.Table{Name: f.name, Family: nftables.TableFamilyIPv4}
}

func (f *firewall) ports() *nftables.Set {
	return &nftables.Set{
		Table: f.table(), Name: "ports", ID: 1, // the only one of its transaction
		IsMap: true, Concatenation: true, KeyType: portKeyType, DataType: portValType,
		KeyByteOrder: binaryutil.BigEndian,
	}
}

func elementsOf(ip netip.Addr, bindings []Binding) map[hostPort]netip.AddrPort {
	all := make(map[hostPort]netip.AddrPort)
	for _, b := range bindings {
		for i := range b.Count {
			all[hostPort{b.Protocol, b.HostPort + i}] = netip.AddrPortFrom(ip, b.ContainerPort+i)
		}
	}
	return all
}

func addElements(c *nftables.Conn, ports *nftables.Set, change map[hostPort]netip.AddrPort) {
	for chunk := range slices.Chunk(setElements(change), elementsPerMessage) {
		// The only errors are of anonymous sets and of comments, which there are none of.
		_ = c.SetAddElements(ports, chunk)
	}
}

// setElements writes keys and values as the kernel's concatenations: each part padded to four bytes.
func setElements(change map[hostPort]netip.AddrPort) []nftables.SetElement {
	var elements []nftables.SetElement
	for key, to := range change {
		k := []byte{protocolNumber(key.protocol), 0, 0, 0}
		k = append(append(k, binaryutil.BigEndian.PutUint16(key.port)...), 0, 0)
		v := to.Addr().AsSlice()
		v = append(append(v, binaryutil.BigEndian.PutUint16(to.Port())...), 0, 0)
		elements = append(elements, nftables.SetElement{Key: k, Val: v})
	}
	return elements
}

func protocolNumber(p Protocol) byte {
	if p == UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// What follows are the phrases of the rules above. Register 1 is sixteen bytes, 8 to 11 are its four words.
const (
	reg      = 1
	regWord0 = 8
	regWord1 = 9
)

type side uint32 // offset of an address in the IPv4 header

const (
	source      side = 12
	destination side = 16
)

func iface(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: padded}}
}

func inPrefix(s side, p netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(s), Len: 4},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: p.Masked().Addr().AsSlice()},
	}
}

// dnatted compares the connection's destination-NAT bit with 0.
func dnatted(op expr.CmpOp) []expr.Any {
	const statusDNAT = 1 << 5 // IPS_DST_NAT
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg, Data: make([]byte, 4)},
	}
}

// original is the direction of who opened the connection.
func original() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{0}},
	}
}

func toContainer(ports *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regWord0},
		&expr.Payload{DestRegister: regWord1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: regWord0, DestRegister: regWord0, IsDestRegSet: true,
			SetName: ports.Name, SetID: ports.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: regWord0,
			RegProtoMin: regWord1, Specified: true},
	}
}
