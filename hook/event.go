package hook

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// event is what a hook is told, as ECS tells a Lambda function. Developer Guide, "Lambda hooks for Amazon ECS service
// deployments", "Lifecycle payloads".
type event struct {
	ExecutionID      string           `json:"executionId"`
	LifecycleStage   string           `json:"lifecycleStage"`
	ResourceARN      string           `json:"resourceArn"`
	ExecutionDetails executionDetails `json:"executionDetails"`
	HookDetails      json.RawMessage  `json:"hookDetails,omitempty"`
}

type executionDetails struct {
	ServiceARN               string             `json:"serviceArn"`
	TargetServiceRevisionARN string             `json:"targetServiceRevisionArn"`
	TestTrafficWeights       map[string]float64 `json:"testTrafficWeights"`
	ProductionTrafficWeights map[string]float64 `json:"productionTrafficWeights"`
}

// eventOf is what the hook of a run is told. Weights are told at the stages that shift traffic, as far as they are
// about that traffic.
func eventOf(d state.ServiceDeployment, run state.HookRun) event {
	e := event{ExecutionID: run.ID, LifecycleStage: string(run.Stage), ResourceARN: d.ARN, ExecutionDetails: executionDetails{
		ServiceARN: d.ServiceARN, TargetServiceRevisionARN: d.RevisionARN,
		TestTrafficWeights: map[string]float64{}, ProductionTrafficWeights: map[string]float64{},
	}}
	between := func(share float64) map[string]float64 {
		weights := map[string]float64{d.RevisionARN: share}
		if d.BlueARN != "" {
			weights[d.BlueARN] = 100 - share
		}
		return weights
	}
	switch run.Stage {
	case types.DeploymentLifecycleHookStageTestTrafficShift:
		e.ExecutionDetails.TestTrafficWeights = between(d.TestTraffic)
	case types.DeploymentLifecycleHookStagePreProductionTrafficShift, types.DeploymentLifecycleHookStageProductionTrafficShift:
		e.ExecutionDetails.ProductionTrafficWeights = between(d.ProductionTraffic)
	}
	var given string
	if run.Hook < len(d.HookDetails) {
		given = d.HookDetails[run.Hook]
	}
	e.HookDetails = merge(given, run.Details)
	return e
}

// merge is the details that its user gave a hook, with those that it gave itself in its last answer.
func merge(given, own string) json.RawMessage {
	if given == "" || own == "" {
		return json.RawMessage(given + own)
	}
	var all, over map[string]json.RawMessage
	if json.Unmarshal([]byte(given), &all) != nil || json.Unmarshal([]byte(own), &over) != nil || all == nil || over == nil {
		return json.RawMessage(own)
	}
	for key, value := range over {
		all[key] = value
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return json.RawMessage(own)
	}
	return merged
}
