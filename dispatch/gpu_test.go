package dispatch

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/protocol"
	"havn/state"
)

func TestEachContainerIsGivenItsGPUs(t *testing.T) {
	wants := func(name, gpus string) types.ContainerDefinition {
		c := types.ContainerDefinition{Name: aws.String(name)}
		if gpus != "" {
			c.ResourceRequirements = []types.ResourceRequirement{{Type: types.ResourceTypeGpu, Value: aws.String(gpus)}}
		}
		return c
	}
	d := state.TaskDefinition{Spec: types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{
		wants("one", "1"), wants("none", ""), wants("two", "2"),
	}}}
	task := state.Task{ARN: "t", Reserved: state.Resources{GPUs: []string{"a", "b", "c"}}}
	got := AssignmentOf(task, d).Associations
	want := []protocol.Association{
		{Name: "a", Type: "gpu", Containers: []string{"one"}},
		{Name: "b", Type: "gpu", Containers: []string{"two"}},
		{Name: "c", Type: "gpu", Containers: []string{"two"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
