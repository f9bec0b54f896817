package story

import (
	"fmt"
	"strings"

	"havn/cause"
	"havn/lifecycle"
	"havn/state"
)

// Stop codes, in ECS's words. API Reference, "Task", stopCode.
const (
	userInitiated = "UserInitiated"
	terminated    = "TerminationNotice"
	byScheduler   = "ServiceSchedulerInitiated"
)

// notBegun is the reason of a container that was not to start any more, because another had ended.
const notBegun = "TaskStoppedBeforePullBeginError"

// unmet is in the reason of a container that waited for another in vain. The other's reason stands behind it.
const unmet = "container ordering dependency"

// because is what the story comes down to, and the container that it is about. The code is empty as long as nothing
// is wrong.
func because(f Facts) (c cause.Cause, suspect string) {
	t := f.Task
	whole := cause.Of(t.StoppedReason)
	switch {
	case t.Desired != lifecycle.Stopped:
		return soFar(f)
	case whole.Code == cause.NodeLost, t.StopCode == terminated:
		c = cause.Cause{Code: cause.NodeLost, Words: "the node " + t.NodeID + " that it ran on is gone"}
		if t.StopCode == userInitiated {
			c.Words = "somebody deregistered the container instance that it ran on (node " + t.NodeID + ")"
		}
		return c, ""
	case t.StopCode == userInitiated:
		by := "somebody"
		if t.StoppedBy != "" {
			by = t.StoppedBy
		}
		return cause.Cause{Code: cause.StoppedByUser, Words: by + " asked to stop it: " + t.StoppedReason}, ""
	}
	if t.StopCode == byScheduler && strings.Contains(t.StoppedReason, "ELB health checks") {
		return cause.Cause{Code: cause.TargetUnhealthy, Words: "its service replaced it: " + t.StoppedReason}, ""
	} else if t.StopCode == byScheduler && whole.Code != cause.Unhealthy {
		return cause.Cause{Code: cause.StoppedByService, Words: "its service stopped it: " + t.StoppedReason}, ""
	}
	named := len(t.Containers) > 1
	if whole.Code == cause.Unhealthy {
		if h, ok := sick(f, func(state.ContainerHealth) bool { return true }); ok {
			return illness(h, named), h.Name
		}
	}
	at := suspectOf(f)
	if at < 0 {
		if _, c = cause.Split(t.StoppedReason); c.Code == "" {
			c = cause.Cause{Code: cause.Unknown, Words: t.StoppedReason}
		}
		return c, ""
	}
	one := t.Containers[at]
	if h, ok := sick(f, awaitedBy(f, one)); ok {
		return illness(h, named), h.Name
	}
	return fate(one, named), one.Name
}

// soFar is how a task that should run is getting on, and the container that the user should look at, if there is one.
func soFar(f Facts) (c cause.Cause, suspect string) {
	t := f.Task
	wait := since(t.CreatedAt, f.Now).Round(1e9)
	switch {
	case away(f.Node):
		return cause.Cause{Code: cause.NodeLost, Words: "the agent of its node " + t.NodeID + " is not connected: nobody knows how it gets on"}, ""
	case t.ConnectedAt.IsZero() && t.PullStartedAt.IsZero() && t.Last != lifecycle.Running:
		return cause.Cause{Words: fmt.Sprintf("its node has not told anything of it yet, for %v", wait)}, ""
	}
	if h, ok := sick(f, alive(t)); ok {
		return illness(h, len(t.Containers) > 1), h.Name
	}
	if t.Last == lifecycle.Running {
		return cause.Cause{Words: "it runs"}, ""
	}
	return cause.Cause{Words: fmt.Sprintf("it is still being started, for %v: images are pulled or containers made", wait)}, ""
}

// away reports whether nobody hears of what is on the node. Of one that is gone the task itself says so.
func away(n state.Node) bool { return n.ID != "" && !n.Connected }

// suspectOf finds the container that the rest followed from; -1 if there is none. A container that something is wrong
// with is suspect before one that only ended; an essential one before one that is not; one that failed before one that
// was perhaps ended with the task; an earlier one before a later one.
func suspectOf(f Facts) int {
	best, least := -1, 0
	for i, c := range f.Task.Containers {
		if c.Last != lifecycle.Stopped || strings.HasPrefix(c.Reason, notBegun) {
			continue
		}
		weight := 0
		switch {
		case strings.Contains(c.Reason, unmet) && cause.Of(c.Reason).Code == cause.DependencyFailed:
			weight = 50 // what it depends on knows more
		case c.Reason != "":
			weight = 10
		case c.ExitCode == nil:
			continue // never started, and nothing is wrong with it
		case *c.ExitCode == 137 || *c.ExitCode == 143: // as of one that is ended with the task
			weight = 40
		case *c.ExitCode != 0:
			weight = 20
		default:
			weight = 30
		}
		if !essential(f.Definition, c.Name) {
			weight += 15
		}
		earlier := best >= 0 && c.StoppedAt.Before(f.Task.Containers[best].StoppedAt)
		if best < 0 || weight < least || weight == least && earlier {
			best, least = i, weight
		}
	}
	return best
}

func essential(d state.TaskDefinition, name string) bool {
	for _, c := range d.Spec.ContainerDefinitions {
		if c.Name != nil && *c.Name == name {
			return c.Essential == nil || *c.Essential
		}
	}
	return true
}

// fate is why a container ended.
func fate(c state.Container, named bool) cause.Cause {
	who := "the container"
	if named {
		who = "container " + c.Name
	}
	if words, why := cause.Split(c.Reason); c.Reason != "" {
		if why.Code == "" {
			why = cause.Cause{Code: cause.Unknown, Words: words}
		}
		if named && !strings.Contains(why.Words, "container "+c.Name) {
			why.Words = who + ": " + why.Words
		}
		return why
	}
	if c.ExitCode == nil {
		return cause.Cause{Code: cause.Unknown, Words: who + " ended, and nobody saw how"}
	}
	code := int(*c.ExitCode)
	words := who + " ended: " + exitWords(code)
	switch {
	case code == 0:
		return cause.Cause{Code: cause.Finished, Words: words}
	case code > 128 && code < 128+65:
		if code == 137 {
			words += "; not for its memory limit"
		}
		return cause.Cause{Code: cause.Killed, Words: words}
	}
	return cause.Cause{Code: cause.Failed, Words: words}
}

// exitWords says what an exit code means by custom.
func exitWords(code int) string {
	text := fmt.Sprintf("exit code %d", code)
	switch {
	case code == 126:
		return text + " (a shell could not execute the command)"
	case code == 127:
		return text + " (a shell did not find the command)"
	case code > 128 && code < 128+65:
		return text + " (" + signalName(code-128) + ")"
	}
	return text
}

// signals are Linux's names; signal(7).
var signals = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}

func signalName(n int) string {
	if name, ok := signals[n]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}
