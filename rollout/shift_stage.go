package rollout

import (
	"math"
	"time"
)

// step moves the deployment on by one stage, if it may.
func (s *shifting) step() bool {
	if s.back() {
		return s.stepBack()
	}
	d := &s.plan.Deployment
	if d.Stage == "" {
		if !gone(s.third()) {
			s.enter(stageReconcile)
		} else {
			s.enter(stagePreScaleUp)
		}
		return true
	}
	if d.Stage == stageReconcile {
		s.reconcile()
	}
	if s.waitsForHooks() {
		return false
	}
	switch d.Stage {
	case stageReconcile:
		return s.goOn(d.Production == 0 && d.Test == 0 && gone(s.third()), stagePreScaleUp)
	case stagePreScaleUp:
		return s.goOn(true, stageScaleUp)
	case stageScaleUp:
		return s.goOn(s.whole(), stagePostScaleUp)
	case stagePostScaleUp:
		if s.whole() && d.Settings.TestTraffic {
			d.Test = 100
		}
		return s.goOn(s.whole(), stageTest)
	case stageTest:
		return s.goOn(true, stagePostTest)
	case stagePostTest:
		return s.goOn(true, stagePreProduction)
	case stagePreProduction:
		if s.whole() {
			d.Production = s.nextShare()
		}
		return s.goOn(s.whole(), stageProduction)
	case stageProduction:
		if d.Production < 100 {
			return s.goOn(s.over(d.Settings.StepBake), stagePreProduction)
		}
		return s.goOn(true, stagePostProduction)
	case stagePostProduction:
		return s.goOn(true, stageBake)
	case stageBake: // without blue there is nothing to go back to
		return s.goOn(s.whole() && (d.Blue == "" || s.over(d.Settings.Bake)), stageCleanUp)
	case stageCleanUp:
		if gone(s.of(d.Blue)) && gone(s.third()) {
			s.succeed()
		}
	}
	return false
}

// goOn enters the next stage, if the deployment may.
func (s *shifting) goOn(may bool, next string) bool {
	if may {
		s.enter(next)
	}
	return may
}

// over reports whether the stage has lasted for so long.
func (s *shifting) over(d time.Duration) bool {
	end := s.plan.Deployment.StageSince.Add(d)
	s.again(end)
	return !s.now.Before(end)
}

// reconcile takes the traffic from where a deployment before had brought it, which did not come to its end.
func (s *shifting) reconcile() {
	if s.reconciled() {
		s.plan.Deployment.Production, s.plan.Deployment.Test = 0, 0
	}
}

// reconciled reports whether blue can do without the tasks of a third revision, which may be in its own target group.
func (s *shifting) reconciled() bool {
	d := s.plan.Deployment
	return d.Blue == "" || healthy(s.of(d.Blue)) >= s.enough() || healthy(s.third()) == 0
}

// nextShare is the production traffic that green gets next, in percent. Without blue there is nowhere else for it to go.
func (s *shifting) nextShare() float64 {
	d := s.plan.Deployment
	switch {
	case d.Blue == "" || d.Settings.StepPercent <= 0:
		return 100
	case d.Settings.Strategy == Linear:
		return min(100, math.Round((d.Production+d.Settings.StepPercent)*10)/10) // tenths of a percent are the finest
	case d.Settings.Strategy == Canary && d.Production == 0:
		return min(100, d.Settings.StepPercent)
	}
	return 100
}

// stepBack moves the deployment on on its way back. What its hooks say is noted, and changes nothing: there is no other
// place to go. Developer Guide, "Lambda hooks for Amazon ECS service deployments", "Lifecycle hooks during rollback".
func (s *shifting) stepBack() bool {
	d := &s.plan.Deployment
	if d.Stage == stageProduction && d.Production > 0 {
		if !s.able() {
			return false
		}
		d.Production = 0
		s.startHooks(stageProduction)
	}
	if d.Stage == stageTest && d.Test > 0 {
		d.Test = 0
		s.startHooks(stageTest)
	}
	if s.waitsForHooks() {
		return false
	}
	switch {
	case d.Stage == stageProduction && d.Test > 0:
		s.arrive(stageTest)
		return true
	case d.Stage != stageCleanUp:
		s.arrive(stageCleanUp)
		return true
	case gone(s.of(d.Target)) && gone(s.third()):
		s.succeed()
	}
	return false
}

// scaleSides starts what is missing and stops what is too much, of both revisions.
func (s *shifting) scaleSides() {
	d := s.plan.Deployment
	if d.Status == Halted {
		return
	}
	if s.keepsBlue() {
		s.keep(d.Blue)
	}
	if s.keepsGreen() {
		s.keep(d.Target)
	}
	switch {
	case d.Stage == stageCleanUp && s.back():
		s.drop(s.of(d.Target))
		if s.reconciled() {
			s.drop(s.third())
		}
	case d.Stage == stageCleanUp:
		s.drop(s.of(d.Blue))
		s.drop(s.third())
	case d.Stage == stageReconcile && s.reconciled():
		s.drop(s.third())
	}
}

func (s *shifting) keepsBlue() bool { return s.back() || s.plan.Deployment.Stage != stageCleanUp }

// keepsGreen: from the scale up on; on the way back, as long as it serves.
func (s *shifting) keepsGreen() bool {
	d := s.plan.Deployment
	switch {
	case s.back():
		return d.Production > 0
	case d.Stage == stageReconcile, d.Stage == stagePreScaleUp:
		return false
	}
	return true
}

// keep has a revision have as many tasks as are desired.
func (s *shifting) keep(revision string) {
	r := s.side(revision)
	if r == nil {
		return
	}
	f := newFleet(r)
	f.stopSick()
	f.scaleIn()
	f.stopOld()
	f.makeRoom()
	f.start(revision, f.want-len(f.fit)-len(f.pending))
	s.absorb(r, revision)
}

// drop stops tasks that no traffic goes to. One that is protected stays as long as it is.
func (s *shifting) drop(tasks []Task) {
	for _, t := range tasks {
		if t.Live() && !t.Protected {
			s.plan.Stop = append(s.plan.Stop, Stop{Task: t.ID, Reason: scaling(s.View)})
		}
	}
}
