package elbv2

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
	"havn/wire"
)

const maxGroups = 3000 // in a Region (quotas)

var groupProtocols = []types.ProtocolEnum{
	types.ProtocolEnumHttp, types.ProtocolEnumHttps, types.ProtocolEnumTcp, types.ProtocolEnumTls, types.ProtocolEnumUdp, types.ProtocolEnumTcpUdp,
}

// overHTTP reports whether an application load balancer's listeners can send to groups of this protocol.
func overHTTP(p types.ProtocolEnum) bool {
	return p == types.ProtocolEnumHttp || p == types.ProtocolEnumHttps
}

// CreateTargetGroup makes a target group, or finds the one that is there with the same settings.
func (s *Server) CreateTargetGroup(ctx context.Context, in *elb.CreateTargetGroupInput) (*elb.CreateTargetGroupOutput, error) {
	wanted, err := newGroup(in)
	if err != nil {
		return nil, err
	}
	var made types.TargetGroup
	err = s.change(ctx, func(tx *state.Tx) error {
		for other := range state.TargetGroups.By(tx, "name", wanted.Name) {
			if !sameGroup(wanted, other) {
				return &types.DuplicateTargetGroupNameException{Message: ptr(
					"A target group with the same name '" + wanted.Name + "' exists, but with different settings")}
			}
			made = describeGroup(tx, other)
			return nil
		}
		if state.TargetGroups.Count(tx) >= maxGroups {
			return &types.TooManyTargetGroupsException{Message: ptr(fmt.Sprintf("You've reached the limit of %d target groups", maxGroups))}
		}
		g := wanted
		g.ARN = s.groupARN(g.Name, tx.NewID())
		g.CreatedAt = wire.Now(ctx)
		state.TargetGroups.Put(tx, g)
		made = describeGroup(tx, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.CreateTargetGroupOutput{TargetGroups: []types.TargetGroup{made}}, nil
}

func newGroup(in *elb.CreateTargetGroupInput) (g state.TargetGroup, err error) {
	if err := checkName("Target group", *in.Name); err != nil {
		return g, err
	}
	g = state.TargetGroup{Name: *in.Name, Type: in.TargetType, Protocol: in.Protocol, Port: deref(in.Port), IPAddressType: in.IpAddressType}
	switch g.Type {
	case "":
		g.Type = types.TargetTypeEnumInstance
	case types.TargetTypeEnumLambda:
		return g, unsupported("target groups of type lambda", "there are no Lambda functions")
	case types.TargetTypeEnumAlb:
		return g, unsupported("target groups of type alb", "a load balancer is no other one's target here")
	}
	switch {
	case in.TargetControlPort != nil:
		return g, unsupported("TargetControlPort", "there is no target optimizer")
	case g.Protocol == "":
		return g, invalid("A protocol must be specified")
	case g.Protocol == types.ProtocolEnumGeneve:
		return g, unsupported("target groups with the protocol GENEVE", "there are no gateway load balancers")
	case g.Protocol == types.ProtocolEnumQuic, g.Protocol == types.ProtocolEnumTcpQuic:
		return g, unsupported("target groups with the protocol "+string(g.Protocol), "Havn speaks no QUIC")
	case in.Port == nil:
		return g, invalid("A port must be specified")
	}
	if g.ProtocolVersion, err = protocolVersion(g.Protocol, in.ProtocolVersion); err != nil {
		return g, err
	}
	// AWS demands a VPC. Who has none to name gets the default one, as with subnets.
	if g.VPCID = or(in.VpcId, defaultVPC); !vpcID.MatchString(g.VPCID) {
		return g, invalid("The VPC ID '%s' is not found", g.VPCID)
	}
	if g.IPAddressType == "" {
		g.IPAddressType = types.TargetGroupIpAddressTypeEnumIpv4
	}
	if g.IPAddressType == types.TargetGroupIpAddressTypeEnumIpv6 && g.Type != types.TargetTypeEnumIp {
		return g, unsupported("target groups of instances with the IpAddressType ipv6", "instances are reached by their IPv4 addresses")
	}
	err = setHealthCheck(&g, healthInput{in.HealthCheckEnabled, in.HealthCheckProtocol, in.HealthCheckPort, in.HealthCheckPath,
		in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount, in.UnhealthyThresholdCount, in.Matcher})
	if err != nil {
		return g, err
	}
	g.Tags, err = mergeTags(nil, in.Tags)
	return g, err
}

func protocolVersion(protocol types.ProtocolEnum, given *string) (string, error) {
	switch {
	case !overHTTP(protocol):
		if given != nil {
			return "", invalid("Protocol version cannot be specified for target groups with the protocol '%s'", protocol)
		}
		return "", nil
	case given == nil:
		return "HTTP1", nil
	case *given == "HTTP1" || *given == "HTTP2" || *given == "GRPC":
		return *given, nil
	}
	return "", invalid("Protocol version '%s' must be one of 'GRPC, HTTP1, HTTP2'", *given)
}

// sameGroup: CreateTargetGroup "is idempotent: if you attempt to create multiple target groups with the same settings,
// each call succeeds".
func sameGroup(a, b state.TargetGroup) bool {
	return a.Type == b.Type && a.Protocol == b.Protocol && a.ProtocolVersion == b.ProtocolVersion && a.Port == b.Port &&
		a.VPCID == b.VPCID && a.IPAddressType == b.IPAddressType && a.HealthCheck == b.HealthCheck &&
		reflect.DeepEqual(tagMap(a.Tags), tagMap(b.Tags))
}

func (s *Server) group(r state.Source, arn string) (state.TargetGroup, error) {
	if err := s.checkARN(arn, "targetgroup", "target group"); err != nil {
		return state.TargetGroup{}, err
	}
	g, ok := state.TargetGroups.Get(r, arn)
	if !ok {
		return g, groupNotFound(arn)
	}
	return g, nil
}

// ModifyTargetGroup changes how health is found out.
func (s *Server) ModifyTargetGroup(ctx context.Context, in *elb.ModifyTargetGroupInput) (*elb.ModifyTargetGroupOutput, error) {
	var made types.TargetGroup
	err := s.change(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.TargetGroupArn)
		if err != nil {
			return err
		}
		err = setHealthCheck(&g, healthInput{in.HealthCheckEnabled, in.HealthCheckProtocol, in.HealthCheckPort, in.HealthCheckPath,
			in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount, in.UnhealthyThresholdCount, in.Matcher})
		if err != nil {
			return err
		}
		state.TargetGroups.Put(tx, g)
		made = describeGroup(tx, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.ModifyTargetGroupOutput{TargetGroups: []types.TargetGroup{made}}, nil
}

// DeleteTargetGroup deletes a target group that nothing forwards to, with its targets. One that does not exist is
// deleted, too.
func (s *Server) DeleteTargetGroup(ctx context.Context, in *elb.DeleteTargetGroupInput) (*elb.DeleteTargetGroupOutput, error) {
	if err := s.checkARN(*in.TargetGroupArn, "targetgroup", "target group"); err != nil {
		return nil, err
	}
	return nil, s.change(ctx, func(tx *state.Tx) error {
		g, ok := state.TargetGroups.Get(tx, *in.TargetGroupArn)
		if !ok {
			return nil
		}
		if len(usersOf(tx, g.ARN)) > 0 {
			return &types.ResourceInUseException{Message: ptr("Target group '" + g.ARN + "' is currently in use by a listener or a rule")}
		}
		for _, t := range slices.Collect(state.Targets.By(tx, "target group", g.ARN)) {
			state.Targets.Delete(tx, state.TargetKey(t.TargetGroupARN, t.ID, t.Port))
		}
		state.TargetGroups.Delete(tx, g.ARN)
		return nil
	})
}

// DescribeTargetGroups describes those that are named, which must exist, those of a load balancer, or all.
func (s *Server) DescribeTargetGroups(_ context.Context, in *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
	ways := 0
	for _, is := range []bool{len(in.TargetGroupArns) > 0, len(in.Names) > 0, in.LoadBalancerArn != nil} {
		if is {
			ways++
		}
	}
	if ways > 1 {
		return nil, invalid("Target group ARNs, names and a load balancer ARN cannot be specified at the same time")
	}
	p, err := newPager[types.TargetGroup](in.PageSize, in.Marker, fingerprint(in.TargetGroupArns, in.Names, in.LoadBalancerArn))
	if err != nil {
		return nil, err
	}
	err = s.view(func(r *state.Reader) error {
		if in.LoadBalancerArn != nil {
			if _, err := s.balancer(r, *in.LoadBalancerArn); err != nil {
				return err
			}
		}
		found := map[string]bool{}
		for g := range state.TargetGroups.All(r) {
			found[g.ARN], found[g.Name] = true, true
			switch {
			case len(in.TargetGroupArns) > 0 && !slices.Contains(in.TargetGroupArns, g.ARN),
				len(in.Names) > 0 && !slices.Contains(in.Names, g.Name),
				in.LoadBalancerArn != nil && !slices.Contains(usersOf(r, g.ARN), *in.LoadBalancerArn):
				continue
			}
			p.offer(g.ARN, func() types.TargetGroup { return describeGroup(r, g) })
		}
		for _, named := range slices.Concat(in.TargetGroupArns, in.Names) {
			if !found[named] {
				return &types.TargetGroupNotFoundException{Message: ptr("One or more target groups not found")}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.DescribeTargetGroupsOutput{TargetGroups: orEmpty(p.items), NextMarker: p.marker()}, nil
}

func describeGroup(r state.Source, g state.TargetGroup) types.TargetGroup {
	h := g.HealthCheck
	out := types.TargetGroup{
		TargetGroupArn: ptr(g.ARN), TargetGroupName: ptr(g.Name), TargetType: g.Type, Protocol: g.Protocol,
		ProtocolVersion: some(g.ProtocolVersion), Port: ptr(g.Port), VpcId: ptr(g.VPCID), IpAddressType: g.IPAddressType,
		LoadBalancerArns:   orEmpty(usersOf(r, g.ARN)),
		HealthCheckEnabled: ptr(h.Enabled), HealthCheckProtocol: h.Protocol, HealthCheckPort: ptr(h.Port), HealthCheckPath: some(h.Path),
		HealthCheckIntervalSeconds: ptr(h.IntervalSeconds), HealthCheckTimeoutSeconds: ptr(h.TimeoutSeconds),
		HealthyThresholdCount: ptr(h.Healthy), UnhealthyThresholdCount: ptr(h.Unhealthy),
	}
	if h.HTTPCodes != "" || h.GRPCCodes != "" {
		out.Matcher = &types.Matcher{HttpCode: some(h.HTTPCodes), GrpcCode: some(h.GRPCCodes)}
	}
	return out
}
