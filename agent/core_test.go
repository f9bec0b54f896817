package agent

import "testing"

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
