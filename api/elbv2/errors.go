package elbv2

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/wire"
)

// The sentences are those of Elastic Load Balancing where they are known.

// invalid is a ValidationError, for which the model has no exception.
func invalid(format string, args ...any) error {
	return &wire.Error{Fault: wire.BadInput, Message: fmt.Sprintf(format, args...)}
}

func badConfiguration(format string, args ...any) error {
	return &types.InvalidConfigurationRequestException{Message: ptr(fmt.Sprintf(format, args...))}
}

// unsupported refuses what Elastic Load Balancing has and Havn does not do, by its name and with the reason.
func unsupported(what, reason string) error {
	return badConfiguration("Havn does not support %s: %s.", what, reason)
}

func balancerNotFound(arn string) error {
	return &types.LoadBalancerNotFoundException{Message: ptr("Load balancer '" + arn + "' not found")}
}

func listenerNotFound(arn string) error {
	return &types.ListenerNotFoundException{Message: ptr("Listener '" + arn + "' not found")}
}

func ruleNotFound(arn string) error {
	return &types.RuleNotFoundException{Message: ptr("Rule '" + arn + "' not found")}
}

func groupNotFound(arn string) error {
	return &types.TargetGroupNotFoundException{Message: ptr("Target group '" + arn + "' not found")}
}

func notPermitted(format string, args ...any) error {
	return &types.OperationNotPermittedException{Message: ptr(fmt.Sprintf(format, args...))}
}

func ptr[T any](v T) *T { return &v }

// deref is what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// or is what p points to, or other.
func or[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}

func some(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
