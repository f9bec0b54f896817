package sim

import (
	"fmt"
	"slices"
	"time"

	"havn/agent"
	"havn/lifecycle"
	"havn/protocol"
)

// past is what a Runtime remembers for checkers, and a real node could not: what became of containers that
// are gone, and how often each process was started.
type past struct {
	starts map[agent.Work]int       // of a container, by Start without a round
	rounds map[agent.Work]int       // of a process, by Start with its round
	gone   map[agent.Work]container // the last that is known of containers that were removed, by Remove
	amiss  string                   // a restart that should not have been
}

func newPast() past {
	return past{starts: map[agent.Work]int{}, rounds: map[agent.Work]int{}, gone: map[agent.Work]container{}}
}

func work(task string, v lifecycle.Verb, container string) agent.Work {
	return agent.Work{Task: task, Effect: lifecycle.Effect{Verb: v, Container: container}}
}

// started notes that a process is started, and what it takes the place of.
func (r *Runtime) started(o *op, before *container) {
	r.starts[work(o.task.ARN, lifecycle.Start, o.effect.Container)]++
	r.rounds[agent.Work{Task: o.task.ARN, Effect: o.effect}]++
	if before.started.IsZero() {
		return
	}
	var policy protocol.RestartPolicy
	for _, c := range o.task.Containers {
		if c.Name == o.effect.Container && c.RestartPolicy != nil {
			policy = *c.RestartPolicy
		}
	}
	period, ran := lifecycle.DefaultRestartPeriod, before.finished.Sub(before.started)
	if policy.RestartAttemptPeriod > 0 {
		period = time.Duration(policy.RestartAttemptPeriod) * time.Second
	}
	if before.runs() || !policy.Enabled || ran < period || slices.Contains(policy.IgnoredExitCodes, before.code) {
		r.amiss = fmt.Sprintf("%s of %s is started again by %+v, and ended after %v with %d", o.effect.Container, o.task.ARN, policy, ran, before.code)
	}
}

// remove forgets a container, but for checkers.
func (r *Runtime) remove(arn string, t *heldTask, name string) {
	r.gone[work(arn, lifecycle.Remove, name)] = *t.containers[name]
	delete(t.containers, name)
}

// lastOf is what is known of a container, there or gone.
func (r *Runtime) lastOf(arn, name string) (c container, ok bool) {
	if t := r.tasks[arn]; t != nil && t.containers[name] != nil {
		return *t.containers[name], true
	}
	c, ok = r.gone[work(arn, lifecycle.Remove, name)]
	return c, ok
}

// Starts returns how often a process of a container was started. More than once is a fault. For checkers.
func (r *Runtime) Starts(arn, name string) (most int) {
	for w, n := range r.rounds {
		if w.Task == arn && w.Effect.Container == name {
			most = max(most, n)
		}
	}
	return most
}

// Amiss says what was wrong with a restart; empty for nothing. For checkers.
func (r *Runtime) Amiss() string { return r.amiss }

// OutOfOrder says what is wrong with beginning an effect now; empty for nothing: a container begins only
// when what it depends on has come so far, and is stopped only when what depends on it has ended. For checkers.
func (r *Runtime) OutOfOrder(arn string, e lifecycle.Effect, life lifecycle.Task) string {
	for _, c := range life.Containers {
		for _, d := range c.DependsOn {
			on, made := r.lastOf(arn, d.On)
			came := map[lifecycle.Condition]bool{
				lifecycle.UntilCreated:  made,
				lifecycle.UntilStarted:  !on.started.IsZero(),
				lifecycle.UntilComplete: !on.finished.IsZero(),
				lifecycle.UntilSuccess:  !on.finished.IsZero() && on.code == 0,
				lifecycle.UntilHealthy:  on.well,
			}
			switch {
			case e.Verb == lifecycle.Pull && e.Container == c.Name && !came[d.Until]:
				return fmt.Sprintf("%s begins before %s has come to %s", c.Name, d.On, d.Until)
			case e.Verb == lifecycle.Stop && e.Container == d.On && on.runs():
				live := c.Phase == lifecycle.Created || c.Phase == lifecycle.Started
				if slices.Contains(r.Running(arn), c.Name) && live {
					return fmt.Sprintf("%s stops before %s, which depends on it", d.On, c.Name)
				}
			}
		}
	}
	return ""
}

// probe is a health check in a container.
func (r *Runtime) probe(o *op, c *container, p Program, result *lifecycle.Result, now time.Time) {
	result.StartedAt = o.begun
	switch {
	case c == nil || !c.runs() || c.round != o.effect.Round:
		result.ExitCode, result.Output = -1, "the container is not running"
	case now.Sub(o.begun) >= o.effect.Timeout:
		result.ExitCode, result.Output = -1, fmt.Sprintf("Health check exceeded timeout (%v)", o.effect.Timeout)
	case r.happens(r.faults.Sick):
		result.ExitCode, result.Output = 1, "injected"
	default:
		result.ExitCode, result.Output = p.ProbeCode, fmt.Sprintf("exit %d", p.ProbeCode)
		c.well = c.well || p.ProbeCode == 0
	}
}
