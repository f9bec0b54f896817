package ecs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/placement"
	"havn/state"
)

// The limits of a service. API Reference, "CreateService"; the desired count's is Havn's own.
const (
	maxServiceToken = 36
	maxDesired      = 100_000
)

// checkServiceRequest checks what can be judged of a CreateService alone.
func checkServiceRequest(in *ecs.CreateServiceInput) error {
	if !resourceName.MatchString(deref(in.ServiceName)) {
		return invalid(`Service name must match ^[a-zA-Z0-9\-_]{1,255}$, but was %s`, deref(in.ServiceName))
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	if err := refuseInService(unsupportedInService(in)); err != nil {
		return err
	}
	return nil
}

// refuseInService is refuseUnsupported for a service.
func refuseInService(members []string) error {
	if len(members) == 0 {
		return nil
	}
	return unsupported("Havn cannot run this service yet, because it cannot act on: %s. See docs/coverage.md.", strings.Join(members, ", "))
}

// checkService checks a service and the revision that is to be its next, whoever asks for them.
func (s *Server) checkService(src state.Source, service state.Service, revision state.ServiceRevision) error {
	if service.Desired < 0 || service.Desired > maxDesired {
		return invalid("desiredCount must be between 0 and %d.", maxDesired)
	}
	if service.GracePeriod != nil && *service.GracePeriod < 0 {
		return invalid("healthCheckGracePeriodSeconds must be between 0 and 2147483647.")
	}
	d, _ := state.TaskDefinitions.Get(src, revision.DefinitionARN)
	if _, err := placement.Constraints(d.Spec.PlacementConstraints, service.PlacementConstraints); err != nil {
		return invalid("%v", err)
	}
	if _, err := placement.Strategies(service.PlacementStrategy); err != nil {
		return invalid("%v", err)
	}
	if service.Scheduling == types.SchedulingStrategyDaemon {
		if err := checkDaemon(service, revision); err != nil {
			return err
		}
	}
	if service.Rebalancing == types.AvailabilityZoneRebalancingEnabled {
		if err := rebalanceable(service); err != nil {
			return err
		}
	}
	if service.Controller == types.DeploymentControllerTypeExternal {
		return checkExternal(service, revision)
	}
	return s.checkLoadBalancers(src, service, revision, d)
}

// checkDaemon checks what a service that has one task on each container instance leaves no choice of. Developer Guide,
// "Amazon ECS services", Daemon.
func checkDaemon(service state.Service, revision state.ServiceRevision) error {
	switch {
	case len(revision.CapacityProviderStrategy) > 0:
		return invalid("The daemon scheduling strategy does not support a capacity provider strategy. Remove the capacity provider strategy and try again")
	case service.Desired != 0:
		return errDaemonCount
	case len(service.PlacementStrategy) > 0:
		return invalid("The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try again")
	case service.Controller != types.DeploymentControllerTypeEcs:
		return invalid("The daemon scheduling strategy is not supported by the %s deployment controller.", service.Controller)
	}
	for _, c := range service.PlacementConstraints {
		if c.Type == types.PlacementConstraintTypeDistinctInstance {
			return invalid("The daemon scheduling strategy does not support the distinctInstance placement constraint. Remove it and try again")
		}
	}
	return nil
}

var errDaemonCount = invalid("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again")

// rebalanceable reports why the tasks of a service cannot be moved between availability zones. Developer Guide,
// "Balancing an Amazon ECS service across Availability Zones".
func rebalanceable(service state.Service) error {
	first := types.PlacementStrategy{Type: types.PlacementStrategyTypeSpread, Field: ptr("attribute:" + attributeZone)}
	if len(service.PlacementStrategy) > 0 {
		first = service.PlacementStrategy[0]
	}
	switch {
	case service.Scheduling == types.SchedulingStrategyDaemon:
		return invalid("Availability Zone rebalancing does not support the DAEMON scheduling strategy.")
	case service.Controller != types.DeploymentControllerTypeEcs:
		return invalid("Availability Zone rebalancing does not support the %s deployment controller.", service.Controller)
	case *service.Configuration.MaximumPercent <= 100:
		return invalid("Availability Zone rebalancing does not support services with a maximumPercent of 100 or less.")
	case first.Type != types.PlacementStrategyTypeSpread || deref(first.Field) != "attribute:"+attributeZone:
		return invalid("Availability Zone rebalancing only supports services whose first placement strategy is to spread over attribute:%s.", attributeZone)
	}
	for _, c := range service.PlacementConstraints {
		if strings.Contains(deref(c.Expression), attributeZone) {
			return invalid("Availability Zone rebalancing does not support placement constraints on attribute:%s.", attributeZone)
		}
	}
	return nil
}

// checkExternal: of a service with an external controller, what its tasks are made from is said for each task set.
// API Reference, "CreateService".
func checkExternal(service state.Service, revision state.ServiceRevision) error {
	c := service.Configuration
	if revision.DefinitionARN != "" || len(revision.LoadBalancers) > 0 || len(revision.CapacityProviderStrategy) > 0 {
		return invalid("The task definition and the load balancers of a service with an EXTERNAL deployment controller are specified for each task set.")
	}
	if *c.MinimumHealthyPercent != 100 || *c.MaximumPercent != 200 || c.Strategy != types.DeploymentStrategyRolling || c.DeploymentCircuitBreaker.Enable {
		return invalid("A deployment configuration can not be specified for a service with an EXTERNAL deployment controller.")
	}
	return nil
}

// serviceToken finds what an earlier request with the same token made, or else returns the token's record as it is to be.
func serviceToken(tx *state.Tx, c state.Cluster, in *ecs.CreateServiceInput, now time.Time) (token state.ClientToken, known bool, err error) {
	rest := *in
	rest.ClientToken = nil
	return requestToken(tx, "CreateService|"+c.ARN, deref(in.ClientToken), rest, now, "Creation of service was not idempotent.")
}

// requestToken does that for any request, of which rest is all but the token; other is what is said of another one with
// the same.
func requestToken(tx *state.Tx, of, text string, rest any, now time.Time, other string) (token state.ClientToken, known bool, err error) {
	if text == "" {
		return token, false, nil
	}
	if len(text) > maxServiceToken || strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' }) {
		return token, false, invalid("clientToken must be at most %d printable ASCII characters.", maxServiceToken)
	}
	content, err := json.Marshal(rest)
	if err != nil {
		return token, false, fmt.Errorf("cannot tell a request from others: %w", err)
	}
	sum := sha256.Sum256(content)
	made := state.ClientToken{Key: of + "|" + text, Fingerprint: hex.EncodeToString(sum[:]), CreatedAt: now}
	token, known = state.ClientTokens.Get(tx, made.Key)
	switch {
	case !known, now.Sub(token.CreatedAt) >= state.ClientTokenLife:
		return made, false, nil
	case token.Fingerprint != made.Fingerprint:
		return token, false, invalid("%s", other)
	}
	return token, true, nil
}
