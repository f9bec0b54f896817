package ecs

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ECS answers most bad input with one of two exceptions, and which one is a matter of habit, not of
// logic: InvalidParameterException for a parameter that can be judged alone, ClientException for most of
// what is wrong with a task definition. The sentences are ECS's where they are known.

func clientError(format string, args ...any) error {
	return &types.ClientException{Message: ptr(fmt.Sprintf(format, args...))}
}

func invalid(format string, args ...any) error {
	return &types.InvalidParameterException{Message: ptr(fmt.Sprintf(format, args...))}
}

func unsupported(format string, args ...any) error {
	return &types.UnsupportedFeatureException{Message: ptr(fmt.Sprintf(format, args...))}
}

func limitExceeded(format string, args ...any) error {
	return &types.LimitExceededException{Message: ptr(fmt.Sprintf(format, args...))}
}

func clusterNotFound() error {
	return &types.ClusterNotFoundException{Message: ptr("Cluster not found.")}
}

var errClusterInactive = clientError("The referenced cluster was inactive.")

// unknownDefinition is how DescribeTaskDefinition and its like say that there is none.
func unknownDefinition() error { return clientError("Unable to describe task definition.") }

// definitionNotFound is how RunTask and its like say it.
func definitionNotFound() error { return clientError("TaskDefinition not found.") }

func definitionInactive() error { return clientError("TaskDefinition is inactive") }

func taskNotFound() error { return invalid("The referenced task was not found.") }

func instanceNotFound() error { return invalid("Referenced container instance not found.") }

func serviceNotFound() error {
	return &types.ServiceNotFoundException{Message: ptr("Service not found.")}
}

func serviceNotActive() error {
	return &types.ServiceNotActiveException{Message: ptr("Service was not ACTIVE.")}
}

func targetNotFound(what string) error {
	return &types.TargetNotFoundException{Message: ptr("The specified target wasn't found: " + what)}
}

func resourceNotFound(format string, args ...any) error {
	return &types.ResourceNotFoundException{Message: ptr(fmt.Sprintf(format, args...))}
}

// The reasons of a failure.
const (
	reasonMissing  = "MISSING"
	reasonInactive = "INACTIVE"
)

// missing is the failure of a reference to nothing.
func missing(arn string) types.Failure {
	return types.Failure{Arn: ptr(arn), Reason: ptr(reasonMissing)}
}

// inactive is the failure of a reference to what is there but has ended.
func inactive(arn string) types.Failure {
	return types.Failure{Arn: ptr(arn), Reason: ptr(reasonInactive)}
}

// atMost checks the length of a list of references in a request; every list has a limit, and an empty
// one is refused.
func atMost(limit, n int, what string) error {
	switch {
	case n == 0:
		return invalid("%s cannot be empty.", what)
	case n > limit:
		return invalid("%s can have at most %d items.", what, limit)
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

// deref is what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// present is p of a value, or nil for the zero value: members that are not known are left out of an answer.
func present[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}
