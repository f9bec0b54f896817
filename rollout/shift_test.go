package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"havn/rollout"
)

// TestShifts runs the transcripts. Commands, each of which asks for plans and carries them out until there is no more to
// do, and shows them:
//
//	service [desired=N] [strategy=S] [bake=D] [step=PERCENT] [step-bake=D] [breaker=N] [minimum=N] [no-test]
//	hook STAGE... [pause] [timeout=D] [continue]     configured from here on; without: called
//	deploy
//	up REVISION [count=N]                            tasks become healthy
//	down                                             tasks stop that were told to
//	fail REVISION [count=N]                          tasks stop by themselves
//	answer HOOK (CONTINUE|ROLLBACK)
//	called HOOK (SUCCEEDED|FAILED)                   the reason, if any, is below
//	stop
//	protect | unprotect
//	unroutable REASON
//	pass D                                           time goes by, with every stop on the way that is asked for
func TestShifts(t *testing.T) {
	datadriven.Walk(t, "testdata/shift", func(t *testing.T, path string) {
		w := newShiftWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.run(t, d)
			if w.revisions > 0 && !w.settle() {
				t.Fatal("it does not come to rest")
			}
			out := w.out.String()
			w.out.Reset()
			if out == "" {
				return "nothing\n"
			}
			return out
		})
	})
}

func (w *shiftWorld) run(t *testing.T, d *datadriven.TestData) {
	duration := func(key string, into *time.Duration) {
		if arg, ok := d.Arg(key); ok {
			parsed, err := time.ParseDuration(arg.Vals[0])
			if err != nil {
				t.Fatal(err)
			}
			*into = parsed
		}
	}
	first := ""
	if len(d.CmdArgs) > 0 {
		first = d.CmdArgs[0].Key
	}
	count := -1
	d.MaybeScanArgs(t, "count", &count)
	hook := func(id string, f func(*rollout.HookRun)) {
		i := slices.IndexFunc(w.deployment.Hooks, func(h rollout.HookRun) bool { return h.ID == id })
		if i < 0 {
			t.Fatal("no hook ", id)
		}
		f(&w.deployment.Hooks[i])
	}
	switch s := &w.settings; d.Cmd {
	case "service":
		d.MaybeScanArgs(t, "desired", &w.service.Desired)
		strategy := string(s.Strategy)
		d.MaybeScanArgs(t, "strategy", &strategy)
		s.Strategy = rollout.Strategy(strategy)
		d.MaybeScanArgs(t, "breaker", &s.Breaker)
		d.MaybeScanArgs(t, "minimum", &s.Minimum)
		if arg, ok := d.Arg("step"); ok {
			fmt.Sscan(arg.Vals[0], &s.StepPercent)
		}
		duration("bake", &s.Bake)
		duration("step-bake", &s.StepBake)
		s.TestTraffic = !d.HasArg("no-test")
	case "hook":
		h := rollout.Hook{Pause: d.HasArg("pause"), Timeout: 24 * time.Hour, OnTimeout: "ROLLBACK"}
		duration("timeout", &h.Timeout)
		if d.HasArg("continue") {
			h.OnTimeout = "CONTINUE"
		}
		for _, arg := range d.CmdArgs {
			if strings.ToUpper(arg.Key) == arg.Key {
				h.Stages = append(h.Stages, arg.Key)
			}
		}
		s.Hooks = append(slices.Clone(s.Hooks), h)
	case "deploy":
		w.deploy()
	case "up":
		w.up(first, count)
	case "down":
		w.down()
	case "fail":
		w.fail(first, count)
	case "answer":
		hook(first, func(h *rollout.HookRun) { h.Answer = d.CmdArgs[1].Key })
	case "called":
		hook(first, func(h *rollout.HookRun) {
			h.Status = d.CmdArgs[1].Key
			h.Reason = strings.TrimSpace(d.Input)
		})
	case "stop":
		w.deployment.StopAsked = "ROLLBACK"
	case "protect", "unprotect":
		w.protect = d.Cmd == "protect"
		for i := range w.tasks {
			w.tasks[i].Protected = w.protect
		}
	case "unroutable":
		w.unroutable = strings.TrimSpace(d.Input)
	case "pass":
		var by time.Duration
		if by, _ = time.ParseDuration(first); by == 0 {
			t.Fatal("how long?")
		}
		w.pass(by)
	default:
		t.Fatal("unknown command ", d.Cmd)
	}
}

func (w *shiftWorld) pass(by time.Duration) {
	end := w.now.Add(by)
	for w.settle() && !w.again.IsZero() && w.again.Before(end) {
		w.now = w.again
		fmt.Fprintf(&w.out, "%s:\n", w.now.Sub(dawn))
	}
	w.now = end
}

// TestShiftKeepsItsPromises: whatever tasks, users and hooks do, and however deployments follow each other,
//
//   - production traffic goes to more of a revision only when it is ready;
//   - blue goes only when green is whole;
//   - a target group gets more traffic only if it is as able as the other one, and none that has traffic is left with
//     less than desired;
//   - what was rolled back is where it came from, with nothing left of where it went;
//   - asking comes to rest, and when all goes well from some time on, the deployment comes to its end.
func TestShiftKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newShiftWorld()
		w.drawSettings(t)
		w.check = func(before rollout.Deployment, plan rollout.Plan, weights [2]float64) {
			w.keepsPromises(t, before, plan, weights)
		}
		w.deploy()
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			w.draw(t)
			if !w.settle() {
				t.Fatalf("it does not come to rest:\n%s", w.out.String())
			}
		}
		w.heal(t)
	})
}

func (w *shiftWorld) drawSettings(t *rapid.T) {
	s := &w.settings
	s.Strategy = rapid.SampledFrom([]rollout.Strategy{rollout.BlueGreen, rollout.Linear, rollout.Canary}).Draw(t, "strategy")
	s.StepPercent = rapid.SampledFrom([]float64{0.1, 3, 10, 33.3, 50, 100}).Draw(t, "step")
	if s.Strategy == rollout.Linear {
		s.StepPercent = max(s.StepPercent, 3)
	}
	minutes := rapid.SampledFrom([]time.Duration{0, time.Minute, 10 * time.Minute})
	s.Bake, s.StepBake = minutes.Draw(t, "bake"), minutes.Draw(t, "step bake")
	s.Breaker = rapid.SampledFrom([]int{0, 3}).Draw(t, "breaker")
	s.TestTraffic = rapid.Bool().Draw(t, "test")
	s.Hooks = nil
	for range rapid.IntRange(0, 2).Draw(t, "hooks") {
		h := rollout.Hook{
			Pause: rapid.Bool().Draw(t, "pause"), Timeout: time.Hour,
			OnTimeout: rapid.SampledFrom([]string{"CONTINUE", "ROLLBACK"}).Draw(t, "on timeout"),
		}
		stages := []string{"RECONCILE_SERVICE", "PRE_SCALE_UP", "POST_SCALE_UP", "POST_TEST_TRAFFIC_SHIFT",
			"PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"}
		if !h.Pause {
			stages = append(stages, "TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT")
		}
		h.Stages = rapid.SliceOfNDistinct(rapid.SampledFrom(stages), 1, 4, rapid.ID[string]).Draw(t, "stages")
		s.Hooks = append(s.Hooks, h)
	}
}

// draw is something that happens.
func (w *shiftWorld) draw(t *rapid.T) {
	revision := fmt.Sprintf("r%d", rapid.IntRange(max(1, w.revisions-2), w.revisions).Draw(t, "revision"))
	some := rapid.IntRange(1, 3).Draw(t, "count")
	switch rapid.IntRange(0, 13).Draw(t, "what") {
	case 0, 1, 2, 3:
		w.up("", -1)
	case 4:
		w.up(revision, some)
	case 5, 6, 7:
		w.down()
	case 8:
		w.fail(revision, some)
	case 9:
		w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 10 * time.Minute, time.Hour}).Draw(t, "time"))
	case 10, 11:
		w.answerAll(rapid.SampledFrom([]string{"CONTINUE", "CONTINUE", "ROLLBACK"}).Draw(t, "answer"))
	case 12:
		if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
			w.deployment.StopAsked = "ROLLBACK"
		} else {
			w.drawSettings(t)
			w.deploy()
		}
	case 13:
		w.service.Desired = rapid.IntRange(0, 4).Draw(t, "desired")
	}
}

func (w *shiftWorld) answerAll(answer string) {
	status := map[string]string{"CONTINUE": rollout.HookSucceeded, "ROLLBACK": rollout.HookFailed}[answer]
	for i := range w.deployment.Hooks {
		switch h := &w.deployment.Hooks[i]; h.Status {
		case rollout.HookAwaiting:
			h.Answer = answer
		case rollout.HookInProgress:
			h.Status = status
		}
	}
}

func (w *shiftWorld) healthy(revision string) (n int) {
	for _, t := range w.tasks {
		if t.Revision == revision && t.Phase == rollout.Healthy {
			n++
		}
	}
	return n
}

func (w *shiftWorld) keepsPromises(t *rapid.T, before rollout.Deployment, plan rollout.Plan, weights [2]float64) {
	after := w.deployment
	fail := func(format string, args ...any) {
		t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), w.out.String())
	}
	if after.Production < 0 || after.Production > 100 || after.Test < 0 || after.Test > 100 {
		fail("a share of %v, of %v for tests", after.Production, after.Test)
	}
	if after.Production > before.Production && w.healthy(after.Target) < w.service.Desired {
		fail("production traffic to %d of %d tasks", w.healthy(after.Target), w.service.Desired)
	}
	if before.Stage != after.Stage && after.Stage == "CLEAN_UP" && after.RollbackReason == "" && w.healthy(after.Target) < w.service.Desired {
		fail("blue goes, and green has %d of %d tasks", w.healthy(after.Target), w.service.Desired)
	}
	for g := range w.weights {
		if w.weights[g] > weights[g] && after.Blue != "" && w.had[g] < min(w.service.Desired, w.had[1-g]) {
			fail("target group %d gets %v%%, and has %d healthy tasks where the other one has %d", g, w.weights[g], w.had[g], w.had[1-g])
		}
	}
	for _, s := range plan.Stop {
		stopped := w.tasks[slices.IndexFunc(w.tasks, func(t rollout.Task) bool { return t.ID == s.Task })]
		if g := w.group[stopped.Revision]; w.weights[g] > 0 && !stopped.HealthyAt.IsZero() && w.inGroup(g) < w.service.Desired {
			fail("%s, in a target group with %v%% of the traffic, leaves %d of %d tasks", s.Task, w.weights[g], w.inGroup(g), w.service.Desired)
		}
	}
	if after.Status == rollout.RollbackSuccessful && before.Status != after.Status {
		if after.Production != 0 || after.Heading != after.Blue || after.Heading == after.Target {
			fail("rolled back to %s, and %s has %v%% of the traffic", after.Heading, after.Target, after.Production)
		}
		if slices.ContainsFunc(w.tasks, func(t rollout.Task) bool { return t.Revision != after.Blue && t.Live() }) {
			fail("rolled back, and something is left")
		}
	}
	if after.Status == rollout.Successful && before.Status != after.Status {
		if after.Production != 100 || slices.ContainsFunc(w.tasks, func(t rollout.Task) bool { return t.Revision != after.Target && t.Live() }) {
			fail("done, and not all is as it should be")
		}
	}
}

// heal lets all go well, and demands that it comes to its end.
func (w *shiftWorld) heal(t *rapid.T) {
	for range 300 {
		w.up("", -1)
		w.down()
		w.answerAll("CONTINUE")
		if !w.settle() {
			t.Fatalf("it does not come to rest:\n%s", w.out.String())
		}
		d := w.deployment
		switch {
		case d.Status == rollout.Halted && d.Blue == "":
			return // it failed, and there was nothing to go back to
		case !d.Open() && d.Steady && w.healthy(d.Heading) == w.service.Desired && len(w.tasks) == w.service.Desired:
			return
		}
		if w.now = w.now.Add(time.Minute); !w.again.IsZero() && w.again.After(w.now) && w.again.Sub(w.now) < time.Hour {
			w.now = w.again
		}
	}
	t.Fatalf("it does not come to its end:\n%s", w.out.String())
}
