package elbv2

import (
	"context"
	"slices"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// DescribeLoadBalancers describes those that are named, which must exist, or all in the order of their ARNs.
func (s *Server) DescribeLoadBalancers(_ context.Context, in *elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error) {
	if len(in.LoadBalancerArns) > 0 && len(in.Names) > 0 {
		return nil, invalid("Load balancer ARNs and names cannot be specified at the same time")
	}
	if err := atMost(20, "load balancers", in.LoadBalancerArns, in.Names); err != nil {
		return nil, err
	}
	p, err := newPager[state.LoadBalancer](in.PageSize, in.Marker, fingerprint(in.LoadBalancerArns, in.Names))
	if err != nil {
		return nil, err
	}
	err = s.view(func(r *state.Reader) error {
		found := map[string]bool{}
		for b := range state.LoadBalancers.All(r) {
			if len(in.LoadBalancerArns)+len(in.Names) > 0 && !slices.Contains(in.LoadBalancerArns, b.ARN) && !slices.Contains(in.Names, b.Name) {
				continue
			}
			found[b.ARN], found[b.Name] = true, true
			p.offer(b.ARN, func() state.LoadBalancer { return b })
		}
		for _, arn := range in.LoadBalancerArns {
			if err := s.checkARN(arn, "loadbalancer", "load balancer"); err != nil {
				return err
			}
			if !found[arn] {
				return &types.LoadBalancerNotFoundException{Message: ptr("One or more load balancers not found")}
			}
		}
		for _, name := range in.Names {
			if !found[name] {
				return &types.LoadBalancerNotFoundException{Message: ptr("Load balancers '[" + name + "]' not found")}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.DescribeLoadBalancersOutput{LoadBalancers: collect(p.items, s.describeBalancer), NextMarker: p.marker()}, nil
}

// atMost refuses a call that names too many things.
func atMost(most int, what string, lists ...[]string) error {
	for _, list := range lists {
		if len(list) > most {
			return invalid("You can describe up to %d %s in a single call", most, what)
		}
	}
	return nil
}

func (s *Server) describeBalancer(b state.LoadBalancer) types.LoadBalancer {
	current := b.State
	if current.Code == "" { // balance has not seen it yet
		current.Code = types.LoadBalancerStateEnumProvisioning
	}
	return types.LoadBalancer{
		LoadBalancerArn: ptr(b.ARN), LoadBalancerName: ptr(b.Name), DNSName: ptr(b.DNSName), Type: b.Type, Scheme: b.Scheme,
		IpAddressType: b.IPAddressType, AvailabilityZones: describeZones(b), SecurityGroups: b.SecurityGroups,
		CanonicalHostedZoneId: ptr(s.hostedZoneID(b.Type)), CreatedTime: ptr(b.CreatedAt), VpcId: ptr(defaultVPC), State: &current,
	}
}

// describeZones shows the load balancer's one address in each of its zones: a client may use any.
func describeZones(b state.LoadBalancer) []types.AvailabilityZone {
	return collect(b.Zones, func(z types.AvailabilityZone) types.AvailabilityZone {
		z.LoadBalancerAddresses = []types.LoadBalancerAddress{{IpAddress: ptr(b.Address)}}
		return z
	})
}
