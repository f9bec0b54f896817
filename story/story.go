// Package story tells what became of a task: what happened, in order, and what it comes down to.
//
// It is a pure function of records. Words:
//
//   - step: one thing that happened, with when and how long it took where somebody knows.
//   - suspect: the container that the rest followed from.
//   - because: the cause, in one line; package cause has the causes.
//
// Times are of two clocks: pulls, health and ends of execution are told by the node, all else by the server that was told.
package story

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"havn/cause"
	"havn/lifecycle"
	"havn/state"
)

// Facts are what a story is told from. What is gone is the zero record.
type Facts struct {
	Task       state.Task
	Definition state.TaskDefinition
	Node       state.Node
	Now        time.Time
}

// The kinds of steps.
const (
	Asked    = "asked"
	Placed   = "placed"
	Pulled   = "pulled"
	Started  = "started"
	Health   = "health"
	Failed   = "failed" // a container that never ran
	Exited   = "exited"
	Stopping = "stopping"
	Stopped  = "stopped"
)

// Tell tells a task's story so far.
func Tell(f Facts) state.Story {
	t := f.Task
	s := state.Story{
		TaskARN: t.ARN, ClusterARN: t.ClusterARN, DefinitionARN: t.DefinitionARN,
		Status: string(t.Last), StoppedAt: t.StoppedAt,
	}
	s.Steps = append(s.Steps, asked(t), state.Step{What: Placed, At: t.CreatedAt, Text: "on node " + t.NodeID + " (container instance " + last(t.InstanceARN) + ")"})
	s.Steps = append(s.Steps, pulled(t)...)
	if !t.StartedAt.IsZero() {
		s.Steps = append(s.Steps, state.Step{What: Started, At: t.StartedAt, Took: since(t.CreatedAt, t.StartedAt), Text: "all containers run" + ports(t)})
	}
	s.Steps = append(s.Steps, health(t)...)
	// Who told it to stop comes before the ends that this led to, and after those that led to it, at the same time too.
	switch {
	case t.StopCode == userInitiated, t.StopCode == terminated:
		s.Steps = append(append(s.Steps, stopping(t)), ends(t)...)
	case t.Desired == lifecycle.Stopped:
		s.Steps = append(append(s.Steps, ends(t)...), stopping(t))
	default:
		s.Steps = append(s.Steps, ends(t)...)
	}
	if t.Last == lifecycle.Stopped {
		s.Steps = append(s.Steps, state.Step{What: Stopped, At: t.StoppedAt, Took: since(t.StoppingAt, t.StoppedAt), Text: "nothing of it runs any more"})
	}
	s.Steps = inOrder(s.Steps)
	var c cause.Cause
	c, s.Suspect = because(f)
	if t.Desired == lifecycle.Stopped && t.Last != lifecycle.Stopped && away(f.Node) {
		c.Words += "; it has not stopped yet: the agent of its node " + t.NodeID + " is not connected"
	}
	s.Code, s.Because = string(c.Code), c.Words
	if c.Code != "" {
		s.Try = strings.NewReplacer("TASK", last(t.ARN), "CONTAINER", s.Suspect).Replace(c.Code.Try())
	}
	return s
}

func asked(t state.Task) state.Step {
	text := fmt.Sprintf("to run %s in cluster %s", last(t.DefinitionARN), last(t.ClusterARN))
	if t.AskedFor > 1 {
		text += fmt.Sprintf(", one of %d", t.AskedFor)
	}
	if t.AskedBy != "" {
		text += ", by " + t.AskedBy
	}
	if t.StartedBy != "" {
		text += ", startedBy " + t.StartedBy
	}
	return state.Step{What: Asked, At: t.CreatedAt, Text: text}
}

func pulled(t state.Task) []state.Step {
	if t.PullStartedAt.IsZero() {
		return nil
	}
	step := state.Step{What: Pulled, At: t.PullStoppedAt, Took: since(t.PullStartedAt, t.PullStoppedAt)}
	if t.PullStoppedAt.IsZero() {
		step.At, step.Text = t.PullStartedAt, "has begun"
		return []state.Step{step}
	}
	var images []string
	for _, c := range t.Containers {
		text := c.Image
		switch {
		case strings.HasPrefix(c.Reason, "CannotPull"):
			text += " (failed)"
		case c.ImageDigest != "":
			text += " " + c.ImageDigest
		}
		images = append(images, text)
	}
	step.Text = strings.Join(images, ", ")
	return []state.Step{step}
}

// ports lists what leads into the containers.
func ports(t state.Task) string {
	var all []string
	for _, c := range t.Containers {
		for _, b := range c.Bindings {
			if b.HostPortRange != "" {
				all = append(all, fmt.Sprintf("%s:%s->%s/%s", b.BindIP, b.HostPortRange, b.ContainerPortRange, b.Protocol))
			} else {
				all = append(all, fmt.Sprintf("%s:%d->%d/%s", b.BindIP, b.HostPort, b.ContainerPort, b.Protocol))
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	return ", " + strings.Join(all, ", ")
}

// ends are the containers that have stopped, each at the time that its node told of it.
func ends(t state.Task) []state.Step {
	var steps []state.Step
	for _, c := range t.Containers {
		if c.Last != lifecycle.Stopped {
			continue
		}
		step := state.Step{What: Exited, At: c.StoppedAt, Container: c.Name}
		if ran := t.StartedAt; c.ExitCode != nil && !ran.IsZero() {
			step.Took = since(ran, c.StoppedAt)
		}
		switch {
		case c.ExitCode != nil && c.RuntimeID != "":
			step.Text = exitWords(int(*c.ExitCode))
		case c.Reason != "":
			step.What = Failed
		case c.RuntimeID != "":
			step.Text = "nobody saw how"
		default:
			step.What, step.Text = Failed, "it was not started any more"
		}
		if c.Reason != "" {
			step.Text = strings.TrimPrefix(step.Text+": "+c.Reason, ": ")
		}
		steps = append(steps, step)
	}
	return steps
}

// inOrder sorts steps by their time. Those of the same time stay as they are, and what nobody knows the time of stays
// behind all that it was behind.
func inOrder(steps []state.Step) []state.Step {
	type timed struct {
		state.Step
		at time.Time
	}
	var all []timed
	var latest time.Time
	for _, step := range steps {
		at := step.At
		if at.IsZero() {
			at = latest
		}
		if at.After(latest) {
			latest = at
		}
		all = append(all, timed{step, at})
	}
	slices.SortStableFunc(all, func(a, b timed) int { return a.at.Compare(b.at) })
	for i := range all {
		steps[i] = all[i].Step
	}
	return steps
}

func stopping(t state.Task) state.Step {
	text := string(t.StopCode)
	if t.StoppedReason != "" {
		text = strings.TrimPrefix(text+": "+t.StoppedReason, ": ")
	}
	if t.StoppedBy != "" {
		text += ", asked by " + t.StoppedBy
	}
	return state.Step{What: Stopping, At: t.StoppingAt, Text: text}
}

func since(from, to time.Time) time.Duration {
	if from.IsZero() || to.Before(from) {
		return 0
	}
	return to.Sub(from)
}

func last(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
