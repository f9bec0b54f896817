package balance

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// outside are the addresses of this machine that others can reach: not those of loopback, and not those of a link alone.
func outside() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, f := range found {
		n, ok := f.(*net.IPNet)
		if !ok {
			continue
		}
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap().IsGlobalUnicast() {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// watchOutside keeps the addresses in outside up to date until ctx ends, and calls changed when they have changed.
func watchOutside(ctx context.Context, current *atomic.Pointer[[]netip.Addr], changed func()) {
	updates := make(chan netlink.AddrUpdate, 16)
	if netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: func(error) {}}) != nil {
		return // what there was at the start is what is listened on
	}
	look := func() {
		all := outside()
		current.Store(&all)
		changed()
	}
	look() // it may have changed before it was watched
	for u := range updates {
		// Those of links alone come with every container.
		if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok && a.Unmap().IsGlobalUnicast() {
			look()
		}
	}
}
