package balance

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"havn/balance/route"
)

// flow is what a Network Load Balancer tells connections apart by (AWS, "Network Load Balancer overview": the protocol,
// source and destination address and port).
type flow struct {
	network string
	from    netip.AddrPort
	to      netip.AddrPort
}

// pick is the target of a flow; ok is false where the listener has none.
//
// Every target draws a number for the flow, and the highest wins: a target that comes or goes moves only the flows that
// are its own, and with the stickiness source_ip the same client comes to the same target as long as that is there.
func pick(seed maphash.Seed, l *route.Listener, f flow) (g *route.Group, chosen route.Target, ok bool) {
	forward := l.Rules[len(l.Rules)-1].Action.Forward
	if forward == nil {
		return nil, chosen, false
	}
	g = pickGroup(seed, forward.Groups, f)
	if g == nil {
		return nil, chosen, false
	}
	if on(g.Record.Attributes, "stickiness.enabled", false) { // of the type source_ip, the only one here
		f = flow{network: f.network, from: netip.AddrPortFrom(f.from.Addr(), 0)}
	}
	var best uint64
	for _, i := range g.Open { // with what AWS says of failing open
		t := g.Targets[i]
		if drawn := draw(seed, f, t.Key); !ok || drawn > best {
			best, chosen, ok = drawn, t, true
		}
	}
	return g, chosen, ok
}

// pickGroup chooses by weight: of all flows a group gets its share, and a flow always comes to the same group.
func pickGroup(seed maphash.Seed, groups []route.Weighted, f flow) *route.Group {
	var total uint64
	for _, w := range groups {
		total += uint64(max(w.Weight, 0))
	}
	if total == 0 {
		return nil
	}
	at := draw(seed, f, "") % total
	for _, w := range groups {
		if weight := uint64(max(w.Weight, 0)); at < weight {
			return w.Group
		} else {
			at -= weight
		}
	}
	return nil
}

// draw is a flow's number at a target.
func draw(seed maphash.Seed, f flow, target string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(f.network) //nolint:errcheck // a hash takes everything
	for _, a := range []netip.AddrPort{f.from, f.to} {
		ip := a.Addr().As16()
		h.Write(ip[:])                                        //nolint:errcheck // as above
		h.Write(binary.BigEndian.AppendUint16(nil, a.Port())) //nolint:errcheck // as above
	}
	h.WriteString(target) //nolint:errcheck // as above
	return h.Sum64()
}
