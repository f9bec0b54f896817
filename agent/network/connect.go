package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

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
		n.forgetFlows(rec)
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
		n.blame(err)
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

// forgetFlows makes the kernel forget the UDP flows to the host ports. They have no end of their own: one that began
// before a port was published would go on missing the container, and one to a container that is gone would not find the
// next.
func (n *Network) forgetFlows(rec record) {
	flows := udpFlows{container: n.slots.address(rec.Slot).AsSlice()}
	for _, b := range rec.Bindings {
		if b.Protocol == UDP {
			flows.ports = append(flows.ports, b)
		}
	}
	if len(flows.ports) == 0 {
		return
	}
	if _, err := n.host.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flows); err != nil {
		n.log.Warn("cannot forget UDP flows", "endpoint", rec.ID, "error", err)
	}
}

type udpFlows struct {
	container net.IP
	ports     []Binding
}

// MatchConntrackFlow is asked about each flow that the kernel knows.
func (u udpFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	if flow.Reverse.SrcIP.Equal(u.container) {
		return true
	}
	if !flow.Reverse.DstIP.Equal(flow.Forward.SrcIP) {
		return false // masqueraded: a container's own, to such a port of somebody else
	}
	to := int(flow.Forward.DstPort)
	return slices.ContainsFunc(u.ports, func(b Binding) bool {
		return int(b.HostPort) <= to && to < int(b.HostPort)+int(b.Count)
	})
}

// Attachments returns the IDs of all connected endpoints, sorted.
func (n *Network) Attachments() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.endpoints))
}

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
