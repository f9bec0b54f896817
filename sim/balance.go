package sim

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// shopGroup is the ARN of the target group that there is; a listener leads to it.
const shopGroup = "arn:aws:elasticloadbalancing:" + region + ":" + account + ":targetgroup/shop/1"

// drainLate is longer than the target group's deregistration delay: some targets are let go because of that.
const (
	drainDelay = "30"
	drainLate  = 60 * time.Second
)

// balanced gives a new service of its users a load balancer, or not.
func (s *servants) balanced(on *server) []types.LoadBalancer {
	if one(s, true, false) {
		return nil
	}
	err := on.do(byUser, func(ctx context.Context) error {
		return on.store.Update(ctx, func(tx *state.Tx) error {
			if _, ok := state.TargetGroups.Get(tx, shopGroup); ok {
				return nil
			}
			state.TargetGroups.Put(tx, state.TargetGroup{ARN: shopGroup, Name: "shop", Type: elb.TargetTypeEnumInstance, Protocol: elb.ProtocolEnumHttp,
				Attributes: map[string]string{"deregistration_delay.timeout_seconds": drainDelay}})
			state.Listeners.Put(tx, state.Listener{ARN: "listener/shop", Port: 80, Protocol: elb.ProtocolEnumHttp,
				DefaultActions: []elb.Action{{Type: elb.ActionTypeEnumForward, TargetGroupArn: aws.String(shopGroup)}}})
			return nil
		})
	})
	if err != nil {
		return nil
	}
	return []types.LoadBalancer{{TargetGroupArn: aws.String(shopGroup), ContainerName: aws.String("a"), ContainerPort: aws.Int32(80)}}
}

// balance is what package balance does about a target, after a while: it finds it healthy or not, and says that it has
// drained.
func (s *servants) balance(t state.Target) {
	w := s.w
	drains := !t.DrainingSince.IsZero()
	if t.Drained || !drains && t.Health.State != "" {
		return
	}
	after := time.Duration(s.chance.Int64N(int64(5 * time.Second)))
	if drains && s.chance.IntN(3) == 0 {
		after = time.Duration(s.chance.Int64N(int64(drainLate)))
	}
	well := w.healed || s.chance.IntN(8) > 0
	var try func()
	try = func() {
		if w.server == nil || w.server.do(byBalance, func(ctx context.Context) error {
			return w.server.store.Update(ctx, func(tx *state.Tx) error {
				now, ok := state.Targets.Get(tx, state.TargetKey(t.TargetGroupARN, t.ID, t.Port))
				if !ok || now.TaskARN != t.TaskARN || now.DrainingSince.IsZero() == drains {
					return nil
				}
				now.Drained = drains
				if now.Health.State == "" {
					now.Health = state.TargetHealth{State: elb.TargetHealthStateEnumHealthy, Since: w.now}
					if !well {
						now.Health.State = elb.TargetHealthStateEnumUnhealthy
					}
				}
				state.Targets.Put(tx, now)
				return nil
			})
		}) != nil {
			w.after(time.Second, try)
		}
	}
	w.after(after, try)
}

// target checks what becomes of a target: one is made only for a task that runs and is to run on, and with the word of it.
func (a *audit) target(c state.Commit, change state.Change) {
	t, ok := change.New.(state.Target)
	if !ok {
		return
	}
	a.w.users.servants.balance(t)
	if old, _ := change.Old.(state.Target); old.TaskARN == t.TaskARN {
		return
	}
	a.w.stats.Targets++
	for _, other := range c.Changes {
		if task, ok := other.New.(state.Task); ok && task.ARN == t.TaskARN && task.Attached && task.Attachable() {
			return
		}
	}
	a.w.fail("a target only for a running task", "%s of %s", change.Key, short(t.TaskARN))
}

// toldToStop: no node is told to stop a task that runs while a target stands for it.
func (w *world) toldToStop(m protocol.Message) {
	p, ok := m.(*protocol.Payload)
	if !ok {
		return
	}
	w.view(func(r *state.Reader) {
		for _, told := range p.Tasks {
			t, _ := state.Tasks.Get(r, told.ARN)
			if told.DesiredStatus == string(lifecycle.Stopped) && t.Last == lifecycle.Running && state.Targets.CountBy(r, "task", t.ARN) > 0 {
				w.fail("no task is stopped while a target stands for it", "%s, attached %t", short(t.ARN), t.Attached)
			}
		}
	})
}

// targetsAreOfRunningTasks: in the end, each target is of a task that runs, and each task that has targets is attached.
func (w *world) targetsAreOfRunningTasks() (what string) {
	w.view(func(r *state.Reader) {
		for target := range state.Targets.All(r) {
			if t, _ := state.Tasks.Get(r, target.TaskARN); !t.Attached || !t.Attachable() || !target.DrainingSince.IsZero() {
				what = "the target of " + short(target.TaskARN) + ", which is " + string(t.Last) + ", desired " + string(t.Desired)
			}
		}
		for t := range state.Tasks.All(r) {
			if t.Attached && !t.Attachable() {
				what = short(t.ARN) + " is attached, " + string(t.Last) + ", desired " + string(t.Desired)
			}
		}
	})
	return what
}
