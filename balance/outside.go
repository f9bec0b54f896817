package balance

import (
	"context"
	"net"
	"net/netip"

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

// watchOutside calls changed when the machine gets or loses an address, until ctx ends.
func watchOutside(ctx context.Context, changed func()) {
	updates := make(chan netlink.AddrUpdate, 16)
	if netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: func(error) {}}) != nil {
		return // what there was at the start is what is listened on
	}
	for range updates {
		changed()
	}
}
