package elbv2

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// Limits of forward actions (Quotas for your Application Load Balancers; ForwardActionConfig).
const (
	maxGroupsOfAction   = 5
	maxGroupsOfBalancer = 100
	maxWeight           = 999
	maxStickiness       = 604800
)

// forwarding is where actions are to be: which protocols go there.
type forwarding struct {
	balancer state.LoadBalancer
	protocol types.ProtocolEnum // of the listener
}

// actions checks the actions of a rule or a listener, and returns them with all that has a default filled in: a forward
// always has its ForwardConfig, with weights, and its TargetGroupArn when there is one group. That is how ELB describes
// them, however they were written.
func (s *Server) actions(tx *state.Tx, to forwarding, given []types.Action) ([]types.Action, error) {
	for _, a := range given {
		switch a.Type {
		case types.ActionTypeEnumAuthenticateCognito, types.ActionTypeEnumAuthenticateOidc:
			return nil, unsupported("actions of type "+string(a.Type), "Havn signs nobody in for your targets")
		case types.ActionTypeEnumJwtValidation:
			return nil, unsupported("actions of type jwt-validation", "Havn checks no tokens for your targets")
		}
		// The configuration of another type than the action's is not of the action, so nothing would come of it.
		if (a.FixedResponseConfig != nil) != (a.Type == types.ActionTypeEnumFixedResponse) ||
			(a.RedirectConfig != nil) != (a.Type == types.ActionTypeEnumRedirect) ||
			(a.ForwardConfig != nil || a.TargetGroupArn != nil) != (a.Type == types.ActionTypeEnumForward) ||
			a.AuthenticateCognitoConfig != nil || a.AuthenticateOidcConfig != nil || a.JwtValidationConfig != nil {
			return nil, &types.InvalidLoadBalancerActionException{Message: ptr(fmt.Sprintf(
				"An action of type '%s' must have the configuration of that type, and no other", a.Type))}
		}
	}
	switch len(given) {
	case 0:
		return nil, invalid("An action must be specified")
	case 1:
	default: // each of the three types that there are is final
		return nil, &types.InvalidLoadBalancerActionException{Message: ptr("You can only specify one final action of type 'forward', 'redirect' or 'fixed-response'")}
	}
	a := given[0]
	if to.balancer.Type == types.LoadBalancerTypeEnumNetwork && a.Type != types.ActionTypeEnumForward {
		return nil, &types.InvalidLoadBalancerActionException{Message: ptr(fmt.Sprintf(
			"Actions of type '%s' are not supported with network load balancers", a.Type))}
	}
	var err error
	switch a.Type {
	case types.ActionTypeEnumForward:
		a, err = s.forward(tx, to, a)
	case types.ActionTypeEnumRedirect:
		a, err = redirect(to, a)
	case types.ActionTypeEnumFixedResponse:
		err = checkFixedResponse(*a.FixedResponseConfig)
	}
	return []types.Action{a}, err
}

func (s *Server) forward(tx *state.Tx, to forwarding, a types.Action) (types.Action, error) {
	var config types.ForwardActionConfig
	if a.ForwardConfig != nil {
		config = *a.ForwardConfig
	}
	tuples := slices.Clone(config.TargetGroups)
	if a.TargetGroupArn != nil {
		switch {
		case len(tuples) == 0:
			tuples = []types.TargetGroupTuple{{TargetGroupArn: a.TargetGroupArn}}
		case len(tuples) > 1 || deref(tuples[0].TargetGroupArn) != *a.TargetGroupArn:
			return a, &types.InvalidLoadBalancerActionException{Message: ptr(
				"You can only specify one target group in ForwardConfig, the same as in TargetGroupArn, if you specify both")}
		}
	}
	switch {
	case len(tuples) == 0:
		return a, invalid("A target group ARN must be specified")
	case len(tuples) > maxGroupsOfAction:
		return a, &types.TooManyUniqueTargetGroupsPerLoadBalancerException{Message: ptr(fmt.Sprintf("An action can forward to at most %d target groups", maxGroupsOfAction))}
	}
	var seen []string
	for i, t := range tuples {
		arn := deref(t.TargetGroupArn)
		if slices.Contains(seen, arn) {
			return a, invalid("Target group '%s' was specified more than once", arn)
		}
		seen = append(seen, arn)
		if err := s.canForward(tx, to, arn); err != nil {
			return a, err
		}
		tuples[i].Weight = ptr(or(t.Weight, 1))
		if w := *tuples[i].Weight; w < 0 || w > maxWeight {
			return a, invalid("Weight '%d' must be between '0' and '%d'", w, maxWeight)
		}
	}
	sticky := types.TargetGroupStickinessConfig{Enabled: ptr(false)}
	if c := config.TargetGroupStickinessConfig; c != nil {
		sticky = types.TargetGroupStickinessConfig{Enabled: ptr(deref(c.Enabled)), DurationSeconds: c.DurationSeconds}
		if *sticky.Enabled && to.balancer.Type == types.LoadBalancerTypeEnumNetwork {
			return a, badConfiguration("Target group stickiness is not supported with network load balancers")
		}
		if *sticky.Enabled && c.DurationSeconds == nil {
			return a, invalid("Target group stickiness duration must be specified")
		}
		if d := or(c.DurationSeconds, 1); d < 1 || d > maxStickiness {
			return a, invalid("Target group stickiness duration must be between '1' and '%d' seconds", maxStickiness)
		}
	}
	a.TargetGroupArn = nil
	if len(tuples) == 1 {
		a.TargetGroupArn = tuples[0].TargetGroupArn
	}
	a.ForwardConfig = &types.ForwardActionConfig{TargetGroups: tuples, TargetGroupStickinessConfig: &sticky}
	return a, nil
}

// canForward refuses a target group that traffic of the listener cannot go to.
func (s *Server) canForward(tx *state.Tx, to forwarding, arn string) error {
	g, err := s.group(tx, arn)
	if err != nil {
		return err
	}
	if !goesTo(to.protocol, g.Protocol) {
		return &types.IncompatibleProtocolsException{Message: ptr(fmt.Sprintf(
			"Target group '%s' with protocol '%s' cannot be used with a listener with protocol '%s' of a load balancer of type '%s'", arn, g.Protocol, to.protocol, to.balancer.Type))}
	}
	if to.protocol == types.ProtocolEnumHttp && (g.ProtocolVersion == "GRPC" || g.ProtocolVersion == "HTTP2") {
		return badConfiguration("Listener protocol 'HTTP' is not supported with a target group with the protocol-version '%s'", g.ProtocolVersion)
	}
	for _, other := range usersOf(tx, arn) {
		if other != to.balancer.ARN {
			return &types.TargetGroupAssociationLimitException{Message: ptr(
				"The following target groups cannot be associated with more than one load balancer: " + arn)}
		}
	}
	return nil
}

// goesTo: "Listener protocols and target group protocols" (CreateListener; Target groups for your Network Load Balancers).
func goesTo(listener, group types.ProtocolEnum) bool {
	switch listener {
	case types.ProtocolEnumHttp, types.ProtocolEnumHttps:
		return group == types.ProtocolEnumHttp || group == types.ProtocolEnumHttps
	case types.ProtocolEnumTls:
		return group == types.ProtocolEnumTcp || group == types.ProtocolEnumTls
	}
	// A listener that takes one of the two transports may send it to a group that takes both.
	return group == listener || group == types.ProtocolEnumTcpUdp && (listener == types.ProtocolEnumTcp || listener == types.ProtocolEnumUdp)
}

// usersOf are the ARNs of the load balancers that send traffic to a target group, each once.
func usersOf(r state.Source, groupARN string) (arns []string) {
	add := func(arn string) {
		if !slices.Contains(arns, arn) {
			arns = append(arns, arn)
		}
	}
	for l := range state.Listeners.By(r, "target group", groupARN) {
		add(l.LoadBalancerARN)
	}
	for rule := range state.ListenerRules.By(r, "target group", groupARN) {
		if l, ok := state.Listeners.Peek(r, rule.ListenerARN); ok {
			add(l.LoadBalancerARN)
		}
	}
	slices.Sort(arns)
	return arns
}

// checkGroupsOfBalancer refuses that all actions of a load balancer, as the transaction has written them, lead to too
// many target groups.
func checkGroupsOfBalancer(tx *state.Tx, arn string) error {
	groups := map[string]bool{}
	add := func(actions []types.Action) {
		for _, g := range state.TargetGroupsOf(actions) {
			groups[g] = true
		}
	}
	for l := range state.Listeners.By(tx, "load balancer", arn) {
		add(l.DefaultActions)
		for rule := range state.ListenerRules.By(tx, "listener", l.ARN) {
			add(rule.Actions)
		}
	}
	if len(groups) > maxGroupsOfBalancer {
		return &types.TooManyUniqueTargetGroupsPerLoadBalancerException{Message: ptr(fmt.Sprintf("A load balancer can use at most %d target groups", maxGroupsOfBalancer))}
	}
	return nil
}

// redirect fills in what stays as it is in the request (RedirectActionConfig).
func redirect(to forwarding, a types.Action) (types.Action, error) {
	c := *a.RedirectConfig
	c.Protocol, c.Host, c.Port = ptr(or(c.Protocol, "#{protocol}")), ptr(or(c.Host, "#{host}")), ptr(or(c.Port, "#{port}"))
	c.Path, c.Query = ptr(or(c.Path, "/#{path}")), ptr(or(c.Query, "#{query}"))
	a.RedirectConfig = &c
	if !strings.HasPrefix(*c.Path, "/") {
		return a, invalid("The redirect path '%s' must start with '/'", *c.Path)
	}
	if *c.Port != "#{port}" {
		if n, err := strconv.Atoi(*c.Port); err != nil || n < 1 || n > 65535 {
			return a, invalid("The redirect port '%s' must be '#{port}' or between '1' and '65535'", *c.Port)
		}
	}
	if to.protocol == types.ProtocolEnumHttps && *c.Protocol == "HTTP" {
		return a, badConfiguration("You cannot redirect HTTPS to HTTP")
	}
	if *c.Host == "#{host}" && *c.Path == "/#{path}" && *c.Port == "#{port}" &&
		(*c.Protocol == "#{protocol}" || *c.Protocol == string(to.protocol)) {
		return a, &types.InvalidLoadBalancerActionException{Message: ptr(
			"The redirect configuration is not valid because it creates a loop: at least one of protocol, host, port and path must be changed")}
	}
	return a, nil
}

var contentTypes = []string{"text/plain", "text/css", "text/html", "application/javascript", "application/json"}

func checkFixedResponse(c types.FixedResponseActionConfig) error {
	if c.ContentType != nil && !slices.Contains(contentTypes, *c.ContentType) {
		return invalid("The ContentType must be one of:'%s'", strings.Join(contentTypes, "', '"))
	}
	return nil
}
