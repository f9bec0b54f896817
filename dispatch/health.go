package dispatch

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// maxHealthContainers is how many containers of a task are looked at in a report: no task has more.
const maxHealthContainers = 10

// decodeHealth takes the health of tasks out of a telemetry message. Reports come from any version of any
// agent: what is not understood in one part does not spoil the others.
func decodeHealth(message json.RawMessage) ([]protocol.TaskHealth, error) {
	var report struct {
		Tasks []json.RawMessage `json:"tasks"`
	}
	if err := json.Unmarshal(message, &report); err != nil {
		return nil, fmt.Errorf("cannot decode a report of health: %w", err)
	}
	var all []protocol.TaskHealth
	var spoilt error
	for _, raw := range report.Tasks {
		var t protocol.TaskHealth
		if err := json.Unmarshal(raw, &t); err != nil {
			spoilt = fmt.Errorf("cannot decode the health of a task: %w", err)
			continue
		}
		all = append(all, t)
	}
	return all, spoilt
}

// ObserveHealth writes down what a node says of the health of its containers. What it says of tasks that are
// not its own, or are over, of containers that they do not have, and in words that are none, says nothing. A
// report that only repeats what is known changes nothing, even if a probe wrote something else this time.
func ObserveHealth(tx *state.Tx, node string, report []protocol.TaskHealth) {
	for _, said := range report {
		t, ok := state.Tasks.Get(tx, said.TaskARN)
		if !ok || t.NodeID != node || t.Last == lifecycle.Stopped {
			continue
		}
		changed := false
		health := slices.Clone(t.Health)
		for _, c := range said.Containers[:min(len(said.Containers), maxHealthContainers)] {
			status := types.HealthStatus(c.Status)
			if !slices.Contains(status.Values(), status) || !slices.ContainsFunc(t.Containers, func(o state.Container) bool { return o.Name == c.Name }) {
				continue
			}
			seen := state.ContainerHealth{Name: c.Name, Status: status, Since: c.Since.Time, Message: lifecycle.Clip(c.Message)}
			at := slices.IndexFunc(health, func(h state.ContainerHealth) bool { return h.Name == c.Name })
			switch {
			case at < 0 && status == types.HealthStatusUnknown: // as it is without a word
			case at < 0:
				health, changed = append(health, seen), true
			case health[at].Status != seen.Status || !health[at].Since.Equal(seen.Since):
				health[at], changed = seen, true
			}
		}
		if changed {
			t.Health = health
			t.Version++
			state.Tasks.Put(tx, t)
		}
	}
}
