package control

import (
	"time"

	"havn/lifecycle"
	"havn/state"
	"havn/story"
)

// How long what has ended can still be described.
const (
	keepTask     = time.Hour // as ECS does
	keepCluster  = time.Hour
	keepInstance = time.Hour
)

// KeepStories is how long it is remembered why a task did not run, or found no place, unless the operator says otherwise.
const KeepStories = 7 * 24 * time.Hour

// Reapers forget what has ended.
func Reapers(keepStories time.Duration) []Controller {
	return []Controller{reapTasks(), reapStories(keepStories), reapRefusals(keepStories), reapTokens(), reapDefinitions(), reapInstances(), reapClusters(),
		reapServices(), reapDeployments(), reapLogStreams()}
}

// reapTasks forgets a STOPPED task an hour after it has stopped. Its story is kept.
func reapTasks() Controller {
	return Controller{
		Name: "reap tasks",
		Concerns: func(c state.Change) []string {
			if t, ok := c.New.(state.Task); ok && t.Last == lifecycle.Stopped {
				return []string{t.ARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			t, ok := state.Tasks.Get(tx, key)
			if !ok || t.Last != lifecycle.Stopped || t.Attached {
				return 0, nil
			}
			if left := t.StoppedAt.Add(keepTask).Sub(now); left > 0 {
				return left, nil
			}
			d, _ := state.TaskDefinitions.Get(tx, t.DefinitionARN)
			n, _ := state.Nodes.Peek(tx, t.NodeID)
			story.Tell(story.Facts{Task: t, Definition: d, Node: n, Now: now}).AddTo(tx)
			state.Tasks.Delete(tx, key)
			return 0, nil
		},
	}
}

// reapStories forgets the story of a task when its time has come.
func reapStories(keep time.Duration) Controller {
	return Controller{
		Name: "reap stories",
		Concerns: func(c state.Change) []string {
			if _, ok := c.New.(state.Story); ok {
				return []string{c.Key}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			s, ok := state.Stories.Get(tx, key)
			if !ok {
				return 0, nil
			}
			if left := s.StoppedAt.Add(keep).Sub(now); left > 0 {
				return left, nil
			}
			state.Stories.Delete(tx, key)
			return 0, nil
		},
	}
}

// reapRefusals forgets that something found no place when nobody has asked for it in vain for so long.
func reapRefusals(keep time.Duration) Controller {
	return Controller{
		Name: "reap refusals",
		Concerns: func(c state.Change) []string {
			if _, ok := c.New.(state.Refusal); ok {
				return []string{c.Key}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			r, ok := state.Refusals.Get(tx, key)
			if !ok {
				return 0, nil
			}
			if left := r.LastAt.Add(keep).Sub(now); left > 0 {
				return left, nil
			}
			state.Refusals.Delete(tx, key)
			return 0, nil
		},
	}
}

// reapTokens forgets a client token after a day.
func reapTokens() Controller {
	return Controller{
		Name: "reap client tokens",
		Concerns: func(c state.Change) []string {
			if _, ok := c.New.(state.ClientToken); ok {
				return []string{c.Key}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			t, ok := state.ClientTokens.Get(tx, key)
			if !ok {
				return 0, nil
			}
			if left := t.CreatedAt.Add(state.ClientTokenLife).Sub(now); left > 0 {
				return left, nil
			}
			state.ClientTokens.Delete(tx, key)
			return 0, nil
		},
	}
}

// reapDefinitions forgets a task definition that is to be deleted when no task and no service revision has it any more.
// Its revision is not used again: the family remembers it.
func reapDefinitions() Controller {
	return Controller{
		Name: "reap task definitions",
		Concerns: func(c state.Change) []string {
			if d, ok := c.New.(state.TaskDefinition); ok && d.Status == "DELETE_IN_PROGRESS" {
				return []string{d.ARN}
			}
			if t, ok := gone[state.Task](c); ok {
				return []string{t.DefinitionARN}
			}
			if r, ok := gone[state.ServiceRevision](c); ok && r.DefinitionARN != "" {
				return []string{r.DefinitionARN}
			}
			return nil
		},
		Reaches: func(r *state.Reader, c state.Change) (all []string) {
			service := ""
			switch record := c.New.(type) { // that a service wants other revisions now, or none
			case state.Service:
				service = record.ARN
			case state.ServiceDeployment:
				before, _ := c.Old.(state.ServiceDeployment)
				if before.Status == record.Status {
					return nil
				}
				service = record.ServiceARN
			}
			for revision := range state.ServiceRevisions.By(r, "service", service) {
				if d, ok := state.TaskDefinitions.Get(r, revision.DefinitionARN); ok && d.Status == "DELETE_IN_PROGRESS" {
					all = append(all, d.ARN)
				}
			}
			return all
		},
		Reconcile: func(tx *state.Tx, key string, _ time.Time) (time.Duration, error) {
			d, ok := state.TaskDefinitions.Get(tx, key)
			if ok && d.Status == "DELETE_IN_PROGRESS" && state.Tasks.CountBy(tx, "definition", key) == 0 && !wantedByService(tx, key) {
				state.TaskDefinitions.Delete(tx, key)
			}
			return 0, nil
		},
	}
}

// reapInstances forgets a deregistered container instance after an hour, when no task names it any more.
// An automatic one stays as long as its node could become one again: the record is how Havn remembers
// that a user does not want it.
func reapInstances() Controller {
	return Controller{
		Name: "reap container instances",
		Concerns: func(c state.Change) []string {
			if i, ok := c.New.(state.Instance); ok && i.Status == "INACTIVE" {
				return []string{i.ARN}
			}
			if t, ok := gone[state.Task](c); ok && t.InstanceARN != "" {
				return []string{t.InstanceARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			i, ok := state.Instances.Get(tx, key)
			if !ok || i.Status != "INACTIVE" || state.Tasks.CountBy(tx, "instance", key) > 0 {
				return 0, nil
			}
			if c, ok := state.Clusters.Get(tx, i.ClusterARN); ok && i.Automatic && c.Status == "ACTIVE" {
				return 0, nil
			}
			if left := i.DeregisteredAt.Add(keepInstance).Sub(now); left > 0 {
				return left, nil
			}
			state.Instances.Delete(tx, key)
			return 0, nil
		},
	}
}

// reapClusters forgets a deleted cluster after an hour, when nothing is in it any more.
func reapClusters() Controller {
	return Controller{
		Name: "reap clusters",
		Concerns: func(c state.Change) []string {
			if cluster, ok := c.New.(state.Cluster); ok && cluster.Status == "INACTIVE" {
				return []string{cluster.ARN}
			}
			if t, ok := gone[state.Task](c); ok {
				return []string{t.ClusterARN}
			}
			if i, ok := gone[state.Instance](c); ok {
				return []string{i.ClusterARN}
			}
			if s, ok := gone[state.Service](c); ok {
				return []string{s.ClusterARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			c, ok := state.Clusters.Get(tx, key)
			if !ok || c.Status != "INACTIVE" ||
				state.Tasks.CountBy(tx, "cluster", key) > 0 || state.Instances.CountBy(tx, "cluster", key) > 0 || state.Services.CountBy(tx, "cluster", key) > 0 {
				return 0, nil
			}
			if left := c.DeletedAt.Add(keepCluster).Sub(now); left > 0 {
				return left, nil
			}
			state.Clusters.Delete(tx, key)
			return 0, nil
		},
	}
}

// gone is the record that a change has removed.
func gone[R any](c state.Change) (R, bool) {
	r, ok := c.Old.(R)
	return r, ok && c.New == nil
}
