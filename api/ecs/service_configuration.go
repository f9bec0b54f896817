package ecs

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/document"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// What a deployment configuration holds where the request does not say, and its limits. API Reference,
// "DeploymentConfiguration", "LinearConfiguration", "CanaryConfiguration", "DeploymentLifecycleHookTimeoutConfiguration".
const (
	maxBakeMinutes    = 24 * 60
	defaultHookTime   = 24 * 60 // minutes
	maxHookTime       = 14 * 24 * 60
	maxLifecycleHooks = 10

	defaultStepPercent   = 10.0
	minStepPercent       = 3.0
	defaultStepMinutes   = 6
	defaultCanaryPercent = 5.0
	minCanaryPercent     = 0.1
	defaultCanaryMinutes = 10
	// maxMaximumPercent bounds how many times its size a service may have while it is deployed.
	maxMaximumPercent = 1000
)

// deploymentConfiguration is a service's deployment configuration as it is kept: checked, with what holds where the
// request does not say, and with the details of its hooks beside it.
func deploymentConfiguration(asked *types.DeploymentConfiguration, scheduling types.SchedulingStrategy) (types.DeploymentConfiguration, []string, error) {
	var c types.DeploymentConfiguration
	if asked != nil {
		c = *asked
	}
	if c.Strategy == "" {
		c.Strategy = types.DeploymentStrategyRolling
	}
	if c.BakeTimeInMinutes == nil {
		c.BakeTimeInMinutes = ptr(int32(0))
	}
	if c.DeploymentCircuitBreaker == nil {
		c.DeploymentCircuitBreaker = &types.DeploymentCircuitBreaker{}
	}
	daemon := scheduling == types.SchedulingStrategyDaemon
	if c.MinimumHealthyPercent == nil {
		c.MinimumHealthyPercent = ptr(int32(100))
		if daemon {
			c.MinimumHealthyPercent = ptr(int32(0))
		}
	}
	if c.MaximumPercent == nil {
		c.MaximumPercent = ptr(int32(200))
		if daemon {
			c.MaximumPercent = ptr(int32(100))
		}
	}
	if err := checkPercents(c, daemon); err != nil {
		return c, nil, err
	}
	if err := checkBreaker(c.DeploymentCircuitBreaker); err != nil {
		return c, nil, err
	}
	if err := checkEarlySuccess(c); err != nil {
		return c, nil, err
	}
	if *c.BakeTimeInMinutes < 0 || *c.BakeTimeInMinutes > maxBakeMinutes {
		return c, nil, invalid("bakeTimeInMinutes must be between 0 and %d.", maxBakeMinutes)
	}
	if err := completeShift(&c); err != nil {
		return c, nil, err
	}
	if daemon && c.Strategy != types.DeploymentStrategyRolling {
		return c, nil, invalid("The daemon scheduling strategy does not support the %s deployment strategy.", c.Strategy)
	}
	details, err := completeHooks(&c)
	return c, details, err
}

func checkPercents(c types.DeploymentConfiguration, daemon bool) error {
	minimum, maximum := *c.MinimumHealthyPercent, *c.MaximumPercent
	switch {
	case minimum < 0 || minimum > 100:
		return invalid("minimumHealthyPercent must be between 0 and 100.")
	case daemon && maximum > 100:
		return invalid("The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment configuration. Change the maximumPercent value to 100, and try again")
	case maximum < 100 || maximum > maxMaximumPercent:
		return invalid("maximumPercent must be between 100 and %d.", maxMaximumPercent)
	case minimum == 100 && maximum == 100:
		return invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.")
	}
	return nil
}

func checkBreaker(b *types.DeploymentCircuitBreaker) error {
	t := b.ThresholdConfiguration
	switch {
	case t == nil:
	case t.Type == "":
		return invalid("The type of a thresholdConfiguration must be one of [COUNT, BOUNDED_PERCENT, UNBOUNDED_PERCENT]")
	case t.Value < 1:
		return invalid("The value of a thresholdConfiguration must be at least 1.")
	}
	return nil
}

func checkEarlySuccess(c types.DeploymentConfiguration) error {
	e := c.EarlySuccessCriteria
	switch {
	case e == nil || !e.Enable:
	case c.Strategy != types.DeploymentStrategyRolling:
		return invalid("earlySuccessCriteria can only be used with the ROLLING deployment strategy.")
	case e.HealthyPercent == nil || e.SourceServiceRevisionCleanup == "":
		return invalid("healthyPercent and sourceServiceRevisionCleanup must be specified when earlySuccessCriteria is enabled.")
	case *e.HealthyPercent < 0 || *e.HealthyPercent > 100:
		return invalid("healthyPercent must be between 0 and 100.")
	case *e.HealthyPercent < *c.MinimumHealthyPercent:
		return invalid("healthyPercent must be greater than or equal to minimumHealthyPercent.")
	}
	return nil
}

// completeShift checks what concerns the strategies that shift traffic in steps.
func completeShift(c *types.DeploymentConfiguration) error {
	if c.LinearConfiguration != nil && c.Strategy != types.DeploymentStrategyLinear {
		return invalid("linearConfiguration is only valid when the deployment strategy is LINEAR.")
	}
	if c.CanaryConfiguration != nil && c.Strategy != types.DeploymentStrategyCanary {
		return invalid("canaryConfiguration is only valid when the deployment strategy is CANARY.")
	}
	switch c.Strategy {
	case types.DeploymentStrategyLinear:
		l := types.LinearConfiguration{StepPercent: ptr(defaultStepPercent), StepBakeTimeInMinutes: ptr(int32(defaultStepMinutes))}
		if a := c.LinearConfiguration; a != nil {
			l = types.LinearConfiguration{StepPercent: either(a.StepPercent, l.StepPercent), StepBakeTimeInMinutes: either(a.StepBakeTimeInMinutes, l.StepBakeTimeInMinutes)}
		}
		c.LinearConfiguration = &l
		return checkStep("stepPercent", *l.StepPercent, minStepPercent, "stepBakeTimeInMinutes", *l.StepBakeTimeInMinutes)
	case types.DeploymentStrategyCanary:
		l := types.CanaryConfiguration{CanaryPercent: ptr(defaultCanaryPercent), CanaryBakeTimeInMinutes: ptr(int32(defaultCanaryMinutes))}
		if a := c.CanaryConfiguration; a != nil {
			l = types.CanaryConfiguration{CanaryPercent: either(a.CanaryPercent, l.CanaryPercent), CanaryBakeTimeInMinutes: either(a.CanaryBakeTimeInMinutes, l.CanaryBakeTimeInMinutes)}
		}
		c.CanaryConfiguration = &l
		return checkStep("canaryPercent", *l.CanaryPercent, minCanaryPercent, "canaryBakeTimeInMinutes", *l.CanaryBakeTimeInMinutes)
	}
	return nil
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func checkStep(name string, percent, least float64, bake string, minutes int32) error {
	tenths := percent * 10
	switch {
	case percent < least || percent > 100 || math.Abs(tenths-math.Round(tenths)) > 1e-6:
		return invalid("%s must be a multiple of 0.1 between %.1f and 100.0.", name, least)
	case minutes < 0 || minutes > maxBakeMinutes:
		return invalid("%s must be between 0 and %d.", bake, maxBakeMinutes)
	}
	return nil
}

// completeHooks checks the lifecycle hooks, and takes their details out. A hook of Havn's own is called over HTTP: it
// names a URL where ECS has a Lambda function's ARN.
func completeHooks(c *types.DeploymentConfiguration) ([]string, error) {
	if len(c.LifecycleHooks) == 0 {
		return nil, nil
	}
	if c.Strategy == types.DeploymentStrategyRolling {
		return nil, invalid("lifecycleHooks are not supported with the ROLLING deployment strategy.")
	}
	if len(c.LifecycleHooks) > maxLifecycleHooks {
		return nil, invalid("lifecycleHooks can have at most %d items.", maxLifecycleHooks)
	}
	c.LifecycleHooks = slices.Clone(c.LifecycleHooks)
	details := make([]string, len(c.LifecycleHooks))
	for n := range c.LifecycleHooks {
		h := &c.LifecycleHooks[n]
		if h.TargetType == "" {
			h.TargetType = types.DeploymentLifecycleHookTargetTypeAwsLambda
		}
		if err := checkHook(*h); err != nil {
			return nil, err
		}
		if h.HookDetails != nil {
			text, err := h.HookDetails.MarshalSmithyDocument()
			if err != nil {
				return nil, fmt.Errorf("cannot keep a lifecycle hook's details: %w", err)
			}
			details[n], h.HookDetails = string(text), nil
		}
	}
	if !slices.ContainsFunc(details, func(d string) bool { return d != "" }) {
		details = nil
	}
	return details, nil
}

func checkHook(h types.DeploymentLifecycleHook) error {
	target := deref(h.HookTargetArn)
	if len(h.LifecycleStages) == 0 {
		return invalid("lifecycleStages can not be empty in a lifecycle hook.")
	}
	if h.TargetType == types.DeploymentLifecycleHookTargetTypePause {
		for _, stage := range h.LifecycleStages {
			if stage == types.DeploymentLifecycleHookStageTestTrafficShift || stage == types.DeploymentLifecycleHookStageProductionTrafficShift {
				return invalid("PAUSE lifecycle hooks cannot be configured at the %s stage.", stage)
			}
		}
		if target != "" || h.HookDetails != nil {
			return invalid("hookTargetArn and hookDetails are not applicable to PAUSE lifecycle hooks.")
		}
	} else {
		u, err := url.Parse(target)
		switch {
		case target == "":
			return invalid("hookTargetArn must be specified for a lifecycle hook.")
		case strings.HasPrefix(target, "arn:"):
			return unsupported("Havn cannot call Lambda functions. Let hookTargetArn of a lifecycle hook be the http:// or https:// URL of what is to decide: deploymentConfiguration.lifecycleHooks.hookTargetArn (%s). See docs/coverage.md.", target)
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return invalid("hookTargetArn of a lifecycle hook must be an http:// or https:// URL: %s", target)
		}
	}
	if t := h.TimeoutConfiguration; t != nil && t.TimeoutInMinutes != nil && (*t.TimeoutInMinutes < 1 || *t.TimeoutInMinutes > maxHookTime) {
		return invalid("timeoutInMinutes of a lifecycle hook must be between 1 and %d.", maxHookTime)
	}
	return nil
}

// describeConfiguration is a deployment configuration as ECS prints it: with its hooks' details in it again.
func describeConfiguration(c types.DeploymentConfiguration, details []string) *types.DeploymentConfiguration {
	c.LifecycleHooks = slices.Clone(c.LifecycleHooks)
	for n := range min(len(details), len(c.LifecycleHooks)) {
		var v any
		if details[n] != "" && json.Unmarshal([]byte(details[n]), &v) == nil {
			c.LifecycleHooks[n].HookDetails = document.NewLazyDocument(v)
		}
	}
	return &c
}
