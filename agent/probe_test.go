package agent

import (
	"testing"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// checked is a core with one task, whose container runs, has a health check and is restarted after a second.
func checked(t *testing.T) (*Core, time.Time) {
	now := fuzzEpoch
	c := NewCore(CoreConfig{Cluster: "demo"}, now)
	c.Receive(&protocol.Payload{Tasks: []protocol.Task{{ARN: testARN, DesiredStatus: "RUNNING", Containers: []protocol.Container{{
		Name: "web", Image: "x", Essential: true, RestartPolicy: &protocol.RestartPolicy{Enabled: true, RestartAttemptPeriod: 1},
		DockerConfig: &protocol.DockerConfig{Config: `{"Healthcheck":{"Test":["CMD","x"],"Interval":5000000000,"Retries":2}}`},
	}}}}}, now)
	for range 5 {
		for _, j := range c.Next(now).Start {
			if j.Effect.Verb != lifecycle.Wait {
				r := succeed(j)
				r.StartedAt = now
				c.Observe(testARN, r, now)
			}
		}
	}
	if r, _ := c.Task(testARN); r.Life.Last != lifecycle.Running {
		t.Fatalf("the task is %s", r.Life.Last)
	}
	return c, now
}

func TestAProbeThatSaysNothingNewCostsNoWrite(t *testing.T) {
	c, now := checked(t)
	probe := func(code int) Plan {
		now = now.Add(5 * time.Second)
		p := c.Next(now)
		if len(p.Start) != 1 || p.Start[0].Effect.Verb != lifecycle.Probe {
			t.Fatalf("after an interval it starts %+v", p.Start)
		}
		c.Observe(testARN, lifecycle.Result{Effect: p.Start[0].Effect, StartedAt: now, ExitCode: code, Output: "out"}, now)
		return c.Next(now)
	}
	if p := probe(0); len(p.Save) != 1 || p.SaveFirst || len(p.Health) != 1 {
		t.Errorf("the first success: saved %d records, first %v, health %v", len(p.Save), p.SaveFirst, p.Health)
	}
	for _, code := range []int{0, 1, 0, 1} {
		if p := probe(code); len(p.Save) != 0 || len(p.Health) > 0 {
			t.Errorf("a probe that changes nothing: saved %d records, health %v", len(p.Save), p.Health)
		}
	}
	if p := probe(1); len(p.Save) != 1 || len(p.Health) != 1 {
		t.Errorf("the second failure in a row: saved %d records, health %v", len(p.Save), p.Health)
	}
	if r, _ := c.Task(testARN); r.Life.Containers[0].Health.Status != lifecycle.Unhealthy || r.Life.Containers[0].Health.Output != "out" {
		t.Errorf("health: %+v", r.Life.Containers[0].Health)
	}
}

// The process of the next round takes the place of the one before, whose exit can then not be seen again.
func TestAnExitIsWrittenDownBeforeTheNextProcessStarts(t *testing.T) {
	c, now := checked(t)
	now = now.Add(2 * time.Second)
	c.Observe(testARN, lifecycle.Result{Effect: lifecycle.Effect{Verb: lifecycle.Wait, Container: "web"}, ExitCode: 1, FinishedAt: now}, now)
	p := c.Next(now)
	if len(p.Start) != 1 || p.Start[0].Effect != (lifecycle.Effect{Verb: lifecycle.Start, Container: "web", Round: 1}) {
		t.Fatalf("it starts %+v", p.Start)
	}
	if !p.SaveFirst || len(p.Save) != 1 {
		t.Errorf("saved first: %v, %d records", p.SaveFirst, len(p.Save))
	}
	if len(p.Reports) != 0 {
		t.Errorf("the server is told of a restart: %+v", p.Reports)
	}
}
