package control

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/rollout"
	"havn/state"
)

// What becomes of the traffic of a service is a part of its deployment: the weights at its listeners are written in the
// transaction that decides.
//
//	                        +-- weight --> primary target group <--- blue's tasks     and the other way round
//	production rule ---+                                                            at the next deployment
//	                        +-- weight --> alternate target group <- green's tasks

// The time that a hook has, and what is done after it, where nobody says. API Reference,
// "DeploymentLifecycleHookTimeoutConfiguration".
const defaultHookMinutes = 24 * 60

// shifts reports whether deployments of that configuration move traffic between target groups.
func shifts(c types.DeploymentConfiguration) bool {
	switch c.Strategy {
	case types.DeploymentStrategyBlueGreen, types.DeploymentStrategyLinear, types.DeploymentStrategyCanary:
		return true
	}
	return false
}

// begin is a deployment as it begins: it knows which revision serves, and its own stands in the target groups that this
// one leaves free. A rolling one stays where the serving one is, which may be an alternate target group.
func begin(tx *state.Tx, d state.ServiceDeployment) state.ServiceDeployment {
	revision, ok := state.ServiceRevisions.Get(tx, d.RevisionARN)
	if !ok {
		return d
	}
	before := lastBegun(tx, d)
	plan := rollout.Begin(deploymentOf(d, rollout.Settings{}), deploymentOf(before, rollout.Settings{Strategy: rollout.Strategy(before.Configuration.Strategy)}))
	serving, _ := state.ServiceRevisions.Get(tx, plan.Blue)
	if groups := groupsBeside(revision, serving, shifts(d.Configuration)); groups != nil {
		revision.Groups = groups
		state.ServiceRevisions.Put(tx, revision)
	}
	if shifts(d.Configuration) {
		d.BlueARN, d.ProductionTraffic, d.TestTraffic = plan.Blue, plan.Production, plan.Test
	}
	return d
}

// lastBegun is the latest of a service's other deployments that had begun; the zero one, if none has.
func lastBegun(tx *state.Tx, d state.ServiceDeployment) (last state.ServiceDeployment) {
	for other := range state.ServiceDeployments.By(tx, "service", d.ServiceARN) {
		if other.ARN != d.ARN && !other.StartedAt.IsZero() && !other.CreatedAt.Before(last.CreatedAt) {
			last = other
		}
	}
	return last
}

// groupsBeside are the target groups for a revision that follows another one; nil = the primary ones.
func groupsBeside(revision, serving state.ServiceRevision, shift bool) []string {
	if len(serving.LoadBalancers) == 0 {
		return nil
	}
	groups := make([]string, len(revision.LoadBalancers))
	for i, l := range revision.LoadBalancers {
		groups[i] = aws.ToString(l.TargetGroupArn)
		pair := pairOf(l)
		for j, other := range serving.LoadBalancers {
			taken := serving.Group(j)
			switch {
			case shift && len(pair) == 2 && taken == pair[0]:
				groups[i] = pair[1]
			case !shift && slices.Contains(pairOf(other), groups[i]):
				groups[i] = taken
			}
		}
	}
	if !shift && slices.EqualFunc(groups, revision.LoadBalancers, func(g string, l types.LoadBalancer) bool { return g == aws.ToString(l.TargetGroupArn) }) {
		return nil
	}
	return groups
}

// pairOf are a load balancer's target groups: the primary one and, if there is one, the alternate one.
func pairOf(l types.LoadBalancer) []string {
	pair := []string{aws.ToString(l.TargetGroupArn)}
	if a := l.AdvancedConfiguration; a != nil && a.AlternateTargetGroupArn != nil {
		pair = append(pair, *a.AlternateTargetGroupArn)
	}
	return pair
}

// shiftSettings are those of the settings that concern traffic and hooks.
func (g *gathered) shiftSettings(s *rollout.Settings) {
	c := g.deployment.Configuration
	minutes := func(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Minute }
	if l := c.LinearConfiguration; l != nil {
		s.StepPercent, s.StepBake = aws.ToFloat64(l.StepPercent), minutes(l.StepBakeTimeInMinutes)
	}
	if l := c.CanaryConfiguration; l != nil {
		s.StepPercent, s.StepBake = aws.ToFloat64(l.CanaryPercent), minutes(l.CanaryBakeTimeInMinutes)
	}
	for _, l := range g.revision(g.deployment.RevisionARN).LoadBalancers {
		s.TestTraffic = s.TestTraffic || l.AdvancedConfiguration != nil && l.AdvancedConfiguration.TestListenerRule != nil
	}
	for _, h := range c.LifecycleHooks {
		hook := rollout.Hook{Pause: h.TargetType == types.DeploymentLifecycleHookTargetTypePause, Timeout: defaultHookMinutes * time.Minute}
		for _, stage := range h.LifecycleStages {
			hook.Stages = append(hook.Stages, string(stage))
		}
		if t := h.TimeoutConfiguration; t != nil {
			hook.OnTimeout = string(t.Action)
			if t.TimeoutInMinutes != nil {
				hook.Timeout = minutes(t.TimeoutInMinutes)
			}
		}
		s.Hooks = append(s.Hooks, hook)
	}
}

// hooksOf are the runs of a deployment's hooks, with what users said to them.
func hooksOf(d state.ServiceDeployment) (runs []rollout.HookRun) {
	for _, h := range d.Hooks {
		run := rollout.HookRun{
			ID: h.ID, Hook: h.Hook, Stage: string(h.Stage), Status: string(h.Status), Reason: h.Reason, StartedAt: h.StartedAt, EndsAt: h.EndsAt,
		}
		for _, a := range d.Answers {
			if a.HookID == h.ID {
				run.Answer = string(a.Action)
			}
		}
		runs = append(runs, run)
	}
	return runs
}

// hooksAfter are the runs as a plan wants them. New ones get their IDs here.
func hooksAfter(tx *state.Tx, d state.ServiceDeployment, planned []rollout.HookRun) []state.HookRun {
	runs := slices.Clone(d.Hooks)
	for i, h := range planned {
		if i == len(runs) {
			kind, callAt := "ecs-pause-", time.Time{}
			if h.Status == rollout.HookInProgress {
				kind, callAt = "ecs-http-", h.StartedAt
			}
			runs = append(runs, state.HookRun{
				ID: kind + tx.NewID(), Hook: h.Hook, Stage: types.DeploymentLifecycleHookStage(h.Stage),
				StartedAt: h.StartedAt, EndsAt: h.EndsAt, CallAt: callAt,
			})
		}
		runs[i].Status, runs[i].Reason = types.DeploymentLifecycleHookStatus(h.Status), h.Reason
	}
	return runs
}

// steer writes a deployment's shares of the traffic to the listeners. As long as nothing has served, what its user has
// set there stays.
func steer(tx *state.Tx, d state.ServiceDeployment) {
	revision, ok := state.ServiceRevisions.Get(tx, d.RevisionARN)
	if !ok {
		return
	}
	for i, l := range revision.LoadBalancers {
		pair := pairOf(l)
		if len(pair) != 2 {
			continue
		}
		for _, at := range []struct {
			rule  *string
			share float64
		}{{l.AdvancedConfiguration.ProductionListenerRule, d.ProductionTraffic}, {l.AdvancedConfiguration.TestListenerRule, d.TestTraffic}} {
			if actions, ok := state.ActionsAt(tx, aws.ToString(at.rule)); ok && (d.BlueARN != "" || at.share > 0) {
				state.SetActionsAt(tx, *at.rule, forwarding(actions, pair, revision.Group(i), at.share))
			}
		}
	}
}

// forwarding are actions that forward to a pair of target groups, one of which gets a share in percent.
func forwarding(actions []elb.Action, pair []string, group string, share float64) []elb.Action {
	actions = slices.Clone(actions)
	for i, a := range actions {
		if a.Type != elb.ActionTypeEnumForward {
			continue
		}
		var stickiness *elb.TargetGroupStickinessConfig
		if a.ForwardConfig != nil {
			stickiness = a.ForwardConfig.TargetGroupStickinessConfig
		}
		its, others := weights(share)
		f := &elb.ForwardActionConfig{TargetGroupStickinessConfig: stickiness}
		for _, arn := range pair {
			weight := others
			if arn == group {
				weight = its
			}
			f.TargetGroups = append(f.TargetGroups, elb.TargetGroupTuple{TargetGroupArn: aws.String(arn), Weight: aws.Int32(weight)})
		}
		actions[i].ForwardConfig, actions[i].TargetGroupArn = f, nil
	}
	return actions
}

// weights are a share in percent and the rest of it as whole numbers: of 100, or where that is too coarse, of 1000. A
// weight can be 999 at most.
func weights(share float64) (its, others int32) {
	whole := 100.0
	if tenths := math.Round(share * 10); math.Mod(tenths, 10) != 0 {
		whole = 1000
	}
	its = int32(math.Round(share * whole / 100))
	return its, int32(whole) - its
}

// unroutable is why the traffic of a deployment that is to shift it cannot be shifted; empty = it can. The words are of
// the Developer Guide, "Troubleshooting Amazon ECS blue/green deployments".
func (g *gathered) unroutable(tx *state.Tx) string {
	d := g.deployment
	if !shifts(d.Configuration) || !(rollout.Deployment{Status: string(d.Status)}).Open() {
		return ""
	}
	for _, l := range g.revision(d.RevisionARN).LoadBalancers {
		pair := pairOf(l)
		if len(pair) != 2 {
			continue
		}
		for _, at := range []struct {
			name, title string
			rule        *string
		}{
			{"productionListenerRule", "Production listener rule", l.AdvancedConfiguration.ProductionListenerRule},
			{"testListenerRule", "Test listener rule", l.AdvancedConfiguration.TestListenerRule},
		} {
			if at.rule == nil {
				continue
			}
			actions, ok := state.ActionsAt(tx, *at.rule)
			if !ok {
				return fmt.Sprintf("%s %s does not exist.", at.name, *at.rule)
			}
			serving := served(actions)
			for _, arn := range serving {
				if !slices.Contains(pair, arn) {
					return fmt.Sprintf("%s is forwarding traffic to unexpected target group %s. Expected traffic to be forwarded to either targetGroupArn: %s or alternateTargetGroupArn: %s",
						at.title, arn, pair[0], pair[1])
				}
			}
			switch fresh := d.Stage == "" && d.ProductionTraffic == 0 && at.name == "productionListenerRule"; {
			case slices.ContainsFunc(actions, func(a elb.Action) bool { return a.Type != elb.ActionTypeEnumForward }):
				return fmt.Sprintf("%s %s has actions that do not forward.", at.name, *at.rule)
			case fresh && len(serving) != 1:
				return fmt.Sprintf("%s %s should have exactly one target group serving traffic but found %d target groups which are serving traffic",
					at.name, *at.rule, len(serving))
			}
		}
	}
	return ""
}

// served are the target groups that actions forward to, but for those with the weight zero.
func served(actions []elb.Action) (arns []string) {
	for _, a := range actions {
		if a.ForwardConfig == nil || len(a.ForwardConfig.TargetGroups) == 0 {
			if a.TargetGroupArn != nil {
				arns = append(arns, *a.TargetGroupArn)
			}
			continue
		}
		for _, group := range a.ForwardConfig.TargetGroups {
			if alone := len(a.ForwardConfig.TargetGroups) == 1; alone || group.Weight == nil || *group.Weight > 0 {
				arns = append(arns, aws.ToString(group.TargetGroupArn))
			}
		}
	}
	return arns
}
