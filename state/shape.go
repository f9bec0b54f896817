package state

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Almost every type of the SDK that a record carries is plain data, and encoding/json writes and reads it
// back. The exception is a union: an interface, which cannot be read back. A task definition has one, how
// a GPU is shared, and keeps it beside the rest.

// sharing is the sharing strategy of one resource requirement, by its place in the definition.
type sharing struct {
	Container   int
	Requirement int
	NvidiaMps   *types.NvidiaMpsAllocation
}

type plainTaskDefinition TaskDefinition

type storedTaskDefinition struct {
	plainTaskDefinition
	Sharing []sharing `json:",omitempty"`
}

// MarshalJSON writes the definition with its unions beside it.
func (d TaskDefinition) MarshalJSON() ([]byte, error) {
	stored := storedTaskDefinition{plainTaskDefinition: plainTaskDefinition(d)}
	for c, container := range d.Spec.ContainerDefinitions {
		for r, requirement := range container.ResourceRequirements {
			if mps, ok := requirement.SharingStrategy.(*types.SharingStrategyMemberNvidiaMps); ok {
				stored.Sharing = append(stored.Sharing, sharing{c, r, &mps.Value})
			}
		}
	}
	if len(stored.Sharing) > 0 {
		stored.Spec.ContainerDefinitions = withoutSharing(d.Spec.ContainerDefinitions)
	}
	return json.Marshal(stored)
}

// withoutSharing is a copy: the caller keeps his.
func withoutSharing(containers []types.ContainerDefinition) []types.ContainerDefinition {
	containers = append([]types.ContainerDefinition(nil), containers...)
	for c := range containers {
		requirements := append([]types.ResourceRequirement(nil), containers[c].ResourceRequirements...)
		for r := range requirements {
			requirements[r].SharingStrategy = nil
		}
		if requirements != nil {
			containers[c].ResourceRequirements = requirements
		}
	}
	return containers
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *TaskDefinition) UnmarshalJSON(b []byte) error {
	var stored storedTaskDefinition
	if err := json.Unmarshal(b, &stored); err != nil {
		return err
	}
	*d = TaskDefinition(stored.plainTaskDefinition)
	for _, s := range stored.Sharing {
		if s.NvidiaMps == nil || s.Container >= len(d.Spec.ContainerDefinitions) ||
			s.Requirement >= len(d.Spec.ContainerDefinitions[s.Container].ResourceRequirements) {
			continue
		}
		d.Spec.ContainerDefinitions[s.Container].ResourceRequirements[s.Requirement].SharingStrategy =
			&types.SharingStrategyMemberNvidiaMps{Value: *s.NvidiaMps}
	}
	return nil
}
