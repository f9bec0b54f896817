package sim

import (
	"cmp"
	"fmt"
	"strings"

	"havn/agent"
	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// The words of transcripts.

// short is the end of a task's id; the ids of a run are numbers.
func short(arn string) string {
	return "task " + strings.TrimLeft(lastPart(arn), "0")
}

func showEffect(e lifecycle.Effect) string {
	s := string(e.Verb)
	if e.Container != "" {
		s += " " + e.Container
	}
	if e.Round > 0 {
		s += fmt.Sprintf(" (round %d)", e.Round)
	}
	if e.Grace > 0 {
		s += fmt.Sprintf(" (grace %v)", e.Grace)
	}
	return s
}

func showResult(r lifecycle.Result) string {
	switch {
	case r.Canceled:
		return ": cancelled"
	case r.Reason != "":
		return ": " + r.Reason
	case r.Effect.Verb == lifecycle.Wait, r.Effect.Verb == lifecycle.Probe:
		return fmt.Sprintf(": exit %d", r.ExitCode)
	}
	return ""
}

func showError(err error) string {
	if err == nil {
		return ""
	}
	return ", dropped: " + err.Error()
}

func showContainers(t state.Task) string {
	var all []string
	for _, c := range t.Containers {
		all = append(all, c.Name+" "+string(c.Last))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func quietMessage(m protocol.Message) bool {
	switch m.(type) {
	case *protocol.Heartbeat, *protocol.HeartbeatAck:
		return true
	}
	return false
}

func show(m protocol.Message) string {
	s := protocol.Kind(m)
	switch m := m.(type) {
	case *protocol.Payload:
		s += " " + m.MessageID
		for _, t := range m.Tasks {
			s += fmt.Sprintf(", %s %s", short(t.ARN), t.DesiredStatus)
		}
	case *protocol.Manifest:
		s += fmt.Sprintf(" %s number %d%s", m.MessageID, m.Timeline, showIdentities(m.Tasks))
	case *protocol.StopVerification:
		s += " " + m.MessageID + showIdentities(m.StopCandidates)
	case *protocol.StopVerificationAck:
		s += " " + m.MessageID + showIdentities(m.StopTasks)
	case *protocol.Ack:
		s += " " + m.MessageID
	case *protocol.Nack:
		s += " " + m.MessageID + ": " + m.Reason
	case *protocol.Failure:
		s += ": " + m.Message
	}
	return s
}

func showIdentities(tasks []protocol.TaskIdentity) string {
	s := ""
	for _, t := range tasks {
		s += fmt.Sprintf(", %s %s", short(t.TaskARN), t.DesiredStatus)
	}
	return s
}

func compareWork(a, b agent.Work) int {
	return cmp.Or(cmp.Compare(a.Task, b.Task), cmp.Compare(a.Effect.Container, b.Effect.Container))
}
