package control

import (
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/rollout"
	"havn/state"
)

// lookAtSets reads the task sets of a service with an external controller. Each is guarded: who starts or stops tasks
// writes it.
func (g *gathered) lookAtSets(tx *state.Tx) {
	g.sets = map[string]state.TaskSet{}
	for set := range state.TaskSets.By(tx, "service", g.service.ARN) {
		set, ok := state.TaskSets.Get(tx, set.ARN)
		if !ok {
			continue
		}
		g.sets[set.ID] = set
		g.revision(set.RevisionARN)
		g.view.TaskSets = append(g.view.TaskSets, rollout.TaskSet{
			ID: set.ID, Revision: set.RevisionARN, Want: int(set.Share(g.service.Desired)),
			Draining: set.Status == "DRAINING", Steady: set.Stability == types.StabilityStatusSteadyState,
			FailedInARow: int(set.FailedInARow), StartAfter: set.StartAfter,
		})
	}
}

// rememberSets writes task sets as the plan wants them, and deletes those that are gone with what they were made from.
func (w *writer) rememberSets(p rollout.Plan, waiting bool) {
	for _, now := range p.TaskSets {
		set := w.sets[now.ID]
		stability := types.StabilityStatusStabilizing
		if now.Steady {
			stability = types.StabilityStatusSteadyState
		}
		changed := stability != set.Stability || int32(now.FailedInARow) != set.FailedInARow || !now.StartAfter.Equal(set.StartAfter) || waiting != set.Waiting
		if stability != set.Stability {
			set.Stability, set.StabilityAt = stability, w.now
			if now.Steady {
				w.say("(taskSet %s) has reached a steady state.", set.ID)
			}
		}
		set.FailedInARow, set.StartAfter, set.Waiting = int32(now.FailedInARow), now.StartAfter, waiting
		if w.acted {
			set.Steps++
		}
		if changed || w.acted {
			state.TaskSets.Put(w.tx, set)
		}
	}
	for _, id := range p.Gone {
		state.TaskSets.Delete(w.tx, w.sets[id].ARN)
		state.ServiceRevisions.Delete(w.tx, w.sets[id].RevisionARN)
	}
}

// servicesWaiting are the services of a cluster of which a task waits for a place.
func servicesWaiting(r *state.Reader, clusterARN string) []string {
	var all []string
	for d := range state.ServiceDeployments.By(r, "waiting in cluster", clusterARN) {
		all = append(all, d.ServiceARN)
	}
	for set := range state.TaskSets.By(r, "waiting in cluster", clusterARN) {
		all = append(all, set.ServiceARN)
	}
	return all
}

// external reports whether a service's tasks are in task sets.
func external(s state.Service) bool { return s.Controller == types.DeploymentControllerTypeExternal }

// forgetSets deletes the task sets of a service that is gone.
func forgetSets(tx *state.Tx, s state.Service) {
	for set := range state.TaskSets.By(tx, "service", s.ARN) {
		state.TaskSets.Delete(tx, set.ARN)
	}
}
