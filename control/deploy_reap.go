package control

import (
	"time"

	"havn/rollout"
	"havn/state"
)

const (
	keepService    = time.Hour           // how long one that is INACTIVE can still be described
	keepDeployment = 90 * 24 * time.Hour // Developer Guide, "View service history using Amazon ECS service deployments"
	maxReaped      = 250                 // records in one transaction
)

// reapServices forgets a deleted service after an hour, when no task of it is left, with all that belongs to it.
func reapServices() Controller {
	return Controller{
		Name: "reap services",
		Concerns: func(c state.Change) []string {
			if s, ok := c.New.(state.Service); ok && s.Status == "INACTIVE" {
				return []string{s.ARN}
			}
			if t, ok := gone[state.Task](c); ok && t.ServiceARN != "" {
				return []string{t.ServiceARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			s, ok := state.Services.Get(tx, key)
			if !ok || s.Status != "INACTIVE" || state.Tasks.CountBy(tx, "service", key) > 0 {
				return 0, nil
			}
			if left := s.DeletedAt.Add(keepService).Sub(now); left > 0 {
				return left, nil
			}
			room := maxReaped
			reap(tx, state.ServiceDeployments, key, &room, func(d state.ServiceDeployment) string { return d.ARN })
			reap(tx, state.ServiceRevisions, key, &room, func(r state.ServiceRevision) string { return r.ARN })
			reap(tx, state.TaskSets, key, &room, func(t state.TaskSet) string { return t.ARN })
			if room <= 0 {
				return 1, nil // the rest at once, in a transaction of its own
			}
			state.ServiceEvents.Delete(tx, key)
			state.Services.Delete(tx, key)
			return 0, nil
		},
	}
}

// reap deletes the records of a service, as far as there is room in the transaction.
func reap[R any](tx *state.Tx, t state.Table[R], service string, room *int, key func(R) string) {
	for r := range t.By(tx, "service", service) {
		if *room--; *room < 0 {
			return
		}
		t.Delete(tx, key(r))
	}
}

// reapDeployments forgets a service deployment 90 days after it has ended, and its revision with it, unless that is still
// of use.
func reapDeployments() Controller {
	return Controller{
		Name: "reap service deployments",
		Concerns: func(c state.Change) []string {
			if d, ok := c.New.(state.ServiceDeployment); ok && !isOpen(d) {
				return []string{d.ARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			d, ok := state.ServiceDeployments.Get(tx, key)
			if !ok || isOpen(d) {
				return 0, nil
			}
			if left := d.FinishedAt.Add(keepDeployment).Sub(now); left > 0 {
				return left, nil
			}
			if s, ok := state.Services.Get(tx, d.ServiceARN); ok && s.DeploymentARN == key {
				return keepDeployment, nil
			}
			state.ServiceDeployments.Delete(tx, key)
			if !revisionInUse(tx, d.ServiceARN, d.RevisionARN) {
				state.ServiceRevisions.Delete(tx, d.RevisionARN)
			}
			return 0, nil
		},
	}
}

func isOpen(d state.ServiceDeployment) bool {
	return rollout.Deployment{Status: string(d.Status)}.Open()
}

// revisionInUse reports whether a deployment or a task names a revision.
func revisionInUse(tx *state.Tx, service, revision string) bool {
	for d := range state.ServiceDeployments.By(tx, "service", service) {
		if d.RevisionARN == revision || d.StableARN == revision || d.Heading() == revision {
			return true
		}
	}
	for t := range state.Tasks.By(tx, "open of service", service) {
		if t.RevisionARN == revision {
			return true
		}
	}
	return false
}

// wantedByService reports whether a service may start more tasks of a task definition: by the revision that it heads
// for, or could go back to.
func wantedByService(tx *state.Tx, definition string) bool {
	for r := range state.ServiceRevisions.By(tx, "definition", definition) {
		s, ok := state.Services.Peek(tx, r.ServiceARN)
		if !ok || s.Status == "INACTIVE" {
			continue
		}
		d, _ := state.ServiceDeployments.Peek(tx, s.DeploymentARN)
		if r.ARN == d.RevisionARN || r.ARN == d.StableARN || r.ARN == d.Heading() {
			return true
		}
		for t := range state.TaskSets.By(tx, "service", s.ARN) {
			if t.RevisionARN == r.ARN {
				return true
			}
		}
	}
	return false
}
