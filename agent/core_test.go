package agent

import (
	"testing"
	"time"

	"havn/lifecycle"
)

func TestStoppedTasksThatAreTooManyAreCleanedUpEarly(t *testing.T) {
	now := fuzzEpoch
	c := NewCore(CoreConfig{}, now)
	const many = MaxStopped + 50
	assignMany(c, many, now)
	for range 1000 { // until nothing more happens
		p := c.Next(now)
		if len(p.Start)+len(p.Cancel)+len(p.Reports) == 0 {
			break
		}
		for _, j := range p.Start {
			c.Observe(j.Task.ARN, succeed(j), now)
		}
		for _, s := range p.Reports {
			c.Reported(s)
		}
	}
	if known, live := c.Tasks(); known != MaxStopped || live != 0 {
		t.Errorf("%d tasks are kept, %d of them not STOPPED; want %d and 0", known, live, MaxStopped)
	}
}

func TestANodeTakesNoMoreTasksThanItsLimit(t *testing.T) {
	c := NewCore(CoreConfig{}, fuzzEpoch)
	assignMany(c, MaxTasks+1, fuzzEpoch)
	p := c.Next(fuzzEpoch)
	if _, live := c.Tasks(); live != MaxTasks {
		t.Errorf("%d tasks, want %d", live, MaxTasks)
	}
	if len(p.Reports) != 1 || p.Reports[0].Report.Reason == "" {
		t.Errorf("reports %+v, want one refusal", p.Reports)
	}
}

func TestAFullDiskDiscardsWhatStoppedTasksLeft(t *testing.T) {
	now := fuzzEpoch
	c := NewCore(CoreConfig{}, now)
	const stopped, telling = 3, 1
	assignMany(c, stopped+telling, now)
	told := 0
	for range 100 {
		p := c.Next(now)
		for _, j := range p.Start {
			c.Observe(j.Task.ARN, succeed(j), now)
		}
		for _, s := range p.Reports {
			if s.Report.Status == lifecycle.Stopped && told == stopped {
				continue // the server does not answer any more
			}
			if s.Report.Status == lifecycle.Stopped {
				told++
			}
			c.Reported(s)
		}
	}
	if known, live := c.Tasks(); known != stopped+telling || live != 0 {
		t.Fatalf("%d tasks, %d of them not STOPPED", known, live)
	}
	c.MakeRoom()
	discards := 0
	for range 10 {
		for _, j := range c.Next(now.Add(time.Second)).Start {
			if j.Effect.Verb != lifecycle.Discard {
				t.Errorf("it wants %v", j.Effect)
			}
			discards++
			c.Observe(j.Task.ARN, succeed(j), now)
		}
	}
	if known, _ := c.Tasks(); known != telling || discards != stopped {
		t.Errorf("%d discarded, %d tasks are kept; want %d and the one that the server has not heard of", discards, known, stopped)
	}
}
