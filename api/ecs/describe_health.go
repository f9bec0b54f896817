package ecs

import (
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// containerHealth is what the node said last of a container that has a health check; UNKNOWN for any other, for one
// that is still in its start period, and where nothing was said yet.
func containerHealth(t state.Task, spec *types.ContainerDefinition) types.HealthStatus {
	if spec == nil || !checksHealth(spec) {
		return types.HealthStatusUnknown
	}
	for _, h := range t.Health {
		if h.Name == deref(spec.Name) {
			return h.Status
		}
	}
	return types.HealthStatusUnknown
}

// taskHealth is that of its essential containers that have a health check; the others do not count. One that is
// UNHEALTHY makes the task so, and one that is UNKNOWN, or none at all, makes it UNKNOWN.
// Developer Guide, "Determine Amazon ECS task health using container health checks".
func taskHealth(t state.Task, spec types.TaskDefinition) types.HealthStatus {
	seen := map[types.HealthStatus]bool{}
	for i := range spec.ContainerDefinitions {
		if c := &spec.ContainerDefinitions[i]; checksHealth(c) && (c.Essential == nil || *c.Essential) {
			seen[containerHealth(t, c)] = true
		}
	}
	switch {
	case seen[types.HealthStatusUnhealthy]:
		return types.HealthStatusUnhealthy
	case seen[types.HealthStatusUnknown] || len(seen) == 0:
		return types.HealthStatusUnknown
	}
	return types.HealthStatusHealthy
}
