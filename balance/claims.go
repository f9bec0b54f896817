package balance

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/state"
)

// A load balancer's own address is one of 127.18.0.0/16, which every Linux has on its loopback. Several Havns on one
// machine do not know each other, so whoever uses an address claims it first, with a socket in the abstract namespace:
// that is one per network namespace, needs no right, and goes away with its process. Who finds an address claimed takes
// another.

// claimed is the name of the socket that stands for an address.
func claimed(a netip.Addr) string { return "@havn/balance/" + a.String() }

// maxTries is how many addresses are tried before a load balancer is left without one until the next change.
const maxTries = 64

// claim makes the load balancers' own addresses ours, and returns those that are. For a load balancer whose address is
// somebody else's, or that has none, it chooses another, which is in the state a moment later.
func (s *sockets) claim(t *route.Table) (own []netip.Addr) {
	inUse := map[netip.Addr]bool{}
	for _, l := range t.Balancers {
		a, err := netip.ParseAddr(l.Address)
		if err == nil && s.claims[a] == nil && !s.moves[l.ARN].IsValid() {
			if claim, err := net.Listen("unix", claimed(a)); err == nil {
				s.claims[a] = claim
			}
		}
		switch {
		case err == nil && s.claims[a] != nil && !inUse[a]:
			own = append(own, a)
			inUse[a] = true
			delete(s.moves, l.ARN)
		case !s.moves[l.ARN].IsValid():
			if to, ok := s.another(); ok {
				s.moves[l.ARN] = to
				s.b.reports.move(l.ARN, l.Address, to.String())
			}
		}
	}
	moving := map[netip.Addr]bool{}
	for arn, to := range s.moves {
		if !slices.ContainsFunc(t.Balancers, func(l state.LoadBalancer) bool { return l.ARN == arn }) {
			delete(s.moves, arn)
			continue
		}
		moving[to] = true
	}
	for a, claim := range s.claims {
		if !inUse[a] && !moving[a] {
			claim.Close()
			delete(s.claims, a)
		}
	}
	return own
}

// another claims an address that nobody has. Two Havns that choose by chance seldom meet.
func (s *sockets) another() (netip.Addr, bool) {
	for range maxTries {
		n := rand.Uint32()
		within := ours.Addr().As4()
		a := netip.AddrFrom4([4]byte{within[0], within[1], byte(n >> 8), byte(n)})
		if byte(n) == 0 || byte(n) == 255 || s.claims[a] != nil {
			continue
		}
		if claim, err := net.Listen("unix", claimed(a)); err == nil {
			s.claims[a] = claim
			return a, true
		}
	}
	return netip.Addr{}, false
}

// states are what the load balancers' sockets make of them: active if all are open, failed if none is, and
// active_impaired in between.
func (s *sockets) states(t *route.Table, wanted map[endpoint][]*route.Listener) map[string]elb.LoadBalancerState {
	open, failed := map[string]int{}, map[string]map[string][]netip.Addr{} // by load balancer; where, by reason
	for e, sharing := range wanted {
		for _, l := range sharing {
			arn := l.Balancer.ARN
			f, failing := s.failed[e]
			switch {
			case s.open[e] != nil, f.free != nil:
				open[arn]++
			case failing:
				if failed[arn] == nil {
					failed[arn] = map[string][]netip.Addr{}
				}
				failed[arn][f.reason] = append(failed[arn][f.reason], e.at.Addr())
			}
		}
	}
	all := map[string]elb.LoadBalancerState{}
	for _, l := range t.Balancers {
		switch {
		case s.moves[l.ARN].IsValid(): // it is told when its own address is listened on, too
		case len(failed[l.ARN]) == 0:
			all[l.ARN] = elb.LoadBalancerState{Code: elb.LoadBalancerStateEnumActive}
		case open[l.ARN] == 0:
			all[l.ARN] = elb.LoadBalancerState{Code: elb.LoadBalancerStateEnumFailed, Reason: aws.String(reasons(failed[l.ARN]))}
		default:
			text := reasons(failed[l.ARN])
			if l.Address != "" {
				text += ". It is reachable at " + l.Address + " all the same"
			}
			all[l.ARN] = elb.LoadBalancerState{Code: elb.LoadBalancerStateEnumActiveImpaired, Reason: aws.String(text)}
		}
	}
	return all
}

// reasons are why a load balancer cannot be reached at some addresses.
func reasons(where map[string][]netip.Addr) string {
	var all []string
	for reason, addresses := range where {
		slices.SortFunc(addresses, netip.Addr.Compare)
		var at []string
		for _, a := range slices.Compact(addresses) { // TCP and UDP
			at = append(at, a.String())
		}
		all = append(all, reason+" at "+strings.Join(at, ", "))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}
