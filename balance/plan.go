package balance

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
)

// endpoint is where a socket is, or should be.
type endpoint struct {
	network string // tcp or udp
	at      netip.AddrPort
}

// ours is where load balancers have addresses of their own.
var ours = netip.MustParsePrefix("127.18.0.0/16")

// shared reports whether an endpoint is not one load balancer's own.
func (e endpoint) shared() bool { return !ours.Contains(e.at.Addr()) }

// loopback are the addresses that names below localhost resolve to. All load balancers share them.
var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// networks are what a listener's sockets are of.
func networks(p elb.ProtocolEnum) []string {
	switch p {
	case elb.ProtocolEnumUdp:
		return []string{"udp"}
	case elb.ProtocolEnumTcpUdp:
		return []string{"tcp", "udp"}
	}
	return []string{"tcp"}
}

// places are the addresses where a load balancer is to be reached: its own one, if it has that on this machine, those
// that all share, and the machine's other ones, if it faces the internet.
func places(l *route.Listener, own, outside []netip.Addr) []netip.Addr {
	var all []netip.Addr
	if a, err := netip.ParseAddr(l.Balancer.Address); err == nil && slices.Contains(own, a) {
		all = append(all, a)
	}
	all = append(all, loopback...)
	if l.Balancer.Scheme == elb.LoadBalancerSchemeEnumInternal {
		return all
	}
	for _, a := range outside {
		if a.Is4() || strings.HasPrefix(string(l.Balancer.IPAddressType), string(elb.IpAddressTypeDualstack)) {
			all = append(all, a)
		}
	}
	return all
}

// endpoints are all that a table wants to be listened on, with the listeners that share each; those of the oldest load
// balancer first. own are the addresses that are ours alone, outside those that the machine has beside loopback.
func endpoints(t *route.Table, own, outside []netip.Addr) map[endpoint][]*route.Listener {
	wanted := map[endpoint][]*route.Listener{}
	for _, l := range t.Listeners {
		for _, network := range networks(l.Protocol) {
			for _, place := range places(l, own, outside) {
				e := endpoint{network, netip.AddrPortFrom(place, l.Port)}
				wanted[e] = append(wanted[e], l)
			}
		}
	}
	for _, sharing := range wanted {
		slices.SortFunc(sharing, func(a, b *route.Listener) int {
			return cmp.Or(a.Balancer.CreatedAt.Compare(b.Balancer.CreatedAt), cmp.Compare(a.ARN, b.ARN))
		})
	}
	return wanted
}

// named is which of the listeners that share a socket a client means by a host name: those of the load balancer whose
// DNSName that is, or is below. Nil = none.
func named(sharing []*route.Listener, host string) *route.Listener {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, l := range sharing {
		own := strings.ToLower(l.Balancer.DNSName)
		if own != "" && (host == own || strings.HasSuffix(host, "."+own)) {
			return l
		}
	}
	return nil
}
