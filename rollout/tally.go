package rollout

import "time"

// A round is one look at a service, and what comes of it.
type round struct {
	View
	now  time.Time
	plan Plan
}

func look(v View, now time.Time) *round {
	return &round{View: v, now: now, plan: Plan{Deployment: v.Deployment}}
}

// tell adds a line to the service's history.
func (r *round) tell(message string) { r.plan.Events = append(r.plan.Events, Event{Message: message}) }

// tellOnce adds one that is not repeated while its cause lasts.
func (r *round) tellOnce(message string) {
	r.plan.Events = append(r.plan.Events, Event{Message: message, Once: true})
}

// called is a revision's name in events.
func (r *round) called(revision string) string { return r.Names[revision] }

// again has the service looked at once more at that time, or before.
func (r *round) again(at time.Time) {
	if at.After(r.now) && (r.plan.Again.IsZero() || at.Before(r.plan.Again)) {
		r.plan.Again = at
	}
}

// tally notes who has become healthy and who has failed since the last look.
func (r *round) tally() {
	d := &r.plan.Deployment
	for _, t := range r.Tasks {
		r.again(t.Again)
		if t.Phase != Healthy || !t.HealthyAt.IsZero() {
			continue
		}
		r.plan.Healthy = append(r.plan.Healthy, t.ID)
		if t.Revision != d.Heading {
			continue
		}
		d.FailedInARow, d.StartAfter = 0, time.Time{}
		if d.Settings.ResetOnHealthy {
			*r.failures() = 0
		}
	}
	for _, t := range r.Tasks {
		switch {
		case t.Failed:
			r.count(t)
		case t.Phase == Stopped:
			r.plan.Count = append(r.plan.Count, t.ID)
		}
	}
}

// count counts a task that has failed, once. What was healthy before and fails later is replaced, and that is all: it
// says nothing of its revision.
func (r *round) count(t Task) {
	r.plan.Count = append(r.plan.Count, t.ID)
	if d := &r.plan.Deployment; t.Revision == d.Heading && t.HealthyAt.IsZero() {
		*r.failures()++
		r.slowDown(t)
	}
}

// failures is the count that matters now.
func (r *round) failures() *int {
	if r.plan.Deployment.RollbackReason != "" {
		return &r.plan.Deployment.RollbackFailed
	}
	return &r.plan.Deployment.Failed
}

// The throttle: how long is waited after the second round of starts in a row that failed, and at most; it doubles in
// between. ECS says "incrementally" and that the most is 15 minutes, or lately 27. Developer Guide, "Amazon ECS service
// throttle logic". The first failure costs no time, and before a circuit breaker of three has tripped a second has
// passed.
const (
	firstDelay   = time.Second
	lastDelay    = 15 * time.Minute
	toldThrottle = 3 // rounds in a row, then it is told
)

// slowDown makes the next start wait. Tasks that were started together count once, however many of them failed.
func (r *round) slowDown(t Task) {
	d := &r.plan.Deployment
	if d.FailedInARow > 0 && t.CreatedAt.Before(d.StartAfter) {
		return
	}
	d.FailedInARow++
	d.StartAfter = r.now.Add(delay(d.FailedInARow))
	if d.FailedInARow >= toldThrottle {
		r.tellOnce("is unable to consistently start tasks successfully.")
	}
}

func delay(rounds int) time.Duration {
	switch {
	case rounds < 2:
		return 0
	case rounds > 20:
		return lastDelay
	}
	return min(firstDelay<<(rounds-2), lastDelay)
}

// throttled reports whether nothing may be started yet.
func (r *round) throttled() bool {
	at := r.plan.Deployment.StartAfter
	r.again(at)
	return r.now.Before(at)
}

// judge moves the deployment on: it begins, fails, or is told to stop.
func (r *round) judge() {
	d := &r.plan.Deployment
	if d.Status == Pending || d.Status == "" {
		d.Status, d.StartedAt = InProgress, r.now
	}
	failed := d.Settings.Breaker > 0 && *r.failures() >= d.Settings.Breaker
	switch {
	case d.Status == InProgress && d.StopAsked == "ABORT":
		r.halt("Service deployment stopped by a request of the user.")
	case d.Status == InProgress && d.StopAsked != "":
		r.goBack("Service deployment rolled back by a request of the user.")
	case d.Status == InProgress && failed:
		r.tell("(deployment " + r.called(d.Heading) + ") deployment failed: tasks failed to start.")
		if reason := "Service deployment failed: tasks failed to start."; d.Settings.RollBack {
			r.goBack(reason)
		} else {
			r.halt(reason)
		}
	case d.Status == RollbackInProgress && failed:
		d.Status, d.FinishedAt = RollbackFailed, r.now
		d.Reason = "Service deployment rollback failed: tasks failed to start."
		r.tell("(deployment " + r.called(d.Heading) + ") deployment failed: tasks failed to start.")
	}
}

// goBack heads for the last revision that worked; without one, there is nowhere to go.
func (r *round) goBack(reason string) {
	d := &r.plan.Deployment
	if d.Stable == "" || d.Stable == d.Target {
		r.halt(reason + " No rollback candidate was found.")
		return
	}
	d.Status, d.Reason = RollbackInProgress, reason
	d.Heading, d.RollbackReason, d.RollbackAt = d.Stable, reason, r.now
	d.FailedInARow, d.StartAfter, d.RollbackFailed = 0, time.Time{}, 0
	r.tell("rolling back to deployment " + r.called(d.Stable) + ".")
}

func (r *round) halt(reason string) {
	d := &r.plan.Deployment
	d.Status, d.Reason, d.FinishedAt = Halted, reason, r.now
}

// succeed ends the deployment well.
func (r *round) succeed() {
	d := &r.plan.Deployment
	d.FinishedAt = r.now
	switch d.Status {
	case RollbackInProgress:
		d.Status = RollbackSuccessful
	default:
		d.Status, d.Reason = Successful, ""
	}
	r.tell("(deployment " + r.called(d.Heading) + ") deployment completed.")
}

// settled notes whether the service is as it should be. That is told once each time it becomes so.
func (r *round) settled(steady bool) {
	d := &r.plan.Deployment
	if steady && !d.Steady {
		r.tell("has reached a steady state.")
	}
	d.Steady = steady
}
