package agent

import (
	"fmt"
	"strings"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// The limits of an assignment; a task beyond them is refused.
const (
	MaxContainers   = 10  // of a task: RegisterTaskDefinition's limit
	MaxName         = 255 // bytes of a container's name, likewise
	MaxARN          = 2048
	MaxStopTimeout  = 24 * time.Hour
	MaxStartTimeout = 24 * time.Hour
)

// Receive folds in a message from the server. What there is to answer is in the next plan.
func (c *Core) Receive(m protocol.Message, now time.Time) {
	switch m := m.(type) {
	case *protocol.Payload:
		c.receivePayload(m, now)
	case *protocol.Heartbeat:
		c.reply(&protocol.HeartbeatAck{MessageID: m.MessageID})
	case *protocol.Manifest:
		c.receiveManifest(m)
	case *protocol.StopVerificationAck:
		c.receiveVerification(m, now)
	}
}

// Anew notes that the node has become another container instance: manifests are counted anew.
func (c *Core) Anew() { c.timeline, c.asked = 0, nil }

func (c *Core) reply(m protocol.Message) { c.replies = append(c.replies, m) }

// receivePayload takes the tasks of a payload, stops before starts: what stops makes room. An assignment
// is level: of a task that is known only the desired status matters, and only forward.
func (c *Core) receivePayload(m *protocol.Payload, now time.Time) {
	if m.Timeline > c.timeline {
		c.timeline, c.newTimeline = m.Timeline, true
	}
	var refused []string
	for _, t := range m.Tasks {
		if t.DesiredStatus == string(lifecycle.Stopped) {
			if reason := c.acceptStop(t, m.ClusterARN, now); reason != "" {
				refused = append(refused, reason)
			}
		}
	}
	for _, t := range m.Tasks {
		if t.DesiredStatus != string(lifecycle.Stopped) {
			if reason := c.acceptStart(t, m.ClusterARN, now); reason != "" {
				refused = append(refused, reason)
			}
		}
	}
	if len(refused) > 0 {
		c.reply(&protocol.Nack{Cluster: m.ClusterARN, ContainerInstance: m.ContainerInstanceARN, MessageID: m.MessageID,
			Reason: lifecycle.Clip(strings.Join(refused, "; "))})
		return
	}
	c.reply(&protocol.Ack{Cluster: m.ClusterARN, ContainerInstance: m.ContainerInstanceARN, MessageID: m.MessageID})
}

// acceptStop returns why it cannot, or nothing. A task that is not known is cleaned up on suspicion and
// then reported STOPPED: the server asked, and waits for that word.
func (c *Core) acceptStop(t protocol.Task, cluster string, now time.Time) (refused string) {
	if reason := checkARN(t.ARN); reason != "" {
		return reason
	}
	if c.tasks[t.ARN] != nil {
		c.stop(t.ARN, now)
		return ""
	}
	if t.ClusterARN == "" {
		t.ClusterARN = cluster
	}
	c.add(t, lifecycle.Unknown(c.settings, now))
	return ""
}

// acceptStart returns why it cannot, or nothing. A task that can be named but not taken is reported
// STOPPED with the reason.
func (c *Core) acceptStart(t protocol.Task, cluster string, now time.Time) (refused string) {
	if reason := checkARN(t.ARN); reason != "" {
		return reason
	}
	if c.tasks[t.ARN] != nil {
		return ""
	}
	if t.ClusterARN == "" {
		t.ClusterARN = cluster
	}
	reason := checkTask(&t)
	var containers []lifecycle.Spec
	if reason == "" {
		containers, reason = specs(&t)
	}
	if _, live := c.Tasks(); reason == "" && live >= MaxTasks {
		reason = fmt.Sprintf("the node has %d tasks, and takes no more", live)
	}
	if reason != "" {
		// The stock agent's words, its slip of the pen included: servers may look for them.
		reason = "UnrecogniedTaskError: Error loading task - " + reason
		c.add(protocol.Task{ARN: t.ARN, ClusterARN: t.ClusterARN}, lifecycle.Refused(reason, now))
		return reason
	}
	c.add(t, lifecycle.New(containers, c.settings))
	return ""
}

func checkARN(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(arn) > MaxARN || len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[5], "task/") {
		return fmt.Sprintf("not the ARN of a task: %.100q", arn)
	}
	return ""
}

// checkTask returns why a task cannot be taken, or nothing.
func checkTask(t *protocol.Task) string {
	switch t.DesiredStatus {
	case "RUNNING", "CREATED", "MANIFEST_PULLED", "NONE":
	default:
		return fmt.Sprintf("unknown desired status %.100q", t.DesiredStatus)
	}
	if len(t.Containers) == 0 {
		return "a task must have a container"
	}
	if len(t.Containers) > MaxContainers {
		return fmt.Sprintf("a task can have at most %d containers, not %d", MaxContainers, len(t.Containers))
	}
	seen := map[string]bool{}
	essential := false
	for _, c := range t.Containers {
		switch {
		case c.Name == "" || len(c.Name) > MaxName:
			return fmt.Sprintf("a container's name must have 1 to %d bytes: %.100q", MaxName, c.Name)
		case strings.ContainsFunc(c.Name, notOfName):
			return fmt.Sprintf("a container's name has letters, digits, hyphens and underscores only: %.100q", c.Name)
		case seen[c.Name]:
			return fmt.Sprintf("two containers are named %s", c.Name)
		case c.Image == "":
			return fmt.Sprintf("container %s has no image", c.Name)
		case c.StopTimeout < 0 || c.StopTimeout > int64(MaxStopTimeout/time.Second):
			return fmt.Sprintf("container %s: stopTimeout must be from 0 to %.0f s", c.Name, MaxStopTimeout.Seconds())
		case c.StartTimeout < 0 || c.StartTimeout > int64(MaxStartTimeout/time.Second):
			return fmt.Sprintf("container %s: startTimeout must be from 0 to %.0f s", c.Name, MaxStartTimeout.Seconds())
		case c.CPU < 0 || c.Memory < 0:
			return fmt.Sprintf("container %s: cpu and memory cannot be negative", c.Name)
		}
		seen[c.Name] = true
		essential = essential || c.Essential
	}
	if !essential {
		return "a task must have an essential container"
	}
	return ""
}

// notOfName keeps what becomes part of paths and host names on the node to what ECS allows.
func notOfName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// receiveManifest compares the server's list with what should run here. What should not, by that list, is
// stopped only after the server has said so once more: a payload may have crossed the manifest.
func (c *Core) receiveManifest(m *protocol.Manifest) {
	if m.Timeline <= c.timeline {
		return // an older one, delayed
	}
	c.timeline, c.newTimeline = m.Timeline, true
	c.reply(&protocol.Ack{Cluster: m.ClusterARN, ContainerInstance: m.ContainerInstanceARN, MessageID: m.MessageID})
	wanted := map[string]bool{}
	for _, t := range m.Tasks {
		wanted[t.TaskARN] = t.DesiredStatus == string(lifecycle.Running)
	}
	ask := &protocol.StopVerification{MessageID: m.MessageID}
	for _, arn := range c.ARNs() {
		t := c.tasks[arn]
		if t.life.Desired != lifecycle.Stopped && !wanted[arn] {
			ask.StopCandidates = append(ask.StopCandidates,
				protocol.TaskIdentity{TaskARN: arn, ClusterARN: c.clusterOf(t), DesiredStatus: string(lifecycle.Stopped)})
		}
	}
	c.asked = nil
	if len(ask.StopCandidates) > 0 {
		c.asked = ask
		c.reply(ask)
	}
}

// receiveVerification stops what was asked about and confirmed. An answer counts once, and only to the
// last question.
func (c *Core) receiveVerification(m *protocol.StopVerificationAck, now time.Time) {
	if c.asked == nil || c.asked.MessageID != m.MessageID {
		return
	}
	candidates := map[string]bool{}
	for _, t := range c.asked.StopCandidates {
		candidates[t.TaskARN] = true
	}
	c.asked = nil
	for _, t := range m.StopTasks {
		if candidates[t.TaskARN] {
			c.stop(t.TaskARN, now)
		}
	}
}
