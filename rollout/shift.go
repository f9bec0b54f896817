package rollout

import (
	"cmp"
	"time"
)

// The stages of a deployment that shifts traffic, in their order. Developer Guide, "Amazon ECS blue/green service
// deployments workflow". Blue is the revision that serves, green the one that is to.
//
//	RECONCILE_SERVICE              only if there are tasks of a third revision: traffic to blue, and they are stopped
//	PRE_SCALE_UP
//	SCALE_UP                       green comes up beside blue, whole
//	POST_SCALE_UP
//	TEST_TRAFFIC_SHIFT             test traffic to green
//	POST_TEST_TRAFFIC_SHIFT
//	PRE_PRODUCTION_TRAFFIC_SHIFT   <-+ once for each step
//	PRODUCTION_TRAFFIC_SHIFT       --+ production traffic to green, if green is whole
//	POST_PRODUCTION_TRAFFIC_SHIFT
//	BAKE_TIME                      blue stays, to go back to
//	CLEAN_UP                       blue is stopped
//
// Going back, from any of them: PRODUCTION_TRAFFIC_SHIFT, if there was any, and TEST_TRAFFIC_SHIFT likewise, to blue;
// CLEAN_UP: green is stopped.
const (
	stageReconcile      = "RECONCILE_SERVICE"
	stagePreScaleUp     = "PRE_SCALE_UP"
	stageScaleUp        = "SCALE_UP"
	stagePostScaleUp    = "POST_SCALE_UP"
	stageTest           = "TEST_TRAFFIC_SHIFT"
	stagePostTest       = "POST_TEST_TRAFFIC_SHIFT"
	stagePreProduction  = "PRE_PRODUCTION_TRAFFIC_SHIFT"
	stageProduction     = "PRODUCTION_TRAFFIC_SHIFT"
	stagePostProduction = "POST_PRODUCTION_TRAFFIC_SHIFT"
	stageBake           = "BAKE_TIME"
	stageCleanUp        = "CLEAN_UP"
)

// Limits. Developer Guide, as above.
const (
	// stageLimit is how long a stage may wait for tasks. What waits for hooks has their time.
	stageLimit = 24 * time.Hour
	// deploymentLimit is how long all may take.
	deploymentLimit = 30 * 24 * time.Hour
)

// Begin is a deployment that shifts traffic as it begins, after the latest of the service that had begun: which
// revision serves, and what share of the traffic the other target group still has. Without any before, that is none.
func Begin(d, before Deployment) Deployment {
	switch s := before.Settings.Strategy; {
	case before.Status == Successful, before.Status == RollbackSuccessful:
		d.Blue = before.Heading
	case s != BlueGreen && s != Linear && s != Canary:
		d.Blue = cmp.Or(before.Stable, before.Heading)
	case before.Stage == stageCleanUp && before.RollbackReason == "":
		d.Blue = before.Target // what served before it may be gone already
	case before.Blue != "":
		d.Blue, d.Production, d.Test = before.Blue, before.Production, before.Test
	case before.Production > 0:
		d.Blue = before.Target
	}
	if d.Blue == d.Target {
		d.Blue = ""
	}
	return d
}

// shift brings all tasks of the target up beside those that serve, then moves the traffic, and keeps those that served
// until nobody wants to go back to them.
func shift(v View, now time.Time) Plan {
	if !v.Deployment.Open() {
		return roll(v, now)
	}
	s := &shifting{round: look(v, now)}
	s.begin()
	s.settleHooks()
	s.tallySides()
	s.judgeShift()
	for s.plan.Deployment.Open() && s.step() {
	}
	s.scaleSides()
	return s.plan
}

// shifting is one look at a service whose traffic is shifted. Each of its two revisions is kept as if it were alone in
// the service: as a rolling deployment that has nothing to replace.
type shifting struct{ *round }

func (s *shifting) begin() {
	d := &s.plan.Deployment
	d.Steady, d.Moving = false, false
	if d.Status == Pending || d.Status == "" {
		d.Status, d.StartedAt = InProgress, s.now
	}
}

// back reports whether it goes back.
func (s *shifting) back() bool { return s.plan.Deployment.RollbackReason != "" }

// of are the tasks of a revision.
func (s *shifting) of(revision string) (tasks []Task) {
	for _, t := range s.Tasks {
		if t.Revision == revision {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// third are the tasks that are neither blue nor green.
func (s *shifting) third() (tasks []Task) {
	d := s.plan.Deployment
	for _, t := range s.Tasks {
		if t.Revision != d.Target && t.Revision != d.Blue {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

func healthy(tasks []Task) (n int) {
	for _, t := range tasks {
		if t.Phase == Healthy {
			n++
		}
	}
	return n
}

// gone reports whether nothing is there any more: not even on its way out.
func gone(tasks []Task) bool {
	for _, t := range tasks {
		if t.Live() || t.Phase == Stopping {
			return false
		}
	}
	return true
}

// whole reports whether the target can serve all alone.
func (s *shifting) whole() bool {
	return healthy(s.of(s.plan.Deployment.Target)) >= s.Service.Desired
}

// able reports whether blue can take the traffic back: if it has what minimumHealthyPercent asks for, or no less than all
// others. It nearly always has, as it is kept whole.
func (s *shifting) able() bool {
	has := healthy(s.of(s.plan.Deployment.Blue))
	return has >= s.enough() || has >= healthy(s.of(s.plan.Deployment.Target))+healthy(s.third())
}

// enough is how many Healthy tasks minimumHealthyPercent asks for.
func (s *shifting) enough() int {
	return (s.Service.Desired*s.plan.Deployment.Settings.Minimum + 99) / 100
}

// tallySides notes who has become healthy and who has failed.
func (s *shifting) tallySides() {
	d := s.plan.Deployment
	for _, revision := range []string{d.Target, d.Blue} {
		if r := s.side(revision); r != nil {
			r.tally()
			s.absorb(r, revision)
		}
	}
	for _, t := range s.third() {
		if t.Failed {
			s.plan.Count = append(s.plan.Count, t.ID)
		}
	}
}

// side is a look at one revision alone.
func (s *shifting) side(revision string) *round {
	if revision == "" {
		return nil
	}
	r := &round{View: s.View, now: s.now, plan: Plan{Deployment: s.plan.Deployment}}
	r.Tasks = s.of(revision)
	if d := &r.plan.Deployment; revision != d.Heading {
		d.Heading, d.FailedInARow, d.StartAfter = revision, d.BesideFailed, d.BesideAfter
	}
	return r
}

// absorb takes over what came of a look at one revision.
func (s *shifting) absorb(r *round, revision string) {
	p, d := &s.plan, &s.plan.Deployment
	p.Start = append(p.Start, r.plan.Start...)
	p.Stop = append(p.Stop, r.plan.Stop...)
	p.Count = append(p.Count, r.plan.Count...)
	p.Healthy = append(p.Healthy, r.plan.Healthy...)
	p.Events = append(p.Events, r.plan.Events...)
	s.again(r.plan.Again)
	if got := r.plan.Deployment; revision == d.Heading {
		d.Failed, d.RollbackFailed, d.FailedInARow, d.StartAfter = got.Failed, got.RollbackFailed, got.FailedInARow, got.StartAfter
	} else {
		d.BesideFailed, d.BesideAfter = got.FailedInARow, got.StartAfter
	}
}

// judgeShift turns the deployment around, if something says that it must not go on. It then always goes back, whatever
// the circuit breaker's rollback says: traffic that is half here and half there is no end.
func (s *shifting) judgeShift() {
	if s.back() {
		return
	}
	d := &s.plan.Deployment
	reason := ""
	switch refusal, late := s.refusal(), s.late(); {
	case d.StopAsked != "":
		reason = "Service deployment rolled back by a request of the user."
	case d.Settings.Breaker > 0 && d.Failed >= d.Settings.Breaker:
		s.tell("(deployment " + s.called(d.Heading) + ") deployment failed: tasks failed to start.")
		reason = "Service deployment rolled back because the circuit breaker threshold was exceeded."
	case refusal != "":
		reason = refusal
	case s.Unroutable != "":
		reason = "Service deployment rolled back because of invalid networking configuration. " + s.Unroutable
	case late != "":
		reason = late
	default:
		return
	}
	s.turn(reason)
}

// late is why the deployment has taken too long; empty = it has not.
func (s *shifting) late() string {
	d := s.plan.Deployment
	if d.Stage == stageScaleUp || d.Stage == stageReconcile && !s.waitsForHooks() {
		if end := d.StageSince.Add(stageLimit); !s.now.Before(end) {
			return "Service deployment rolled back because the " + d.Stage + " stage timed out."
		}
		s.again(d.StageSince.Add(stageLimit))
	}
	end := d.StartedAt.Add(deploymentLimit)
	if s.again(end); s.now.Before(end) {
		return ""
	}
	return "Service deployment rolled back because the deployment timed out."
}

// turn heads for blue. Without one there is nowhere to go: all stays as it is.
func (s *shifting) turn(reason string) {
	d := &s.plan.Deployment
	s.dropHooks()
	if d.Blue == "" {
		s.halt(reason + " No rollback candidate was found.")
		return
	}
	d.Status, d.Reason = RollbackInProgress, reason
	d.Heading, d.RollbackReason, d.RollbackAt, d.RollbackFailed = d.Blue, reason, s.now, 0
	d.FailedInARow, d.StartAfter, d.BesideFailed, d.BesideAfter = d.BesideFailed, d.BesideAfter, d.FailedInARow, d.StartAfter
	s.tell("rolling back to deployment " + s.called(d.Blue) + ".")
	switch {
	case d.Production > 0:
		s.arrive(stageProduction)
	case d.Test > 0:
		s.arrive(stageTest)
	default:
		s.arrive(stageCleanUp)
	}
}

// arrive notes the stage; enter also starts its hooks.
func (s *shifting) arrive(stage string) {
	s.plan.Deployment.Stage, s.plan.Deployment.StageSince = stage, s.now
}

func (s *shifting) enter(stage string) {
	s.arrive(stage)
	s.startHooks(stage)
}
