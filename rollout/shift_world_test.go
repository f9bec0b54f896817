package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"havn/rollout"
)

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// shiftWorld is a service whose traffic is shifted, with everything that carries plans out: tasks come up and stop when
// they are told to.
type shiftWorld struct {
	now        time.Time
	service    rollout.Service
	settings   rollout.Settings
	deployment rollout.Deployment
	tasks      []rollout.Task
	unroutable string
	protect    bool // what is started next is protected
	// group is which of the two target groups a revision stands in, and weights is what the listener gives them.
	group   map[string]int
	weights [2]float64
	had     [2]int // their healthy tasks, before the plan that is checked

	revisions int
	ids       int
	hooks     int
	out       strings.Builder
	again     time.Time
	check     func(before rollout.Deployment, plan rollout.Plan, weights [2]float64) // of each plan, after it was carried out
}

func newShiftWorld() *shiftWorld {
	return &shiftWorld{
		now: dawn, service: rollout.Service{Active: true, Desired: 2},
		group: map[string]int{}, weights: [2]float64{100, 0},
		settings: rollout.Settings{Strategy: rollout.BlueGreen, Minimum: 100, Maximum: 200, TestTraffic: true},
	}
}

// deploy makes a new revision, and a deployment to it.
func (w *shiftWorld) deploy() {
	w.revisions++
	revision := fmt.Sprintf("r%d", w.revisions)
	before := w.deployment
	d := rollout.Deployment{
		Settings: w.settings, Target: revision, Heading: revision, Stable: before.Stable,
		Status: rollout.Pending, CreatedAt: w.now,
	}
	if before.Status == rollout.Successful || before.Status == rollout.RollbackSuccessful {
		d.Stable = before.Heading
	}
	w.deployment = rollout.Begin(d, before)
	if blue := w.deployment.Blue; blue != "" {
		w.group[revision] = 1 - w.group[blue]
	}
}

// inGroup counts the healthy tasks of a target group.
func (w *shiftWorld) inGroup(group int) (n int) {
	for _, t := range w.tasks {
		if w.group[t.Revision] == group && t.Phase == rollout.Healthy {
			n++
		}
	}
	return n
}

func (w *shiftWorld) view() rollout.View {
	v := rollout.View{
		Service: w.service, Deployment: w.deployment, Tasks: slices.Clone(w.tasks), Unroutable: w.unroutable,
		Names: map[string]string{},
	}
	for i := range w.revisions {
		v.Names[fmt.Sprintf("r%d", i+1)] = fmt.Sprintf("ecs-svc/%d", i+1)
	}
	return v
}

// settle asks and does until there is nothing to do. It reports whether that comes to an end.
func (w *shiftWorld) settle() bool {
	for range 100 {
		if !w.step() {
			return true
		}
	}
	return false
}

func (w *shiftWorld) step() bool {
	v := w.view()
	plan := rollout.Next(v, w.now)
	w.again = plan.Again
	before, weights := w.deployment, w.weights
	w.had = [2]int{w.inGroup(0), w.inGroup(1)}
	w.show(before, plan)
	idle := len(plan.Start)+len(plan.Stop)+len(plan.Count)+len(plan.Healthy)+len(plan.Events) == 0 &&
		fmt.Sprint(before) == fmt.Sprint(plan.Deployment)
	w.deployment = plan.Deployment
	target := w.group[w.deployment.Target]
	w.weights[target], w.weights[1-target] = w.deployment.Production, 100-w.deployment.Production
	w.deployment.Hooks = slices.Clone(w.deployment.Hooks)
	for i := range w.deployment.Hooks {
		if h := &w.deployment.Hooks[i]; h.ID == "" {
			w.hooks++
			h.ID = fmt.Sprintf("h%d", w.hooks)
		}
	}
	for _, s := range plan.Start {
		for range s.Count {
			w.ids++
			w.tasks = append(w.tasks, rollout.Task{ID: fmt.Sprintf("t%d", w.ids), Revision: s.Revision, CreatedAt: w.now, Protected: w.protect})
		}
	}
	for _, s := range plan.Stop {
		w.task(s.Task, func(t *rollout.Task) { t.Phase = rollout.Stopping })
	}
	for _, id := range plan.Healthy {
		w.task(id, func(t *rollout.Task) { t.HealthyAt = w.now })
	}
	for _, id := range plan.Count {
		w.task(id, func(t *rollout.Task) { t.Failed = false })
	}
	w.tasks = slices.DeleteFunc(w.tasks, func(t rollout.Task) bool { return t.Phase == rollout.Stopped && !t.Failed })
	if w.check != nil {
		w.check(before, plan, weights)
	}
	return !idle
}

func (w *shiftWorld) task(id string, f func(*rollout.Task)) {
	for i := range w.tasks {
		if w.tasks[i].ID == id {
			f(&w.tasks[i])
		}
	}
}

// up lets the tasks of a revision that have been started become healthy, all or some; down lets those stop that were told to.
func (w *shiftWorld) up(revision string, count int) {
	for i := range w.tasks {
		if t := &w.tasks[i]; count != 0 && (t.Revision == revision || revision == "") && (t.Phase == rollout.Starting || t.Phase == rollout.Running) {
			t.Phase = rollout.Healthy
			count--
		}
	}
}

func (w *shiftWorld) down() {
	w.tasks = slices.DeleteFunc(w.tasks, func(t rollout.Task) bool { return t.Phase == rollout.Stopping })
}

// fail lets some live tasks of a revision stop by themselves.
func (w *shiftWorld) fail(revision string, count int) {
	for i := range w.tasks {
		if t := &w.tasks[i]; count != 0 && t.Revision == revision && t.Live() {
			t.Phase, t.Failed = rollout.Stopped, true
			count--
		}
	}
}

func (w *shiftWorld) show(before rollout.Deployment, plan rollout.Plan) {
	d := plan.Deployment
	at := func(d rollout.Deployment) string {
		return fmt.Sprintf("%s %s, production %v test %v", d.Status, d.Stage, d.Production, d.Test)
	}
	if at(before) != at(d) {
		fmt.Fprintln(&w.out, at(d))
	}
	if before.Reason != d.Reason {
		fmt.Fprintln(&w.out, "  because:", d.Reason)
	}
	for i, h := range d.Hooks {
		switch {
		case i >= len(before.Hooks):
			fmt.Fprintf(&w.out, "  hook %d at %s: %s until %s\n", h.Hook, h.Stage, h.Status, h.EndsAt.Sub(dawn))
		case before.Hooks[i] != h:
			fmt.Fprintf(&w.out, "  hook %s: %s\n", h.ID, strings.TrimSpace(h.Status+" "+h.Reason))
		}
	}
	for _, s := range plan.Start {
		fmt.Fprintf(&w.out, "  start %d of %s\n", s.Count, s.Revision)
	}
	for _, s := range plan.Stop {
		fmt.Fprintf(&w.out, "  stop %s: %s\n", s.Task, s.Reason)
	}
	for _, e := range plan.Events {
		fmt.Fprintf(&w.out, "  event: %s\n", e.Message)
	}
}
