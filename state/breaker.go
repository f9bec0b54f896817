package state

import "github.com/aws/aws-sdk-go-v2/service/ecs/types"

// BreakerThreshold is after how many failed tasks the deployment of so many has failed. Developer Guide, "How the Amazon
// ECS deployment circuit breaker detects failures"; API Reference, "ThresholdConfiguration".
func BreakerThreshold(c *types.ThresholdConfiguration, desired int) int {
	kind, value := types.ThresholdTypeBoundedPercent, 50
	if c != nil {
		kind, value = c.Type, int(c.Value)
	}
	percent := (desired*value + 99) / 100
	switch kind {
	case types.ThresholdTypeCount:
		return max(value, 1)
	case types.ThresholdTypeUnboundedPercent:
		return max(percent, 1)
	}
	return min(max(percent, 3), 200)
}
