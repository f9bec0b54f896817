package control

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// A service with an external controller has what its task sets say, each its share, by its own capacity providers; a set
// that is deleted goes with its tasks, and so does the service with all of its sets.
func TestTaskSetsAreScaledByTheirShares(t *testing.T) {
	w := &services{world: newWorld(t, All()...), shownEvents: map[string]string{}}
	service := state.Service{ARN: arn("service", "c/s"), Name: "s", ClusterARN: arn("cluster", "c"), Status: "ACTIVE", Desired: 4, CreatedAt: w.now,
		Scheduling: types.SchedulingStrategyReplica, Controller: types.DeploymentControllerTypeExternal}
	set := func(tx *state.Tx, id string, percent float64, strategy []types.CapacityProviderStrategyItem) {
		r := state.ServiceRevision{ARN: arn("service-revision", "c/s/"+id), ServiceARN: service.ARN, ClusterARN: service.ClusterARN, DeploymentID: id,
			DefinitionARN: arn("task-definition", "web:1"), CapacityProviderStrategy: strategy, CreatedAt: w.now}
		state.ServiceRevisions.Put(tx, r)
		state.TaskSets.Put(tx, state.TaskSet{ARN: arn("task-set", "c/s/"+id), ID: id, ServiceARN: service.ARN, ClusterARN: service.ClusterARN, RevisionARN: r.ARN,
			Scale: types.Scale{Unit: types.ScaleUnitPercent, Value: percent}, Status: "ACTIVE", Stability: types.StabilityStatusStabilizing, CreatedAt: w.now})
	}
	change := func(id string, f func(*state.TaskSet)) {
		w.update(func(tx *state.Tx) {
			s, _ := state.TaskSets.Get(tx, arn("task-set", "c/s/"+id))
			f(&s)
			state.TaskSets.Put(tx, s)
		})
	}
	// settled is what there is when all nodes have done what they are told and all is quiet.
	settled := func() string {
		for range 4 {
			w.pass(0)
			w.update(func(tx *state.Tx) {
				for task := range state.Tasks.All(tx) {
					if task.Last != lifecycle.Stopped {
						obey(tx, task, w.now)
					}
				}
			})
			w.pass(time.Minute)
		}
		tasks := map[string]int{}
		sets := ""
		w.store.View(func(r *state.Reader) {
			for task := range state.Tasks.By(r, "unstopped of service", service.ARN) {
				tasks[task.StartedBy+" on "+task.NodeID+" by "+task.CapacityProvider]++
			}
			for s := range state.TaskSets.All(r) {
				sets += fmt.Sprintf(" %s %s %s", s.ID, s.Status, s.Stability)
			}
			s, _ := state.Services.Get(r, service.ARN)
			sets += " " + s.Status
		})
		return fmt.Sprint(tasks) + sets
	}
	expect := func(want string) {
		t.Helper()
		if got := settled(); got != want {
			t.Errorf("%s\nnot %s", got, want)
		}
	}
	w.update(func(tx *state.Tx) {
		state.Clusters.Put(tx, state.Cluster{ARN: arn("cluster", "c"), Name: "c", Status: "ACTIVE", CreatedAt: epoch})
		for _, name := range []string{"spot", "steady"} {
			w.node(tx, name, 1000, "", false, false)
			n, _ := state.Nodes.Get(tx, name)
			n.Attributes = []types.Attribute{{Name: aws.String(placement.ProviderAttribute), Value: aws.String(name)}}
			state.Nodes.Put(tx, n)
		}
		spec := types.TaskDefinition{Compatibilities: []types.Compatibility{types.CompatibilityEc2}, ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("web"), Image: aws.String("web"), Cpu: 100}}}
		state.TaskDefinitions.Put(tx, state.TaskDefinition{ARN: arn("task-definition", "web:1"), Family: "web", Spec: spec, Status: types.TaskDefinitionStatusActive})
		state.Services.Put(tx, service)
		set(tx, "blue", 0, []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("spot"), Weight: 3}, {CapacityProvider: aws.String("steady"), Base: 1}})
	})
	expect("map[] blue ACTIVE STEADY_STATE ACTIVE")
	change("blue", func(s *state.TaskSet) { s.Scale.Value = 60 })
	expect("map[blue on spot by spot:2 blue on steady by steady:1] blue ACTIVE STEADY_STATE ACTIVE")
	w.update(func(tx *state.Tx) {
		set(tx, "green", 25, []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("steady"), Weight: 1}})
	})
	expect("map[blue on spot by spot:2 blue on steady by steady:1 green on steady by steady:1] blue ACTIVE STEADY_STATE green ACTIVE STEADY_STATE ACTIVE")
	change("blue", func(s *state.TaskSet) { s.Status = "DRAINING" })
	expect("map[green on steady by steady:1] green ACTIVE STEADY_STATE ACTIVE")
	// A set that asks for more than there is room for is not steady, and waits until there is.
	change("green", func(s *state.TaskSet) { s.Scale.Value = 100 })
	w.update(func(tx *state.Tx) {
		s, _ := state.Services.Get(tx, service.ARN)
		s.Desired = 11
		state.Services.Put(tx, s)
	})
	expect("map[green on steady by steady:10] green ACTIVE STABILIZING ACTIVE")
	w.update(func(tx *state.Tx) {
		n, _ := state.Nodes.Get(tx, "steady")
		n.Total.CPU += 100
		state.Nodes.Put(tx, placement.Recount(tx, n))
	})
	expect("map[green on steady by steady:11] green ACTIVE STEADY_STATE ACTIVE")
	w.update(func(tx *state.Tx) {
		s, _ := state.Services.Get(tx, service.ARN)
		s.Status, s.Desired, s.DeletedAt = "DRAINING", 0, w.now
		state.Services.Put(tx, s)
	})
	expect("map[] INACTIVE")
}
