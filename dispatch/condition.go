package dispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// decodeCondition takes out of a telemetry message whether the machine can run containers; false where it tells of
// something else.
func decodeCondition(message json.RawMessage) (c protocol.Condition, told bool, err error) {
	var report protocol.ConditionReport
	if err := json.Unmarshal(message, &report); err != nil {
		return c, false, fmt.Errorf("cannot decode a report of a machine's condition: %w", err)
	}
	for _, c := range report.Statuses {
		status := types.InstanceHealthCheckState(c.Status)
		if c.Type == protocol.ContainerRuntime && slices.Contains(status.Values(), status) {
			return c, true, nil
		}
	}
	return c, false, nil
}

// conditionEvery is how often a condition that stays as it is is written down again.
const conditionEvery = 10 * time.Minute

// ObserveCondition writes down what a node says of itself.
func ObserveCondition(tx *state.Tx, node string, said protocol.Condition, now time.Time) {
	n, ok := state.Nodes.Get(tx, node)
	if !ok {
		return
	}
	seen := state.Condition{Status: types.InstanceHealthCheckState(said.Status), Reason: lifecycle.Clip(said.Reason),
		Since: now, Updated: now}
	if was := n.Condition; was.Status == seen.Status {
		if was.Reason == seen.Reason && now.Sub(was.Updated) < conditionEvery {
			return
		}
		seen.Since = was.Since
	}
	n.Condition = seen
	state.Nodes.Put(tx, n)
}
