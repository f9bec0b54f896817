package elbv2

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
	"havn/wire"
)

// maxBalancers is how many load balancers of one type there are (Quotas for your Application Load Balancers, and for
// Network Load Balancers).
const maxBalancers = 50

var plainName = regexp.MustCompile(`^[A-Za-z0-9-]*$`)

// checkName refuses a name that a load balancer or a target group cannot have (CreateLoadBalancer, Name).
func checkName(what, name string) error {
	switch {
	case name == "":
		return invalid("%s name cannot be blank", what)
	case len(name) > 32:
		return invalid("%s name '%s' cannot be longer than '32' characters", what, name)
	case !plainName.MatchString(name):
		return invalid("%s name '%s' can only contain characters that are alphanumeric characters and hyphens(-)", what, name)
	case strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-"):
		return invalid("%s name '%s' cannot begin or end with a hyphen(-)", what, name)
	}
	return nil
}

// CreateLoadBalancer makes a load balancer, or finds the one that is there with the same settings.
func (s *Server) CreateLoadBalancer(ctx context.Context, in *elb.CreateLoadBalancerInput) (*elb.CreateLoadBalancerOutput, error) {
	wanted, err := s.newBalancer(in)
	if err != nil {
		return nil, err
	}
	var made state.LoadBalancer
	err = s.change(ctx, func(tx *state.Tx) error {
		for other := range state.LoadBalancers.By(tx, "name", wanted.Name) {
			if !sameSettings(wanted, other) {
				return &types.DuplicateLoadBalancerNameException{Message: ptr(
					"A load balancer with the same name '" + wanted.Name + "' exists, but with different settings")}
			}
			made = other
			return nil
		}
		count := 0
		for other := range state.LoadBalancers.All(tx) {
			if other.Type == wanted.Type {
				count++
			}
		}
		if count >= maxBalancers {
			return &types.TooManyLoadBalancersException{Message: ptr(fmt.Sprintf("You've reached the limit of %d %s load balancers", maxBalancers, wanted.Type))}
		}
		made = wanted
		id := tx.NewID()
		made.ARN = s.balancerARN(made.Type, made.Name, id)
		made.DNSName = s.dnsName(made, id)
		made.CreatedAt = wire.Now(ctx)
		if made.Address, err = freeAddress(tx); err != nil {
			return err
		}
		state.LoadBalancers.Put(tx, made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.CreateLoadBalancerOutput{LoadBalancers: []types.LoadBalancer{s.describeBalancer(made)}}, nil
}

// newBalancer is the record of what a request asks for, without what is only known in a transaction.
func (s *Server) newBalancer(in *elb.CreateLoadBalancerInput) (b state.LoadBalancer, err error) {
	if err := checkName("The load balancer", *in.Name); err != nil {
		return b, err
	}
	if strings.HasPrefix(*in.Name, "internal-") {
		return b, invalid("The load balancer name '%s' cannot begin with 'internal-'", *in.Name)
	}
	switch {
	case in.Type == types.LoadBalancerTypeEnumGateway:
		return b, unsupported("load balancers of type gateway", "they route packets through appliances of a VPC, and there are none here")
	case in.CustomerOwnedIpv4Pool != nil:
		return b, unsupported("CustomerOwnedIpv4Pool", "it is of Outposts")
	case in.IpamPools != nil:
		return b, unsupported("IpamPools", "there is no IPAM")
	case in.EnablePrefixForIpv6SourceNat == types.EnablePrefixForIpv6SourceNatEnumOn:
		return b, unsupported("EnablePrefixForIpv6SourceNat", "no addresses are translated")
	}
	b = state.LoadBalancer{Name: *in.Name, Type: in.Type, Scheme: in.Scheme, IPAddressType: in.IpAddressType,
		SecurityGroups: in.SecurityGroups}
	if b.Type == "" {
		b.Type = types.LoadBalancerTypeEnumApplication
	}
	if b.Scheme == "" {
		b.Scheme = types.LoadBalancerSchemeEnumInternetFacing
	}
	if b.IPAddressType == "" {
		b.IPAddressType = types.IpAddressTypeIpv4
	}
	if err := checkIPAddressType(b); err != nil {
		return b, err
	}
	if err := checkSecurityGroups(b.SecurityGroups); err != nil {
		return b, err
	}
	if len(b.SecurityGroups) == 0 && b.Type == types.LoadBalancerTypeEnumApplication {
		b.SecurityGroups = []string{defaultGroup}
	}
	named, err := subnets(in.Subnets, in.SubnetMappings)
	if err != nil {
		return b, err
	}
	if len(named) == 0 {
		named = defaultSubnets
	}
	if b.Zones, err = s.zones(b.Type, named); err != nil {
		return b, err
	}
	if b.Tags, err = mergeTags(nil, in.Tags); err != nil {
		return b, err
	}
	return b, nil
}

// checkIPAddressType: "[Network Load Balancers] The possible values are ipv4 and dualstack"; and an internal one has no
// public address to be without (SetIpAddressType). A dualstack one listens on this machine's IPv6 addresses, too; its own
// address is of IPv4.
func checkIPAddressType(b state.LoadBalancer) error {
	if b.IPAddressType == types.IpAddressTypeDualstackWithoutPublicIpv4 &&
		(b.Type != types.LoadBalancerTypeEnumApplication || b.Scheme != types.LoadBalancerSchemeEnumInternetFacing) {
		return badConfiguration("IP address type '%s' is only supported by internet-facing application load balancers", b.IPAddressType)
	}
	return nil
}

// sameSettings: CreateLoadBalancer "is idempotent: if you attempt to create multiple load balancers with the same
// settings, each call succeeds".
func sameSettings(a, b state.LoadBalancer) bool {
	subnet := func(z types.AvailabilityZone) string { return *z.SubnetId }
	return a.Type == b.Type && a.Scheme == b.Scheme && a.IPAddressType == b.IPAddressType &&
		sameSet(collect(a.Zones, subnet), collect(b.Zones, subnet)) && sameSet(a.SecurityGroups, b.SecurityGroups) &&
		reflect.DeepEqual(tagMap(a.Tags), tagMap(b.Tags))
}

func collect[T, U any](all []T, f func(T) U) []U {
	some := make([]U, len(all))
	for i, each := range all {
		some[i] = f(each)
	}
	return some
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// dnsName ends in .localhost, which resolvers, curl and browsers take to this machine (RFC 6761, 6.3).
func (s *Server) dnsName(b state.LoadBalancer, id string) string {
	const tenDigits = 10_000_000_000
	var number uint64
	if digits, err := hex.DecodeString(shortID(id)); err == nil {
		number = binary.BigEndian.Uint64(digits) % tenDigits
	}
	name := fmt.Sprintf("%s-%010d.%s.elb.localhost", b.Name, number, s.Region)
	if b.Scheme == types.LoadBalancerSchemeEnumInternal {
		name = "internal-" + name
	}
	return name
}

// addresses is the network of the load balancers' own addresses.
var addresses = netip.MustParsePrefix("127.18.0.0/16")

// freeAddress is the first address that no load balancer has. Balance gives it another where somebody else on this machine
// has that one.
func freeAddress(tx *state.Tx) (string, error) {
	taken := map[string]bool{}
	for b := range state.LoadBalancers.All(tx) {
		taken[b.Address] = true
	}
	for a := addresses.Addr(); addresses.Contains(a); a = a.Next() {
		if last := a.As4(); !taken[a.String()] && last[3] != 0 && last[3] != 255 {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("cannot give the load balancer an address: all of %s are taken", addresses)
}

func (s *Server) balancer(r state.Source, arn string) (state.LoadBalancer, error) {
	if err := s.checkARN(arn, "loadbalancer", "load balancer"); err != nil {
		return state.LoadBalancer{}, err
	}
	b, ok := state.LoadBalancers.Get(r, arn)
	if !ok {
		return b, balancerNotFound(arn)
	}
	return b, nil
}

// DeleteLoadBalancer deletes a load balancer with its listeners and their rules. Its target groups stay. One that does
// not exist is deleted, too (DeleteLoadBalancer: "if the load balancer does not exist, the call succeeds").
func (s *Server) DeleteLoadBalancer(ctx context.Context, in *elb.DeleteLoadBalancerInput) (*elb.DeleteLoadBalancerOutput, error) {
	if err := s.checkARN(*in.LoadBalancerArn, "loadbalancer", "load balancer"); err != nil {
		return nil, err
	}
	return nil, s.change(ctx, func(tx *state.Tx) error {
		b, ok := state.LoadBalancers.Get(tx, *in.LoadBalancerArn)
		if !ok {
			return nil
		}
		if b.Attributes["deletion_protection.enabled"] == "true" {
			return notPermitted("Load balancer '%s' cannot be deleted because deletion protection is enabled", b.ARN)
		}
		for _, l := range slices.Collect(state.Listeners.By(tx, "load balancer", b.ARN)) {
			deleteListener(tx, l)
		}
		state.LoadBalancers.Delete(tx, b.ARN)
		return nil
	})
}

// changeBalancer writes a load balancer anew.
func (s *Server) changeBalancer(ctx context.Context, arn string, change func(*state.LoadBalancer) error) error {
	return s.change(ctx, func(tx *state.Tx) error {
		b, err := s.balancer(tx, arn)
		if err != nil {
			return err
		}
		b.Attributes = maps.Clone(b.Attributes)
		if err := change(&b); err != nil {
			return err
		}
		state.LoadBalancers.Put(tx, b)
		return nil
	})
}

// SetSubnets says in which subnets a load balancer is.
func (s *Server) SetSubnets(ctx context.Context, in *elb.SetSubnetsInput) (*elb.SetSubnetsOutput, error) {
	if in.EnablePrefixForIpv6SourceNat == types.EnablePrefixForIpv6SourceNatEnumOn {
		return nil, unsupported("EnablePrefixForIpv6SourceNat", "no addresses are translated")
	}
	named, err := subnets(in.Subnets, in.SubnetMappings)
	if err != nil {
		return nil, err
	}
	out := &elb.SetSubnetsOutput{}
	err = s.changeBalancer(ctx, *in.LoadBalancerArn, func(b *state.LoadBalancer) (err error) {
		if in.IpAddressType != "" {
			b.IPAddressType = in.IpAddressType
		}
		if err := checkIPAddressType(*b); err != nil {
			return err
		}
		if b.Zones, err = s.zones(b.Type, named); err != nil {
			return err
		}
		out.AvailabilityZones, out.IpAddressType = describeZones(*b), b.IPAddressType
		return nil
	})
	return out, err
}

// SetSecurityGroups says which security groups a load balancer has.
func (s *Server) SetSecurityGroups(ctx context.Context, in *elb.SetSecurityGroupsInput) (*elb.SetSecurityGroupsOutput, error) {
	if in.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic != "" {
		return nil, unsupported("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic", "there is no PrivateLink")
	}
	if err := checkSecurityGroups(in.SecurityGroups); err != nil {
		return nil, err
	}
	err := s.changeBalancer(ctx, *in.LoadBalancerArn, func(b *state.LoadBalancer) error {
		switch {
		case len(in.SecurityGroups) == 0 && b.Type == types.LoadBalancerTypeEnumApplication:
			return badConfiguration("A load balancer must have at least one security group")
		case b.Type == types.LoadBalancerTypeEnumNetwork && len(b.SecurityGroups) == 0:
			// SetSecurityGroups, for Network Load Balancers.
			return badConfiguration("You can't set security groups on a Network Load Balancer that was created without")
		case b.Type == types.LoadBalancerTypeEnumNetwork && len(in.SecurityGroups) == 0:
			return badConfiguration("You can't remove all security groups of a Network Load Balancer")
		}
		b.SecurityGroups = in.SecurityGroups
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.SetSecurityGroupsOutput{SecurityGroupIds: in.SecurityGroups}, nil
}

// SetIpAddressType says which addresses clients can come to.
func (s *Server) SetIpAddressType(ctx context.Context, in *elb.SetIpAddressTypeInput) (*elb.SetIpAddressTypeOutput, error) {
	err := s.changeBalancer(ctx, *in.LoadBalancerArn, func(b *state.LoadBalancer) error {
		b.IPAddressType = in.IpAddressType
		return checkIPAddressType(*b)
	})
	return &elb.SetIpAddressTypeOutput{IpAddressType: in.IpAddressType}, err
}
