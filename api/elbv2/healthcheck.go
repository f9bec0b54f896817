package elbv2

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// healthInput are the members on health checks, which CreateTargetGroup and ModifyTargetGroup have in common.
type healthInput struct {
	enabled            *bool
	protocol           types.ProtocolEnum
	port, path         *string
	interval, timeout  *int32
	healthy, unhealthy *int32
	matcher            *types.Matcher
}

// setHealthCheck changes what the input names, and fills in the defaults of a new group (CreateTargetGroup; Target group
// health checks).
func setHealthCheck(g *state.TargetGroup, in healthInput) error {
	h := g.HealthCheck
	if h.Protocol == "" { // a new one
		h = state.HealthCheck{Enabled: true, Port: "traffic-port", IntervalSeconds: 30, Healthy: 5, Unhealthy: 2}
		switch {
		case in.protocol != "":
			h.Protocol = in.protocol
		case overHTTP(g.Protocol):
			h.Protocol = types.ProtocolEnumHttp
		default:
			h.Protocol = types.ProtocolEnumTcp
		}
		switch {
		case overHTTP(g.Protocol):
			h.TimeoutSeconds = 5
		case h.Protocol == types.ProtocolEnumHttp:
			h.TimeoutSeconds = 6
		default:
			h.TimeoutSeconds = 10
		}
	}
	if in.protocol != "" {
		h.Protocol = in.protocol
	}
	if in.enabled != nil && !*in.enabled {
		return invalid("Health check enabled must be true for target groups with target type '%s'", g.Type)
	}
	switch h.Protocol {
	case types.ProtocolEnumHttp, types.ProtocolEnumHttps:
	case types.ProtocolEnumTcp:
		if overHTTP(g.Protocol) {
			return invalid("Health check protocol 'TCP' is not supported for target groups with the protocol '%s'", g.Protocol)
		}
	default:
		return invalid("Health check protocol '%s' must be one of 'HTTP, HTTPS, TCP'", h.Protocol)
	}
	if h.Port = or(in.port, h.Port); h.Port != "traffic-port" {
		if n, err := strconv.Atoi(h.Port); err != nil || n < 1 || n > 65535 {
			return invalid("Health check port '%s' must be 'traffic-port' or between '1' and '65535'", h.Port)
		}
	}
	h.IntervalSeconds, h.TimeoutSeconds = or(in.interval, h.IntervalSeconds), or(in.timeout, h.TimeoutSeconds)
	h.Healthy, h.Unhealthy = or(in.healthy, h.Healthy), or(in.unhealthy, h.Unhealthy)
	if h.TimeoutSeconds > h.IntervalSeconds || in.timeout != nil && h.TimeoutSeconds == h.IntervalSeconds {
		return invalid("Health check timeout '%d' must be smaller than the interval '%d'", h.TimeoutSeconds, h.IntervalSeconds)
	}
	if err := setAnswer(g, &h, in); err != nil {
		return err
	}
	g.HealthCheck = h
	return nil
}

// setAnswer changes what is asked for, and which answers mean health. A probe of TCP has neither.
func setAnswer(g *state.TargetGroup, h *state.HealthCheck, in healthInput) error {
	if !overHTTP(h.Protocol) {
		if in.path != nil || in.matcher != nil {
			return invalid("Health check path and matcher cannot be specified for the health check protocol '%s'", h.Protocol)
		}
		h.Path, h.HTTPCodes, h.GRPCCodes, h.MatcherSpecified = "", "", "", false
		return nil
	}
	grpc := g.ProtocolVersion == "GRPC"
	if h.Path == "" {
		h.Path = "/"
		if grpc {
			h.Path = "/AWS.ALB/healthcheck"
		}
	}
	if h.Path = or(in.path, h.Path); !strings.HasPrefix(h.Path, "/") {
		return invalid("Health check path '%s' must begin with a '/' character", h.Path)
	}
	if m := in.matcher; m != nil {
		h.MatcherSpecified = true
		switch {
		case grpc && (m.HttpCode != nil || m.GrpcCode == nil):
			return invalid("A gRPC code must be specified for target groups with the protocol version GRPC")
		case !grpc && (m.GrpcCode != nil || m.HttpCode == nil):
			return invalid("An HTTP code must be specified")
		}
		h.HTTPCodes, h.GRPCCodes = deref(m.HttpCode), deref(m.GrpcCode)
	}
	switch {
	case grpc:
		if h.GRPCCodes == "" {
			h.GRPCCodes = "12" // UNIMPLEMENTED
		}
		return checkCodes(h.GRPCCodes, 0, 99)
	case overHTTP(g.Protocol):
		if h.HTTPCodes == "" {
			h.HTTPCodes = "200"
		}
		return checkCodes(h.HTTPCodes, 200, 499)
	}
	if h.HTTPCodes == "" {
		h.HTTPCodes = "200-399"
	}
	return checkCodes(h.HTTPCodes, 200, 599)
}

// checkCodes refuses what is no list of codes and ranges of codes: 200,202 or 200-299 (Matcher).
func checkCodes(text string, low, high int) error {
	for each := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(each, "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a > b {
			return invalid("Health check matcher code '%s' is not valid", text)
		}
		if a < low || b > high {
			return invalid("Health check matcher code '%s' must be within the range '%d-%d'", text, low, high)
		}
	}
	return nil
}
