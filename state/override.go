package state

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Overridden is a task definition as a task with these overrides has it. This is what is checked, reserved,
// described and sent to the node. Environment is overridden by name, all else as a whole.
func Overridden(spec types.TaskDefinition, o types.TaskOverride) types.TaskDefinition {
	override(&spec.Cpu, o.Cpu)
	override(&spec.Memory, o.Memory)
	override(&spec.ExecutionRoleArn, o.ExecutionRoleArn)
	if len(o.ContainerOverrides) > 0 {
		spec.ContainerDefinitions = slices.Clone(spec.ContainerDefinitions)
	}
	for _, over := range o.ContainerOverrides {
		for n := range spec.ContainerDefinitions {
			c := &spec.ContainerDefinitions[n]
			if c.Name == nil || over.Name == nil || *c.Name != *over.Name {
				continue
			}
			if over.Command != nil {
				c.Command = over.Command
			}
			if len(over.EnvironmentFiles) > 0 {
				c.EnvironmentFiles = over.EnvironmentFiles
			}
			if over.Cpu != nil {
				c.Cpu = *over.Cpu
			}
			override(&c.Memory, over.Memory)
			override(&c.MemoryReservation, over.MemoryReservation)
			if over.ResourceRequirements != nil {
				c.ResourceRequirements = over.ResourceRequirements
			}
			c.Environment = overriddenEnvironment(c.Environment, over.Environment)
		}
	}
	return spec
}

func override[T any](said **T, over *T) {
	if over != nil {
		*said = over
	}
}

// overriddenEnvironment is what no override names, then the overrides.
func overriddenEnvironment(said, over []types.KeyValuePair) []types.KeyValuePair {
	if len(over) == 0 {
		return said
	}
	kept := slices.DeleteFunc(slices.Clone(said), func(e types.KeyValuePair) bool {
		return slices.ContainsFunc(over, func(o types.KeyValuePair) bool {
			return e.Name != nil && o.Name != nil && *e.Name == *o.Name
		})
	})
	return append(kept, over...)
}
