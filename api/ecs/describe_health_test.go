package ecs

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

func TestATaskIsAsHealthyAsItsEssentialContainersWithAHealthCheck(t *testing.T) {
	check := func(words ...string) *types.HealthCheck { return &types.HealthCheck{Command: words} }
	spec := types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{
		{Name: ptr("a"), HealthCheck: check("CMD", "x")},
		{Name: ptr("b"), HealthCheck: check("CMD", "x"), Essential: ptr(true)},
		{Name: ptr("side"), HealthCheck: check("CMD", "x"), Essential: ptr(false)},
		{Name: ptr("none")},
		{Name: ptr("off"), HealthCheck: check("NONE")},
	}}
	const healthy, unhealthy, unknown = types.HealthStatusHealthy, types.HealthStatusUnhealthy, types.HealthStatusUnknown
	for _, test := range []struct {
		health map[string]types.HealthStatus
		want   types.HealthStatus
	}{
		{nil, unknown},
		{map[string]types.HealthStatus{"a": healthy}, unknown},
		{map[string]types.HealthStatus{"a": healthy, "b": healthy}, healthy},
		{map[string]types.HealthStatus{"a": healthy, "b": unknown}, unknown},
		{map[string]types.HealthStatus{"a": unhealthy, "b": unknown}, unhealthy},
		{map[string]types.HealthStatus{"a": healthy, "b": healthy, "side": unhealthy}, healthy},
		{map[string]types.HealthStatus{"a": healthy, "b": healthy, "none": unhealthy, "off": unhealthy}, healthy},
	} {
		var task state.Task
		for name, status := range test.health {
			task.Health = append(task.Health, state.ContainerHealth{Name: name, Status: status})
		}
		if got := taskHealth(task, spec); got != test.want {
			t.Errorf("%v: the task is %s, want %s", test.health, got, test.want)
		}
	}
	alone := types.TaskDefinition{ContainerDefinitions: spec.ContainerDefinitions[2:]}
	if got := taskHealth(state.Task{Health: []state.ContainerHealth{{Name: "side", Status: healthy}}}, alone); got != unknown {
		t.Errorf("no essential container has a health check, and the task is %s", got)
	}
	for _, c := range spec.ContainerDefinitions[3:] {
		if got := containerHealth(state.Task{Health: []state.ContainerHealth{{Name: *c.Name, Status: healthy}}}, &c); got != unknown {
			t.Errorf("%s has no health check, and is %s", *c.Name, got)
		}
	}
}
