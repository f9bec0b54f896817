package dispatch

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/state"
)

// TestPayload shows what a node is told of a task: a task definition and overrides go in, in the words of
// the API, and the assignment comes out.
func TestPayload(t *testing.T) {
	datadriven.Walk(t, "testdata/payload", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var in struct {
				Definition types.TaskDefinition
				Overrides  types.TaskOverride
				LaunchType types.LaunchType
				Group      string
			}
			if err := json.Unmarshal([]byte(d.Input), &in); err != nil {
				d.Fatalf(t, "%v", err)
			}
			if in.LaunchType == "" {
				in.LaunchType = types.LaunchTypeEc2
			}
			task := state.Task{
				ARN: taskARN("t1"), ClusterARN: clusterARN, DefinitionARN: definitionARN,
				LaunchType: in.LaunchType, Group: in.Group, Overrides: in.Overrides, Desired: lifecycle.Running,
			}
			for _, c := range in.Definition.ContainerDefinitions {
				task.Containers = append(task.Containers, state.Container{Name: *c.Name, ARN: "arn:aws:ecs:us-east-1:000000000000:container/demo/t1/" + *c.Name})
			}
			out := AssignmentOf(task, state.TaskDefinition{ARN: definitionARN, Family: "web", Revision: 7, Spec: in.Definition})
			if d.Cmd == "stop" {
				out = StopOf(task)
			}
			b, err := json.MarshalIndent(out, "", "  ")
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			return string(b) + "\n"
		})
	})
}
