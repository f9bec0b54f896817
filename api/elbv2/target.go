package elbv2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
	"havn/wire"
)

const maxTargets = 1000 // of a target group, and of a call (quotas)

// RegisterTargets adds targets to a group. One that is there stays as it is; one that drains is registered anew.
func (s *Server) RegisterTargets(ctx context.Context, in *elb.RegisterTargetsInput) (*elb.RegisterTargetsOutput, error) {
	if len(in.Targets) == 0 {
		return nil, invalid("A target must be specified")
	}
	return nil, s.change(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.TargetGroupArn)
		if err != nil {
			return err
		}
		for _, d := range in.Targets {
			if err := s.checkTarget(tx, g, d); err != nil {
				return err
			}
			t := state.Target{TargetGroupARN: g.ARN, ID: *d.Id, Port: or(d.Port, g.Port), Zone: deref(d.AvailabilityZone), RegisteredAt: wire.Now(ctx)}
			if there, ok := state.Targets.Get(tx, state.TargetKey(g.ARN, t.ID, t.Port)); ok && there.DrainingSince.IsZero() {
				continue
			}
			state.Targets.Put(tx, t)
		}
		if state.Targets.CountBy(tx, "target group", g.ARN) > maxTargets {
			return &types.TooManyTargetsException{Message: ptr(fmt.Sprintf("The maximum number of targets of target group '%s' is %d", g.ARN, maxTargets))}
		}
		return nil
	})
}

// checkTarget refuses what is no target of the group's kind.
func (s *Server) checkTarget(tx *state.Tx, g state.TargetGroup, d types.TargetDescription) error {
	if d.QuicServerId != nil {
		return unsupported("QuicServerId", "Havn speaks no QUIC")
	}
	if g.Type == types.TargetTypeEnumInstance {
		if d.AvailabilityZone != nil {
			return invalid("You cannot specify an Availability Zone for targets of target groups with target type 'instance'")
		}
		if !instanceID.MatchString(*d.Id) {
			return invalid("Instance ID '%s' is not valid", *d.Id)
		}
		for n := range state.Nodes.All(tx) {
			if n.EC2InstanceID == *d.Id {
				return nil
			}
		}
		return &types.InvalidTargetException{Message: ptr("The following targets are not in a running state and cannot be registered: '" + *d.Id + "'")}
	}
	if zone := deref(d.AvailabilityZone); zone != "" && zone != "all" && !s.isZone(zone) {
		return &types.AvailabilityZoneNotSupportedException{Message: ptr("Availability Zone '" + zone + "' is not supported")}
	}
	return checkAddress(g, *d.Id)
}

func (s *Server) isZone(name string) bool {
	letter, ok := strings.CutPrefix(name, s.Region)
	return ok && len(letter) == 1 && strings.Contains(zoneLetters, letter)
}

// shared is what carriers share (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// checkAddress: "the subnets of the VPC, the RFC 1918 range and the RFC 6598 range. You can't specify publicly routable
// IP addresses" (CreateTargetGroup, TargetType). Loopback addresses are allowed here, too: what runs beside Havn on one
// machine is reached by them.
func checkAddress(g state.TargetGroup, text string) error {
	version := "IPv4"
	if g.IPAddressType == types.TargetGroupIpAddressTypeEnumIpv6 {
		version = "IPv6"
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4() != (version == "IPv4") || a.String() != text {
		return invalid("The IP address '%s' is not a valid %s address", text, version)
	}
	if !a.IsPrivate() && !a.IsLoopback() && !shared.Contains(a) || addresses.Contains(a) {
		return &types.InvalidTargetException{Message: ptr("The IP address '" + text + "' must be within a private range: you can't specify publicly routable IP addresses, and those of load balancers")}
	}
	return nil
}

// DeregisterTargets lets targets drain. One of a group that gets no traffic has nothing to drain, and is gone at once.
// What is not registered is no error.
func (s *Server) DeregisterTargets(ctx context.Context, in *elb.DeregisterTargetsInput) (*elb.DeregisterTargetsOutput, error) {
	return nil, s.change(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.TargetGroupArn)
		if err != nil {
			return err
		}
		used := len(usersOf(tx, g.ARN)) > 0
		for _, d := range in.Targets {
			t, ok := state.Targets.Get(tx, state.TargetKey(g.ARN, *d.Id, or(d.Port, g.Port)))
			switch {
			case !ok:
			case !used:
				state.Targets.Delete(tx, state.TargetKey(g.ARN, t.ID, t.Port))
			case t.DrainingSince.IsZero():
				t.DrainingSince = wire.Now(ctx)
				state.Targets.Put(tx, t)
			}
		}
		return nil
	})
}

// healthDescriptions are ELB's sentences on its reason codes (Target health reason codes).
var healthDescriptions = map[types.TargetHealthReasonEnum]string{
	types.TargetHealthReasonEnumRegistrationInProgress:   "Target registration is in progress",
	types.TargetHealthReasonEnumInitialHealthChecking:    "Initial health checks in progress",
	types.TargetHealthReasonEnumResponseCodeMismatch:     "Health checks failed with these codes",
	types.TargetHealthReasonEnumTimeout:                  "Request timed out",
	types.TargetHealthReasonEnumFailedHealthChecks:       "Health checks failed",
	types.TargetHealthReasonEnumInternalError:            "Health checks failed due to an internal error",
	types.TargetHealthReasonEnumNotRegistered:            "Target is not registered to the target group",
	types.TargetHealthReasonEnumNotInUse:                 "Target group is not configured to receive traffic from the load balancer",
	types.TargetHealthReasonEnumInvalidState:             "Target is in the stopped state",
	types.TargetHealthReasonEnumIpUnusable:               "Target IP address is reserved for use by a load balancer",
	types.TargetHealthReasonEnumDeregistrationInProgress: "Target deregistration is in progress",
	types.TargetHealthReasonEnumHealthCheckDisabled:      "Health checks are disabled for the target group",
}

func health(state types.TargetHealthStateEnum, reason types.TargetHealthReasonEnum) *types.TargetHealth {
	return &types.TargetHealth{State: state, Reason: reason, Description: ptr(healthDescriptions[reason])}
}

// DescribeTargetHealth tells the health of a group's targets, or of those that are named.
func (s *Server) DescribeTargetHealth(_ context.Context, in *elb.DescribeTargetHealthInput) (*elb.DescribeTargetHealthOutput, error) {
	if len(in.Include) > 0 {
		return nil, unsupported("Include, anomaly detection", "targets are not compared with one another")
	}
	out := &elb.DescribeTargetHealthOutput{TargetHealthDescriptions: []types.TargetHealthDescription{}}
	return out, s.view(func(r *state.Reader) error {
		g, err := s.group(r, *in.TargetGroupArn)
		if err != nil {
			return err
		}
		used := len(usersOf(r, g.ARN)) > 0
		describe := func(t state.Target, is *types.TargetHealth) {
			port := g.HealthCheck.Port
			if port == "traffic-port" {
				port = strconv.Itoa(int(t.Port))
			}
			out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, types.TargetHealthDescription{
				Target:          &types.TargetDescription{Id: ptr(t.ID), Port: ptr(t.Port), AvailabilityZone: some(t.Zone)},
				HealthCheckPort: ptr(port), TargetHealth: is,
				AdministrativeOverride: &types.AdministrativeOverride{
					State:       types.TargetAdministrativeOverrideStateEnumNoOverride,
					Reason:      types.TargetAdministrativeOverrideReasonEnumNoOverrideEngaged,
					Description: ptr("No override is currently active on target"),
				},
			})
		}
		if len(in.Targets) == 0 {
			for _, t := range slices.Collect(state.Targets.By(r, "target group", g.ARN)) {
				describe(t, targetHealth(t, used))
			}
		}
		for _, d := range in.Targets {
			asked := state.Target{ID: *d.Id, Port: or(d.Port, g.Port)}
			if t, ok := state.Targets.Get(r, state.TargetKey(g.ARN, asked.ID, asked.Port)); ok {
				describe(t, targetHealth(t, used))
			} else {
				describe(asked, health(types.TargetHealthStateEnumUnused, types.TargetHealthReasonEnumNotRegistered))
			}
		}
		return nil
	})
}

// targetHealth is what is said of a target: used is whether a listener leads to its group.
func targetHealth(t state.Target, used bool) *types.TargetHealth {
	switch h := t.Health; {
	case !t.DrainingSince.IsZero():
		return health(types.TargetHealthStateEnumDraining, types.TargetHealthReasonEnumDeregistrationInProgress)
	case !used: // it is not probed, whatever was found before
		return health(types.TargetHealthStateEnumUnused, types.TargetHealthReasonEnumNotInUse)
	case h.State == "":
		return health(types.TargetHealthStateEnumInitial, types.TargetHealthReasonEnumRegistrationInProgress)
	default:
		is := &types.TargetHealth{State: h.State, Reason: h.Reason, Description: some(h.Description)}
		if is.Description == nil && h.Reason != "" {
			is.Description = ptr(healthDescriptions[h.Reason])
		}
		return is
	}
}
