package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"havn/lifecycle"
	"havn/state"
)

// TestTraffic runs the transcripts of services whose traffic is shifted. Commands are those of TestDeploy, and:
//
//	rule NAME GROUP=WEIGHT...              of the listener "listener"; without weights, its default action: NAME is then its default rule
//	shifting NAME definition=D desired=N strategy=S [production=RULE] [test=RULE] [step=P] [pause=STAGE] [call=STAGE]
//	redeploy NAME [strategy=S]             a new revision, with the strategy from here on
//	healthy                                all tasks that run have healthy targets where they are to stand
//	answer NAME (CONTINUE|ROLLBACK)        to the last hook of its deployment
func TestTraffic(t *testing.T) {
	datadriven.Walk(t, "testdata/traffic", func(t *testing.T, path string) {
		w := &shiftingServices{services: &services{world: newWorld(t, All()...), shownEvents: map[string]string{}}, shown: map[string]string{}}
		w.update(func(tx *state.Tx) {
			state.Clusters.Put(tx, state.Cluster{ARN: arn("cluster", "c"), Name: "c", Status: "ACTIVE", CreatedAt: epoch})
			w.node(tx, "n", 10_000, "", false, false)
		})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			w.doShifting(t, d)
			w.pass(0)
			return cmp.Or(w.traffic()+w.news(), "nothing\n")
		})
	})
}

type shiftingServices struct {
	*services
	shown map[string]string
}

const testListener = "arn:aws:elasticloadbalancing:r:a:listener/app/b/1/2"

func (w *shiftingServices) doShifting(t *testing.T, d *datadriven.TestData) {
	value := func(key string) string {
		if arg, ok := d.Arg(key); ok {
			return arg.Vals[0]
		}
		return ""
	}
	name := ""
	if len(d.CmdArgs) > 0 {
		name = d.CmdArgs[0].Key
	}
	switch d.Cmd {
	case "rule":
		w.update(func(tx *state.Tx) {
			actions := []elb.Action{{Type: elb.ActionTypeEnumForward, ForwardConfig: &elb.ForwardActionConfig{}}}
			for _, arg := range d.CmdArgs[1:] {
				var weight int32
				fmt.Sscan(arg.Vals[0], &weight)
				actions[0].ForwardConfig.TargetGroups = append(actions[0].ForwardConfig.TargetGroups,
					elb.TargetGroupTuple{TargetGroupArn: aws.String(arg.Key), Weight: aws.Int32(weight)})
			}
			if name == "default" {
				state.Listeners.Put(tx, state.Listener{ARN: testListener, Port: 80, DefaultActions: actions})
			} else {
				state.ListenerRules.Put(tx, state.ListenerRule{ARN: name, ListenerARN: testListener, Actions: actions})
			}
		})
	case "shifting":
		w.update(func(tx *state.Tx) {
			var desired int32
			fmt.Sscan(value("desired"), &desired)
			s := state.Service{ARN: arn("service", "c/"+name), Name: name, ClusterARN: arn("cluster", "c"), Status: "ACTIVE", CreatedAt: w.now,
				Scheduling: types.SchedulingStrategyReplica, Controller: types.DeploymentControllerTypeEcs, Desired: desired,
				Configuration: types.DeploymentConfiguration{Strategy: types.DeploymentStrategy(value("strategy"))}}
			if step := value("step"); step != "" {
				var percent float64
				fmt.Sscan(step, &percent)
				s.Configuration.LinearConfiguration = &types.LinearConfiguration{StepPercent: &percent, StepBakeTimeInMinutes: aws.Int32(1)}
			}
			if stage := value("pause"); stage != "" {
				s.Configuration.LifecycleHooks = append(s.Configuration.LifecycleHooks, types.DeploymentLifecycleHook{
					TargetType: types.DeploymentLifecycleHookTargetTypePause, LifecycleStages: []types.DeploymentLifecycleHookStage{types.DeploymentLifecycleHookStage(stage)}})
			}
			if stage := value("call"); stage != "" {
				s.Configuration.LifecycleHooks = append(s.Configuration.LifecycleHooks, types.DeploymentLifecycleHook{
					HookTargetArn: aws.String("http://hook"), LifecycleStages: []types.DeploymentLifecycleHookStage{types.DeploymentLifecycleHookStage(stage)}})
			}
			w.redeploy(tx, s, value("definition"), &types.AdvancedConfiguration{
				AlternateTargetGroupArn: aws.String("green"), ProductionListenerRule: ptrTo(value("production")), TestListenerRule: ptrTo(value("test"))})
		})
	case "redeploy":
		w.update(func(tx *state.Tx) {
			s, _ := state.Services.Get(tx, arn("service", "c/"+name))
			d, _ := state.ServiceDeployments.Get(tx, s.DeploymentARN)
			r, _ := state.ServiceRevisions.Get(tx, d.RevisionARN)
			if strategy := value("strategy"); strategy != "" {
				s.Configuration.Strategy = types.DeploymentStrategy(strategy)
			}
			w.redeploy(tx, s, lastPart(r.DefinitionARN), r.LoadBalancers[0].AdvancedConfiguration)
		})
	case "healthy":
		w.update(func(tx *state.Tx) {
			for task := range state.Tasks.All(tx) {
				r, _ := state.ServiceRevisions.Get(tx, task.RevisionARN)
				if task.Last == lifecycle.Running && task.Desired != lifecycle.Stopped {
					state.Targets.Put(tx, state.Target{TargetGroupARN: r.Group(0), ID: lastPart(task.ARN), Port: 80, TaskARN: task.ARN,
						Health: state.TargetHealth{State: elb.TargetHealthStateEnumHealthy}})
				}
			}
		})
	case "answer":
		w.update(func(tx *state.Tx) {
			s, _ := state.Services.Get(tx, arn("service", "c/"+name))
			deployment, _ := state.ServiceDeployments.Get(tx, s.DeploymentARN)
			deployment.Answers = append(deployment.Answers, state.HookAnswer{HookID: deployment.Hooks[len(deployment.Hooks)-1].ID,
				Action: types.DeploymentLifecycleHookAction(d.CmdArgs[1].Key), At: w.now})
			state.ServiceDeployments.Put(tx, deployment)
		})
	default:
		w.do(t, d)
	}
}

func ptrTo(s string) *string {
	if s == "" {
		return nil
	}
	if s == "default" {
		s = "arn:aws:elasticloadbalancing:r:a:listener-rule/app/b/1/2/2"
	}
	return &s
}

func (w *shiftingServices) redeploy(tx *state.Tx, s state.Service, definition string, advanced *types.AdvancedConfiguration) {
	w.deploy(tx, s, definition, true)
	s, _ = state.Services.Get(tx, s.ARN)
	d, _ := state.ServiceDeployments.Get(tx, s.DeploymentARN)
	r, _ := state.ServiceRevisions.Get(tx, d.RevisionARN)
	r.LoadBalancers[0].TargetGroupArn, r.LoadBalancers[0].AdvancedConfiguration = aws.String("blue"), advanced
	state.ServiceRevisions.Put(tx, r)
}

// traffic shows what is new of deployments' stages, of hooks, and of weights.
func (w *shiftingServices) traffic() string {
	now := map[string]string{}
	show := func(actions []elb.Action) (s string) {
		for _, g := range actions[0].ForwardConfig.TargetGroups {
			s += fmt.Sprintf(" %s=%d", *g.TargetGroupArn, *g.Weight)
		}
		return s
	}
	w.store.View(func(r *state.Reader) {
		for l := range state.Listeners.All(r) {
			now["rule default"] = show(l.DefaultActions)
		}
		for rule := range state.ListenerRules.All(r) {
			now["rule "+rule.ARN] = show(rule.Actions)
		}
		for d := range state.ServiceDeployments.All(r) {
			v, _ := state.ServiceRevisions.Get(r, d.RevisionARN)
			now["stage of "+lastPart(d.ARN)] = fmt.Sprintf(" %s, in %s, beside %q", d.Stage, v.Group(0), lastPart("/"+d.BlueARN))
			for i, h := range d.Hooks {
				id := h.ID[:strings.LastIndexByte(h.ID, '-')]
				now[fmt.Sprintf("hook %d of %s", i, lastPart(d.ARN))] = fmt.Sprintf(" %s at %s: %s, call at %s", id, h.Stage, h.Status, since(h.CallAt))
			}
		}
	})
	var lines []string
	for key, is := range now {
		if w.shown[key] != is {
			lines = append(lines, key+is+"\n")
		}
	}
	w.shown = now
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// TestWeightsArePercents: whatever the share, weights stand for it to the tenth of a percent, and are ones that a
// listener takes.
func TestWeightsArePercents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := float64(rapid.IntRange(0, 1000).Draw(t, "tenths")) / 10
		its, others := weights(share)
		whole := its + others
		if whole != 100 && whole != 1000 || its < 0 || others < 0 || max(its, others) > 999 {
			t.Fatalf("%v%%: %d and %d", share, its, others)
		}
		if got := float64(its) * 100 / float64(whole); got != share {
			t.Fatalf("%v%%: %d of %d are %v%%", share, its, whole, got)
		}
	})
}
