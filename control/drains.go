package control

import (
	"slices"
	"strconv"
	"time"

	"havn/state"
)

const (
	// leastDrain is how long a target drains at the least if nobody says that it has drained, whatever its target group's
	// deregistration delay: a load balancer may need a moment to hear of it.
	leastDrain = time.Second
	// longestDrain is as long as any: an hour is what a target group can have. restingDrain is for who does not want to wait.
	longestDrain = time.Hour
	restingDrain = 5 * time.Second
	// deregistrationDelay is a target group's that has no other. Application Load Balancers, "Edit target group attributes".
	deregistrationDelay = 300 * time.Second
)

// Drains forgets a target that was deregistered, by whomever, when nothing is under way to it any more; at the latest when
// the deregistration delay is over. A target group that no listener leads to any more drains nothing. With the last target of
// a task that is to stop, the task is let go. None drains for longer than longest. Its keys are targets.
func Drains(longest time.Duration) Controller {
	return Controller{
		Name: "drains",
		Concerns: func(c state.Change) []string {
			if t, ok := c.New.(state.Target); ok && !t.DrainingSince.IsZero() {
				return []string{c.Key}
			}
			return nil
		},
		Reaches: func(r *state.Reader, c state.Change) (keys []string) {
			for _, group := range left(c) {
				for target := range state.Targets.By(r, "target group", group) {
					keys = append(keys, keyOf(target))
				}
			}
			return keys
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			target, ok := state.Targets.Get(tx, key)
			if !ok {
				return 0, nil
			}
			group, ok := state.TargetGroups.Get(tx, target.TargetGroupARN)
			if ok && target.DrainingSince.IsZero() {
				return 0, nil
			}
			until := target.DrainingSince.Add(min(max(delayOf(group), leastDrain), longest))
			if ok && !target.Drained && now.Before(until) && used(tx, group.ARN) {
				return until.Sub(now), nil
			}
			state.Targets.Delete(tx, key)
			t, ok := state.Tasks.Get(tx, target.TaskARN)
			if ok && t.Attached && !t.Attachable() && state.Targets.CountBy(tx, "task", t.ARN) == 0 {
				release(tx, t)
			}
			return 0, nil
		},
	}
}

// left are the target groups that a change has deleted, or to which a listener or a rule leads no more.
func left(c state.Change) []string {
	var before, after []string
	switch old := c.Old.(type) {
	case state.TargetGroup:
		before = []string{old.ARN}
		if c.New != nil {
			return nil
		}
	case state.Listener:
		l, _ := c.New.(state.Listener)
		before, after = state.TargetGroupsOf(old.DefaultActions), state.TargetGroupsOf(l.DefaultActions)
	case state.ListenerRule:
		l, _ := c.New.(state.ListenerRule)
		before, after = state.TargetGroupsOf(old.Actions), state.TargetGroupsOf(l.Actions)
	}
	return slices.DeleteFunc(before, func(arn string) bool { return slices.Contains(after, arn) })
}

func delayOf(g state.TargetGroup) time.Duration {
	if seconds, err := strconv.Atoi(g.Attributes["deregistration_delay.timeout_seconds"]); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return deregistrationDelay
}

// used reports whether a listener leads to a target group.
func used(src state.Source, group string) bool {
	return state.ListenerRules.CountBy(src, "target group", group) > 0 || state.Listeners.CountBy(src, "target group", group) > 0
}

func keyOf(t state.Target) string { return state.TargetKey(t.TargetGroupARN, t.ID, t.Port) }
