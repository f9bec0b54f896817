package network

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Fault is something bad that a container asks for its own network, to see how it lives with it. What there is of a
// fault is in the container's namespace alone: it survives this process, and goes with the container. Each has a chain
// of its own in the table havn-fault there:
//
//	chain NAME { type filter hook input|output priority filter
//		ip daddr 169.254.170.2 return       # or saddr: who asked for the fault can ask for its end
//		ip daddr @EXCEPT return             # one rule per prefix
//		ip daddr @SOURCE ... VERDICT }      # likewise
//
// A Blackhole and a Loss drop. A Latency gives packets a class, and a qdisc makes that class wait.
type Fault interface {
	chain() string
	hook() *nftables.ChainHook
	rules() [][]expr.Any
}

// A Blackhole is a port that nothing comes through, or goes out to. Two of them can be at once if they differ in any but
// Except.
type Blackhole struct {
	Port     uint16
	Protocol Protocol
	Ingress  bool           // else egress
	Except   []netip.Prefix // others' addresses that it does not concern
}

// Affected says which of a container's packets a fault concerns: those to Sources, but for Except.
type Affected struct {
	Sources, Except []netip.Prefix // IPv4
	FlowsPercent    int            // 1 to 100: of so many of the connections
}

// A Latency holds packets back. It needs the kernel's sch_prio and sch_netem.
type Latency struct {
	Delay, Jitter time.Duration
	Affected
}

// A Loss drops some of the packets by chance.
type Loss struct {
	Percent int // 1 to 100
	Affected
}

// ErrFaultRunning is what StartFault answers where a fault of the kind is there already.
var ErrFaultRunning = errors.New("there is such a fault already")

// ErrNoOwnNetwork is what is answered for a container whose network is others' too: a fault would hurt them.
var ErrNoOwnNetwork = errors.New("the container has no network of its own")

// StartFault begins a fault in the network namespace of an endpoint.
func (n *Network) StartFault(ctx context.Context, id string, f Fault) error {
	return n.inFaults(ctx, id, "start", func(t *faults) error {
		if there, err := t.running(f); there || err != nil {
			return errors.Join(err, ErrFaultRunning)
		}
		if _, slow := f.(Latency); slow {
			if err := t.delay(f.(Latency)); err != nil {
				return err
			}
		}
		return t.add(f)
	})
}

// StopFault ends a fault. It is no error if there is none.
func (n *Network) StopFault(ctx context.Context, id string, f Fault) error {
	return n.inFaults(ctx, id, "stop", func(t *faults) error {
		if there, err := t.running(f); !there || err != nil {
			return err
		}
		if err := t.remove(f); err != nil {
			return err
		}
		if _, slow := f.(Latency); slow {
			return t.undelay()
		}
		return nil
	})
}

// FaultRunning reports whether there is such a fault.
func (n *Network) FaultRunning(ctx context.Context, id string, f Fault) (running bool, err error) {
	err = n.inFaults(ctx, id, "look at", func(t *faults) (err error) {
		running, err = t.running(f)
		return err
	})
	return running, err
}

func (n *Network) inFaults(ctx context.Context, id, verb string, do func(*faults) error) error {
	done, err := n.claim(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot %s a fault: %w", verb, err)
	}
	defer done()
	path := n.Netns(id)
	if path == "" {
		return fmt.Errorf("cannot %s a fault: %w", verb, ErrNoOwnNetwork)
	}
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot %s a fault: %w", verb, err)
	}
	defer ns.Close()
	if err := do(&faults{ns: int(ns.Fd())}); err != nil {
		return fmt.Errorf("cannot %s a fault: %w", verb, err)
	}
	return nil
}

// faults are those of one network namespace.
type faults struct{ ns int }

func (t *faults) conn() (*nftables.Conn, error) { return nftables.New(nftables.WithNetNSFd(t.ns)) }

var faultTable = &nftables.Table{Name: "havn-fault", Family: nftables.TableFamilyIPv4}

func (t *faults) running(f Fault) (bool, error) {
	c, err := t.conn()
	if err != nil {
		return false, err
	}
	chains, err := c.ListChainsOfTableFamily(faultTable.Family)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(chains, func(ch *nftables.Chain) bool {
		return ch.Table.Name == faultTable.Name && ch.Name == f.chain()
	}), nil
}

// add makes the chain with all its rules at once.
func (t *faults) add(f Fault) error {
	c, err := t.conn()
	if err != nil {
		return err
	}
	c.AddTable(faultTable)
	accept := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{Name: f.chain(), Table: faultTable, Type: nftables.ChainTypeFilter,
		Hooknum: f.hook(), Priority: nftables.ChainPriorityFilter, Policy: &accept})
	other := destination
	if *f.hook() == *nftables.ChainHookInput {
		other = source
	}
	endpoint := append(inPrefix(other, netip.PrefixFrom(MetadataAddress, 32)), verdict(expr.VerdictReturn))
	for _, r := range append([][]expr.Any{endpoint}, f.rules()...) {
		c.AddRule(&nftables.Rule{Table: faultTable, Chain: chain, Exprs: r})
	}
	return c.Flush()
}

func (t *faults) remove(f Fault) error {
	c, err := t.conn()
	if err != nil {
		return err
	}
	c.FlushChain(&nftables.Chain{Name: f.chain(), Table: faultTable})
	c.DelChain(&nftables.Chain{Name: f.chain(), Table: faultTable})
	return c.Flush()
}

// The class of what is held back, and the qdiscs that know it: whatever is not of the class goes as it always did.
const (
	delayMajor = 0x48 // any that the container has not
	delayBand  = 4
)

var delayClass = netlink.MakeHandle(delayMajor, delayBand)

// delay puts the qdiscs on eth0. Those of a start that was interrupted are replaced.
func (t *faults) delay(l Latency) error {
	h, eth0, err := t.eth0()
	if err != nil {
		return err
	}
	defer h.Close()
	prio := netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: eth0, Handle: netlink.MakeHandle(delayMajor, 0), Parent: netlink.HANDLE_ROOT})
	prio.Bands = delayBand // the last is no priority's
	if err := h.QdiscReplace(prio); err != nil {
		return lacking("sch_prio", err)
	}
	netem := netlink.NewNetem(
		netlink.QdiscAttrs{LinkIndex: eth0, Handle: netlink.MakeHandle(delayMajor+1, 0), Parent: delayClass},
		netlink.NetemQdiscAttrs{Latency: microseconds(l.Delay), Jitter: microseconds(l.Jitter)})
	if err := h.QdiscReplace(netem); err != nil {
		return errors.Join(lacking("sch_netem", err), h.QdiscDel(prio))
	}
	return nil
}

func (t *faults) undelay() error {
	h, eth0, err := t.eth0()
	if err != nil {
		return err
	}
	defer h.Close()
	err = h.QdiscDel(netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: eth0, Handle: netlink.MakeHandle(delayMajor, 0), Parent: netlink.HANDLE_ROOT}))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (t *faults) eth0() (*netlink.Handle, int, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(t.ns), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, 0, err
	}
	link, err := h.LinkByName("eth0")
	if err != nil {
		h.Close()
		return nil, 0, fmt.Errorf("cannot find eth0: %w", err)
	}
	return h, link.Attrs().Index, nil
}

// lacking says in plain words what a kernel means that was built without a scheduler.
func lacking(module string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("this machine's kernel has no %s, which delays packets: %w", module, err)
	}
	return err
}

func microseconds(d time.Duration) uint32 { return uint32(min(d.Microseconds(), math.MaxUint32)) }

func (b Blackhole) chain() string {
	direction := "egress"
	if b.Ingress {
		direction = "ingress"
	}
	return fmt.Sprintf("%s-%s-%d", direction, b.Protocol, b.Port)
}

func (b Blackhole) hook() *nftables.ChainHook {
	if b.Ingress {
		return nftables.ChainHookInput
	}
	return nftables.ChainHookOutput
}

func (b Blackhole) rules() (all [][]expr.Any) {
	other := destination
	if b.Ingress {
		other = source
	}
	for _, p := range b.Except {
		all = append(all, append(inPrefix(other, p), verdict(expr.VerdictReturn)))
	}
	return append(all, append(portTo(protocolNumber(b.Protocol), b.Port), verdict(expr.VerdictDrop)))
}

func (Latency) chain() string             { return "latency" }
func (Latency) hook() *nftables.ChainHook { return nftables.ChainHookOutput }
func (l Latency) rules() [][]expr.Any {
	return l.each(
		&expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint32(delayClass)},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: reg})
}

func (Loss) chain() string             { return "packet-loss" }
func (Loss) hook() *nftables.ChainHook { return nftables.ChainHookOutput }
func (l Loss) rules() [][]expr.Any {
	return l.each(slices.Concat(
		[]expr.Any{&expr.Numgen{Register: reg, Modulus: 100, Type: unix.NFT_NG_RANDOM}},
		below(reg, l.Percent), []expr.Any{verdict(expr.VerdictDrop)})...)
}

// each makes rules that do something with the packets that are affected.
func (a Affected) each(do ...expr.Any) (all [][]expr.Any) {
	for _, p := range a.Except {
		all = append(all, append(inPrefix(destination, p), verdict(expr.VerdictReturn)))
	}
	for _, p := range a.Sources {
		all = append(all, slices.Concat(inPrefix(destination, p), a.someFlows(), do))
	}
	return all
}

// someFlows tells connections apart by a hash of their addresses and ports, so that all packets of one fare alike.
func (a Affected) someFlows() []expr.Any {
	if a.FlowsPercent >= 100 {
		return nil
	}
	return append([]expr.Any{
		&expr.Payload{DestRegister: regWord0, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(source), Len: 8},
		&expr.Payload{DestRegister: regWord0 + 2, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4},
		&expr.Hash{SourceRegister: regWord0, DestRegister: regWord0, Length: 12, Modulus: 100, Type: expr.HashTypeJenkins},
	}, below(regWord0, a.FlowsPercent)...)
}

// below goes on if a number of the machine's own order of bytes is less than a limit: the kernel compares the first
// byte first.
func below(register uint32, limit int) []expr.Any {
	return []expr.Any{
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: register, Data: binaryutil.BigEndian.PutUint32(uint32(limit))},
	}
}

func verdict(kind expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: kind} }
