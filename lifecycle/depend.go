package lifecycle

import (
	"fmt"
	"slices"
	"time"
)

// Condition is what a container must have come to before one that depends on it begins.
// Amazon ECS API Reference, "ContainerDependency".
type Condition string

// The conditions. A container begins with its pull, as with the Amazon ECS container agent; one that has
// begun goes on whatever becomes of what it waited for.
const (
	UntilCreated  Condition = "CREATE"   // it has been made; implied by volumesFrom, and never written by a user
	UntilStarted  Condition = "START"    // it has been started; also implied by links, and by a log router
	UntilComplete Condition = "COMPLETE" // it ran to its end
	UntilSuccess  Condition = "SUCCESS"  // it ran to its end, and exited with 0
	UntilHealthy  Condition = "HEALTHY"  // it runs, and its health check says that it is well
)

// Valid reports whether c is one of the conditions above.
func (c Condition) Valid() bool {
	return slices.Contains([]Condition{UntilCreated, UntilStarted, UntilComplete, UntilSuccess, UntilHealthy}, c)
}

// Dependency makes a container wait for another one of its task, by name. When the task stops, the other
// one waits in turn until this one has ended.
type Dependency struct {
	On    string
	Until Condition
}

// exitUnmet is the exit code of a container that waited for what cannot come, as ECS has it.
const exitUnmet = 143

// CheckOrder returns why containers can never begin in the order that they ask for, or nothing.
func CheckOrder(containers []Spec) string {
	at := map[string]Spec{}
	for _, c := range containers {
		at[c.Name] = c
	}
	for _, c := range containers {
		for _, d := range c.DependsOn {
			on, there := at[d.On]
			switch {
			case !there:
				return fmt.Sprintf("container %s depends on %.100q, which the task does not have", c.Name, d.On)
			case !d.Until.Valid():
				return fmt.Sprintf("container %s depends on %s by an unknown condition %.100q", c.Name, d.On, d.Until)
			case d.Until == UntilHealthy && !on.Check.On():
				return fmt.Sprintf("container %s depends on the health of %s, which has no health check", c.Name, d.On)
			}
		}
	}
	// Take away, again and again, what waits for nothing that is left. What cannot be taken away waits for itself.
	left := slices.Clone(containers)
	for {
		rest := slices.DeleteFunc(slices.Clone(left), func(c Spec) bool {
			return !slices.ContainsFunc(c.DependsOn, func(d Dependency) bool {
				return slices.ContainsFunc(left, func(o Spec) bool { return o.Name == d.On })
			})
		})
		switch len(rest) {
		case 0:
			return ""
		case len(left):
			return fmt.Sprintf("container %s depends on itself, by way of others or not", rest[0].Name)
		}
		left = rest
	}
}

// Elapse folds in that it is so late: a container that others wait for may have used up its start timeout.
// It reports whether that changed anything.
func (t Task) Elapse(now time.Time) (Task, bool) {
	now = plain(now)
	late := func(c Container) bool { return c.Phase == Waiting && t.hopeless(c, now) != "" }
	if !slices.ContainsFunc(t.Containers, late) {
		return t, false
	}
	t.Containers = slices.Clone(t.Containers)
	t.settle(now)
	return t, true
}

// mayBegin reports whether all that a container waits for has come; and if not, when the first start
// timeout ends the wait, zero for never.
func (t Task) mayBegin(c Container) (ready bool, until time.Time) {
	ready = true
	for _, d := range c.DependsOn {
		on := t.container(d.On)
		if on.meets(d.Until) {
			continue
		}
		ready = false
		if at := on.timesOut(d.Until); !at.IsZero() && (until.IsZero() || at.Before(until)) {
			until = at
		}
	}
	return ready, until
}

// isLeft reports whether all that depends on a container has ended, so that it may be stopped itself. A log router also
// waits for what they have printed.
func (t Task) isLeft(name string) bool {
	return !slices.ContainsFunc(t.Containers, func(c Container) bool {
		return c.Router == name && c.mayPrint() ||
			c.Phase.before(Ended) && slices.ContainsFunc(c.DependsOn, func(d Dependency) bool { return d.On == name })
	})
}

// mayPrint reports whether there may be output of the container that has not been shipped.
func (c Container) mayPrint() bool { return c.Ships && !c.Shipped && c.RuntimeID != "" }

// giveUp ends the containers that wait for what cannot come. It reports whether there was one.
func (t *Task) giveUp(now time.Time) (ended bool) {
	for i := range t.Containers {
		c := &t.Containers[i]
		if c.Phase != Waiting {
			continue
		}
		if reason := t.hopeless(*c, now); reason != "" {
			c.end(reason, now)
			c.Exited, c.ExitCode = true, exitUnmet
			ended = true
		}
	}
	return ended
}

// hopeless says in the words of the Amazon ECS container agent why a container will never begin, and then
// in plain ones.
func (t Task) hopeless(c Container, now time.Time) string {
	for _, d := range c.DependsOn {
		on := t.container(d.On)
		if on.meets(d.Until) {
			continue
		}
		failed := fmt.Sprintf("CannotStartContainerError: dependency graph: failed to resolve container ordering dependency [%s] for target [%s] ", d.On, c.Name)
		timeout := on.timesOut(d.Until)
		switch ended := !on.Phase.before(Ended); {
		case ended && on.StartedAt.IsZero():
			return failed + "because dependency will never start" + cause(on.Reason)
		case ended && d.Until == UntilSuccess && on.Exited:
			return failed + fmt.Sprintf("as dependency did not exit successfully: it exited with %d", on.ExitCode) + cause(on.Reason)
		case ended && d.Until == UntilHealthy:
			return failed + "as dependency has stopped, and will not become healthy" + cause(on.Reason)
		case ended:
			return failed + "as dependency did not exit successfully" + cause(on.Reason)
		case !timeout.IsZero() && !now.Before(timeout):
			return fmt.Sprintf("CannotStartContainerError: dependency graph: container ordering dependency [%s] for target [%s] has timed out: "+
				"it has not come to %s within its startTimeout of %v", d.On, c.Name, d.Until, on.StartTimeout)
		}
	}
	return ""
}

func cause(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// meets reports whether a container has come to what another one waits for.
func (c Container) meets(until Condition) bool {
	ended, ran := !c.Phase.before(Ended), !c.StartedAt.IsZero()
	switch until {
	case UntilCreated:
		return c.RuntimeID != ""
	case UntilStarted:
		return ran
	case UntilComplete:
		return ended && ran
	case UntilSuccess:
		return ended && ran && c.Exited && c.ExitCode == 0 && c.Reason == "" // with one, it could not be started again
	case UntilHealthy:
		return c.Phase == Started && c.Health.Status == Healthy
	}
	return false
}

// timesOut is when others stop waiting for a container that runs; zero for never. Only a wait for
// something after the start is bounded, and from the start on: as long as it is not started, its pull and
// what it waits for itself say how long that takes.
func (c Container) timesOut(until Condition) time.Time {
	if c.StartTimeout <= 0 || c.StartedAt.IsZero() || !c.Phase.before(Ended) || until == UntilCreated || until == UntilStarted {
		return time.Time{}
	}
	return c.StartedAt.Add(c.StartTimeout)
}

// container returns the container of that name; the zero one if there is none.
func (t Task) container(name string) Container {
	for _, c := range t.Containers {
		if c.Name == name {
			return c
		}
	}
	return Container{}
}
