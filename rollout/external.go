package rollout

import (
	"cmp"
	"slices"
	"time"
)

// TaskSet is a set of tasks of a service with the controller EXTERNAL: somebody else decides how many, of which version,
// and when; each set has a revision of its own.
type TaskSet struct {
	ID           string
	Revision     string
	Want         int  // its share of the desired count
	Draining     bool // it is to go, with all of its tasks
	Steady       bool // as many as are wanted run, all Healthy, and none is on its way
	FailedInARow int
	StartAfter   time.Time
}

// external keeps each task set at its share. No minimum and no maximum holds: the sets' scales say what is there.
func external(v View, now time.Time) Plan {
	p := Plan{Deployment: v.Deployment}
	for _, set := range v.TaskSets {
		s := setRound{TaskSet: set, now: now, plan: &p}
		for _, t := range v.Tasks {
			if t.Revision == set.Revision {
				s.tasks = append(s.tasks, t)
			}
		}
		s.keep()
	}
	for _, t := range v.Tasks { // of a set that is gone
		if slices.ContainsFunc(v.TaskSets, func(s TaskSet) bool { return s.Revision == t.Revision }) {
			continue
		}
		if t.Live() {
			p.Stop = append(p.Stop, Stop{Task: t.ID, Reason: "Task set deleted"})
		} else if t.Phase == Stopped {
			p.Count = append(p.Count, t.ID)
		}
	}
	return p
}

// setRound is one look at a task set.
type setRound struct {
	TaskSet
	tasks []Task
	now   time.Time
	plan  *Plan
}

func (s *setRound) again(at time.Time) {
	if at.After(s.now) && (s.plan.Again.IsZero() || at.Before(s.plan.Again)) {
		s.plan.Again = at
	}
}

func (s *setRound) keep() {
	s.tally()
	want := s.Want
	if s.Draining {
		want = 0
	}
	var fit, drained []Task
	healthy, ending := 0, 0
	for _, t := range s.tasks {
		switch {
		case t.Phase == Stopping:
			ending++
		case t.Phase == Stopped:
		case t.Phase == Unhealthy:
			s.plan.Stop = append(s.plan.Stop, Stop{Task: t.ID, Reason: t.Reason})
			s.plan.Events = append(s.plan.Events, Event{Message: t.Why})
			ending++
		case t.Drained:
			drained = append(drained, t)
		default:
			fit = append(fit, t)
			if t.Phase == Healthy {
				healthy++
			}
		}
	}
	// What is on a container instance that is to be empty goes once others are in its place.
	if healthy >= want {
		for _, t := range drained {
			s.stop(t)
		}
		ending, drained = ending+len(drained), nil
	}
	steady := len(fit) == want && healthy == want && len(drained) == 0 && ending == 0
	s.scale(fit, want)
	if s.Steady != steady {
		s.Steady = steady
	}
	s.plan.TaskSets = append(s.plan.TaskSets, s.TaskSet)
	if s.Draining && len(fit)+len(drained)+ending == 0 {
		s.plan.Gone = append(s.plan.Gone, s.ID)
	}
}

// scale starts what is missing, and stops what is there once too often: those that are not up yet first, then the
// latest. Protection is against scaling in, not against the set's end.
func (s *setRound) scale(fit []Task, want int) {
	switch missing := want - len(fit); {
	case missing > 0 && s.now.Before(s.StartAfter):
		s.again(s.StartAfter)
	case missing > 0:
		s.plan.Start = append(s.plan.Start, Start{Revision: s.Revision, TaskSet: s.ID, Count: missing})
	case missing < 0:
		slices.SortStableFunc(fit, func(a, b Task) int {
			return cmp.Or(cmp.Compare(min(a.Phase, Healthy), min(b.Phase, Healthy)), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		for _, t := range fit {
			if missing == 0 {
				break
			}
			if t.Protected && !s.Draining {
				continue
			}
			s.stop(t)
			missing++
		}
	}
}

func (s *setRound) stop(t Task) {
	s.plan.Stop = append(s.plan.Stop, Stop{Task: t.ID, Reason: "Scaling activity initiated by (taskSet " + s.ID + ")"})
}

// tally notes who has become healthy and who has failed; after failures, the next start waits.
func (s *setRound) tally() {
	for _, t := range s.tasks {
		s.again(t.Again)
		if t.Phase == Healthy && t.HealthyAt.IsZero() {
			s.plan.Healthy = append(s.plan.Healthy, t.ID)
			s.FailedInARow, s.StartAfter = 0, time.Time{}
		}
	}
	for _, t := range s.tasks {
		failed := t.Failed || t.Phase == Unhealthy
		if t.Failed || t.Phase == Stopped {
			s.plan.Count = append(s.plan.Count, t.ID)
		}
		if !failed || !t.HealthyAt.IsZero() || s.FailedInARow > 0 && t.CreatedAt.Before(s.StartAfter) {
			continue
		}
		s.FailedInARow++
		s.StartAfter = s.now.Add(delay(s.FailedInARow))
	}
}
