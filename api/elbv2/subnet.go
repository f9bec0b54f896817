package elbv2

import (
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// The default VPC, its subnets and its security group, as every AWS account has in every Region. A load balancer that
// names no subnets gets all of these: AWS refuses that, but there is no way to make subnets here yet, and a machine of
// one's own has none.
const (
	defaultVPC   = "vpc-00000000000000001"
	defaultGroup = "sg-00000000000000001"
)

var defaultSubnets = []string{"subnet-0000000000000000a", "subnet-0000000000000000b", "subnet-0000000000000000c"}

// EC2's identifiers have 17 hexadecimal digits; old ones have 8.
var (
	subnetID        = regexp.MustCompile(`^subnet-([0-9a-f]{8}|[0-9a-f]{17})$`)
	securityGroupID = regexp.MustCompile(`^sg-([0-9a-f]{8}|[0-9a-f]{17})$`)
	vpcID           = regexp.MustCompile(`^vpc-([0-9a-f]{8}|[0-9a-f]{17})$`)
	instanceID      = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)
)

// zoneLetters are the zones of a Region: the n-th subnet is in the n-th.
const zoneLetters = "abcdef"

// subnets are what a request names, in either way.
func subnets(named []string, mapped []types.SubnetMapping) ([]string, error) {
	if len(named) > 0 && len(mapped) > 0 {
		return nil, invalid("Exactly one of subnets or subnet mappings must be specified")
	}
	for _, m := range mapped {
		switch {
		case m.SubnetId == nil:
			return nil, invalid("A subnet ID must be specified in each subnet mapping")
		case m.AllocationId != nil:
			return nil, unsupported("SubnetMappings.AllocationId", "Elastic IP addresses are EC2's; a load balancer gets an address of its own")
		case m.PrivateIPv4Address != nil:
			return nil, unsupported("SubnetMappings.PrivateIPv4Address", "a load balancer gets an address of its own")
		case m.IPv6Address != nil:
			return nil, unsupported("SubnetMappings.IPv6Address", "a load balancer has no address of IPv6 that is its own")
		case m.SourceNatIpv6Prefix != nil:
			return nil, unsupported("SubnetMappings.SourceNatIpv6Prefix", "a load balancer has no address of IPv6 that is its own")
		}
		named = append(named, *m.SubnetId)
	}
	return named, nil
}

// zones are the Availability Zones of a load balancer in these subnets.
func (s *Server) zones(kind types.LoadBalancerTypeEnum, subnets []string) ([]types.AvailabilityZone, error) {
	for i, id := range subnets {
		if !subnetID.MatchString(id) {
			return nil, &types.SubnetNotFoundException{Message: ptr("The subnet ID '" + id + "' is not valid")}
		}
		if slices.Contains(subnets[:i], id) {
			return nil, badConfiguration("A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		}
	}
	switch {
	case kind == types.LoadBalancerTypeEnumApplication && len(subnets) < 2:
		return nil, invalid("At least two subnets in two different Availability Zones must be specified")
	case len(subnets) == 0:
		return nil, invalid("At least one subnet must be specified")
	case len(subnets) > len(zoneLetters):
		return nil, badConfiguration("A load balancer can have at most %d subnets: the Region %s has so many Availability Zones", len(zoneLetters), s.Region)
	}
	zones := make([]types.AvailabilityZone, len(subnets))
	for i, id := range subnets {
		zones[i] = types.AvailabilityZone{SubnetId: ptr(id), ZoneName: ptr(s.Region + zoneLetters[i:i+1])}
	}
	return zones, nil
}

// checkSecurityGroups refuses what is no security group's ID. Havn filters nothing by them: whoever reaches the machine
// reaches its load balancers.
func checkSecurityGroups(groups []string) error {
	const most = 5 // Quotas for your Application Load Balancers
	if len(groups) > most {
		return badConfiguration("A load balancer can have at most %d security groups", most)
	}
	for i, id := range groups {
		if !securityGroupID.MatchString(id) || slices.Contains(groups[:i], id) {
			return &types.InvalidSecurityGroupException{Message: ptr("Security group '" + id + "' is not valid or is named twice")}
		}
	}
	return nil
}

// zoneIDs are the hosted zones in Route 53 of load balancers' names, by Region (Elastic Load Balancing endpoints and
// quotas). Nothing here looks anything up in them; templates carry them from a load balancer to a record.
var zoneIDs = map[string]struct{ application, network string }{
	"us-east-1":      {"Z35SXDOTRQ7X7K", "Z26RNL4JYFTOTI"},
	"us-east-2":      {"Z3AADJGX6KTTL2", "ZLMOA37VPKANP"},
	"us-west-1":      {"Z368ELLRRE2KJ0", "Z24FKFUX50B4VW"},
	"us-west-2":      {"Z1H1FL5HABSF5", "Z18D5FSROUN65G"},
	"eu-west-1":      {"Z32O12XQLNTSW2", "Z2IFOLAFXWLO4F"},
	"eu-central-1":   {"Z215JYRZR1TBD5", "Z3F0SRJ5LGBH90"},
	"ap-southeast-1": {"Z1LMS91P8CMLE5", "ZKVM4W9LS7TM"},
	"ap-northeast-1": {"Z14GRHDCWA56QT", "Z31USIVHYNEOWT"},
}

func (s *Server) hostedZoneID(kind types.LoadBalancerTypeEnum) string {
	ids, ok := zoneIDs[s.Region]
	if !ok {
		ids = zoneIDs["us-east-1"]
	}
	if kind == types.LoadBalancerTypeEnumNetwork {
		return ids.network
	}
	return ids.application
}
