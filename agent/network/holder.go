package network

import (
	"errors"
	"net/netip"

	"havn/ports"
)

// Who holds a port is looked up only when a port was found taken, for the error. Nobody is an answer, too: whoever it was
// can be gone by then, and the kernel does not list TCP sockets that are bound and neither listen nor are connected, which
// is how another Havn holds its ports.

// blame completes the error of a port that is taken with who has it.
func (n *Network) blame(err error) {
	taken, ok := errors.AsType[*PortTakenError](err)
	if !ok {
		return
	}
	key := hostPort{taken.Protocol, taken.Port}
	if taken.Endpoint = n.endpointAt(key); taken.Endpoint == "" {
		taken.Process = ports.Holder(string(key.protocol), netip.AddrPortFrom(netip.IPv4Unspecified(), key.port))
	}
}

// endpointAt is the endpoint of this Network that has the host port; empty if none has.
func (n *Network) endpointAt(key hostPort) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, rec := range n.endpoints {
		for _, b := range rec.Bindings {
			if rec.Mode == Bridge && b.Protocol == key.protocol &&
				int(b.HostPort) <= int(key.port) && int(key.port) < int(b.HostPort)+int(b.Count) {
				return id
			}
		}
	}
	return ""
}
