package dispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
)

// runtimeCheck is the check that a PublishInstanceStatusRequest tells of: whether the machine can run containers.
const runtimeCheck = "ContainerRuntime"

// condition is what an agent says of its machine.
type condition struct {
	Status types.InstanceHealthCheckState
	Reason string
}

// decodeCondition takes the machine's condition out of a telemetry message; false where it tells of something else.
func decodeCondition(message json.RawMessage) (condition, bool, error) {
	var report struct {
		Statuses []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
			Reason string `json:"statusReason"`
		} `json:"statuses"`
	}
	if err := json.Unmarshal(message, &report); err != nil {
		return condition{}, false, fmt.Errorf("cannot decode a report of a machine's condition: %w", err)
	}
	for _, s := range report.Statuses {
		status := types.InstanceHealthCheckState(s.Status)
		if s.Type == runtimeCheck && slices.Contains(status.Values(), status) {
			return condition{status, lifecycle.Clip(s.Reason)}, true, nil
		}
	}
	return condition{}, false, nil
}

// conditionEvery is how often a condition that stays as it is is written down again.
const conditionEvery = 10 * time.Minute

// ObserveCondition writes down what a node says of itself.
func ObserveCondition(tx *state.Tx, node string, c condition, now time.Time) {
	n, ok := state.Nodes.Get(tx, node)
	if !ok {
		return
	}
	same := n.Condition.Status == c.Status && n.Condition.Reason == c.Reason
	if same && now.Sub(n.Condition.Updated) < conditionEvery {
		return
	}
	if n.Condition.Status != c.Status {
		n.Condition.Since = now
	}
	n.Condition.Status, n.Condition.Reason, n.Condition.Updated = c.Status, c.Reason, now
	state.Nodes.Put(tx, n)
}
