package state

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// GPUsWanted is how many GPUs a container asks for.
func GPUsWanted(c types.ContainerDefinition) int {
	var sum int
	for _, r := range c.ResourceRequirements {
		if r.Type == types.ResourceTypeGpu && r.Value != nil {
			n, _ := strconv.Atoi(*r.Value) //nolint:errcheck // checked when it was registered; ALL is refused before it comes here
			sum += n
		}
	}
	return sum
}

// GPUsOf are those GPUs, of all that the task has, that the container named so gets: the containers take theirs in
// the order of the definition.
func GPUsOf(spec types.TaskDefinition, held []string, container string) []string {
	for _, c := range spec.ContainerDefinitions {
		n := min(GPUsWanted(c), len(held))
		if c.Name != nil && *c.Name == container {
			return held[:n:n]
		}
		held = held[n:]
	}
	return nil
}
