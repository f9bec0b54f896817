package ecs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/document"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"pgregory.net/rapid"

	"havn/state"
)

const balancing = "arn:aws:elasticloadbalancing:" + region + ":" + account + ":"

// A tool that describes a service, and asks for what it was told, must find it as it is: nothing that was asked for is
// lost, and nothing is shown that was not.
func TestADescribedServiceIsAskedForAgain(t *testing.T) {
	w := newWorld(t, time.Now)
	balanced(t, w)
	if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RegisterTaskDefinition(ctx, web()); err != nil {
		t.Fatal(err)
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		in := someService(t, fmt.Sprintf("s%d", n))
		if _, err := w.CreateService(ctx, in); err != nil {
			t.Fatalf("%s: %v", text2(in), err)
		}
		described := describe(t, w, *in.ServiceName)
		again := &sdk.CreateServiceInput{
			ServiceName: described.ServiceName, TaskDefinition: described.TaskDefinition, LaunchType: described.LaunchType,
			SchedulingStrategy: described.SchedulingStrategy, DeploymentController: described.DeploymentController,
			DeploymentConfiguration: described.DeploymentConfiguration, LoadBalancers: described.LoadBalancers,
			PlacementConstraints: described.PlacementConstraints, PlacementStrategy: described.PlacementStrategy,
			HealthCheckGracePeriodSeconds: described.HealthCheckGracePeriodSeconds, PropagateTags: described.PropagateTags,
			EnableECSManagedTags: described.EnableECSManagedTags, Tags: described.Tags, Role: described.RoleArn,
			AvailabilityZoneRebalancing: described.AvailabilityZoneRebalancing,
			NetworkConfiguration:        described.NetworkConfiguration, ServiceRegistries: described.ServiceRegistries,
		}
		if described.SchedulingStrategy == types.SchedulingStrategyReplica {
			again.DesiredCount = &described.DesiredCount
		}
		if _, err := w.CreateService(ctx, again); err != nil {
			t.Fatalf("%s, described as %s: %v", text2(in), text2(again), err)
		}
		// An update with all of it makes no deployment and changes nothing.
		_, err := w.UpdateService(ctx, &sdk.UpdateServiceInput{
			Service: described.ServiceName, TaskDefinition: described.TaskDefinition, DesiredCount: again.DesiredCount,
			DeploymentConfiguration: described.DeploymentConfiguration, LoadBalancers: described.LoadBalancers,
			PlacementConstraints: described.PlacementConstraints, PlacementStrategy: described.PlacementStrategy,
			HealthCheckGracePeriodSeconds: described.HealthCheckGracePeriodSeconds, PropagateTags: described.PropagateTags,
			EnableECSManagedTags: &described.EnableECSManagedTags, AvailabilityZoneRebalancing: described.AvailabilityZoneRebalancing,
			ServiceRegistries: described.ServiceRegistries,
		})
		if err != nil {
			t.Fatalf("%s: %v", text2(described), err)
		}
		if before, after := text2(described), text2(describe(t, w, *in.ServiceName)); before != after {
			t.Fatalf("an update with what there is changes it:\n%s\n%s", before, after)
		}
		for name, list := range map[string]any{"loadBalancers": described.LoadBalancers, "serviceRegistries": described.ServiceRegistries, "events": described.Events,
			"placementConstraints": described.PlacementConstraints, "placementStrategy": described.PlacementStrategy, "deployments": described.Deployments} {
			if text2(list) == "null" {
				t.Fatalf("%s is left out", name)
			}
		}
		if _, err := w.DeleteService(ctx, &sdk.DeleteServiceInput{Service: in.ServiceName, Force: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	})
}

func describe(t *rapid.T, w *world, name string) types.Service {
	out, err := w.DescribeServices(ctx, &sdk.DescribeServicesInput{Services: []string{name}, Include: []types.ServiceField{types.ServiceFieldTags}})
	if err != nil || len(out.Services) != 1 {
		t.Fatalf("%v, %v", out, err)
	}
	return out.Services[0]
}

func text2(v any) string { return text(&testing.T{}, v) }

// balanced writes two target groups, and a listener that leads to one.
func balanced(t *testing.T, w *world) {
	w.put(t, func(tx *state.Tx) {
		for _, name := range []string{"blue", "green"} {
			state.TargetGroups.Put(tx, state.TargetGroup{ARN: balancing + "targetgroup/" + name + "/1", Name: name, Type: elb.TargetTypeEnumInstance})
		}
		state.Listeners.Put(tx, state.Listener{ARN: balancing + "listener/app/lb/1/1", DefaultActions: []elb.Action{
			{Type: elb.ActionTypeEnumForward, TargetGroupArn: aws.String(balancing + "targetgroup/blue/1")}}})
	})
}

// someService is a request that is as it should be.
func someService(t *rapid.T, name string) *sdk.CreateServiceInput {
	in := &sdk.CreateServiceInput{ServiceName: &name, TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(rapid.Int32Range(0, 5).Draw(t, "desired"))}
	coin := rapid.Bool()
	daemon := coin.Draw(t, "daemon")
	if daemon {
		in.SchedulingStrategy, in.DesiredCount = types.SchedulingStrategyDaemon, nil
	}
	if coin.Draw(t, "tags") {
		in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
		in.PropagateTags = rapid.SampledFrom([]types.PropagateTags{"", "NONE", "SERVICE", "TASK_DEFINITION"}).Draw(t, "propagate")
		in.EnableECSManagedTags = coin.Draw(t, "managed")
	}
	if coin.Draw(t, "grace") {
		in.HealthCheckGracePeriodSeconds = aws.Int32(30)
	}
	if coin.Draw(t, "constraint") {
		in.PlacementConstraints = []types.PlacementConstraint{{Type: "memberOf", Expression: aws.String("attribute:x == y")}}
	}
	if !daemon && coin.Draw(t, "strategy") {
		in.PlacementStrategy = []types.PlacementStrategy{{Type: "binpack", Field: aws.String("memory")}}
	}
	blue := types.LoadBalancer{TargetGroupArn: aws.String(balancing + "targetgroup/blue/1"), ContainerName: aws.String("web"), ContainerPort: aws.Int32(80)}
	if coin.Draw(t, "balanced") {
		in.LoadBalancers = []types.LoadBalancer{blue}
	}
	if !coin.Draw(t, "configured") {
		return in
	}
	c := &types.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(rapid.Int32Range(0, 99).Draw(t, "minimum"))}
	if coin.Draw(t, "breaker") {
		c.DeploymentCircuitBreaker = &types.DeploymentCircuitBreaker{Enable: true, Rollback: true,
			ThresholdConfiguration: &types.ThresholdConfiguration{Type: types.ThresholdTypeCount, Value: 7}}
	}
	in.DeploymentConfiguration = c
	if daemon {
		return in
	}
	c.MaximumPercent = aws.Int32(rapid.Int32Range(100, 300).Draw(t, "maximum"))
	if c.Strategy = rapid.SampledFrom(append(c.Strategy.Values(), "")).Draw(t, "deployment"); c.Strategy == "" || c.Strategy == types.DeploymentStrategyRolling {
		return in
	}
	blue.AdvancedConfiguration = &types.AdvancedConfiguration{AlternateTargetGroupArn: aws.String(balancing + "targetgroup/green/1"),
		ProductionListenerRule: aws.String(balancing + "listener/app/lb/1/1"), RoleArn: aws.String("arn:aws:iam::" + account + ":role/r")}
	in.LoadBalancers = []types.LoadBalancer{blue}
	if coin.Draw(t, "hook") {
		c.LifecycleHooks = []types.DeploymentLifecycleHook{
			{TargetType: types.DeploymentLifecycleHookTargetTypePause, LifecycleStages: []types.DeploymentLifecycleHookStage{"POST_SCALE_UP"},
				TimeoutConfiguration: &types.DeploymentLifecycleHookTimeoutConfiguration{TimeoutInMinutes: aws.Int32(5)}},
			{HookTargetArn: aws.String("https://example.org/hook"), LifecycleStages: []types.DeploymentLifecycleHookStage{"PRE_SCALE_UP"},
				HookDetails: document.NewLazyDocument(map[string]any{"a": []any{"b", 1}})},
		}
	}
	return in
}
