package lifecycle

import (
	"slices"
	"time"
)

// Report is what the server is told of a task: one SubmitTaskStateChange.
type Report struct {
	Status             Status            `json:",omitempty"` // PENDING, RUNNING, STOPPED; empty = nothing to tell yet
	Reason             string            `json:",omitempty"`
	Containers         []ContainerReport `json:",omitempty"`
	PullStartedAt      time.Time         `json:",omitzero"` // of the first pull
	PullStoppedAt      time.Time         `json:",omitzero"` // of the last
	ExecutionStoppedAt time.Time         `json:",omitzero"` // the end of the first essential container
}

// ContainerReport is what the server is told of a container.
type ContainerReport struct {
	Name      string
	Status    Status    // PENDING, RUNNING or STOPPED
	Reason    string    `json:",omitempty"`
	Digest    string    `json:",omitempty"`
	RuntimeID string    `json:",omitempty"` // from here on, only of one that started
	Bindings  []Binding `json:",omitempty"`
	Exited    bool      `json:",omitempty"`
	ExitCode  int       `json:",omitempty"`
}

// Equal reports whether two reports say the same.
func (r Report) Equal(o Report) bool {
	return r.Status == o.Status && r.Reason == o.Reason &&
		r.PullStartedAt.Equal(o.PullStartedAt) && r.PullStoppedAt.Equal(o.PullStoppedAt) &&
		r.ExecutionStoppedAt.Equal(o.ExecutionStoppedAt) &&
		slices.EqualFunc(r.Containers, o.Containers, ContainerReport.equal)
}

func (c ContainerReport) equal(o ContainerReport) bool {
	return c.Name == o.Name && c.Status == o.Status && c.Reason == o.Reason && c.Digest == o.Digest &&
		c.RuntimeID == o.RuntimeID && c.Exited == o.Exited && c.ExitCode == o.ExitCode &&
		slices.Equal(c.Bindings, o.Bindings)
}

// Report tells where the task is.
func (t Task) Report() Report { return t.report(t.Last, false) }

// Tell returns what the server should be told next, given what it was told last; false if nothing.
//
// PENDING is told once, when the first image's digest is known. RUNNING is always told before STOPPED if
// the task ever ran, however briefly: the server takes the start time from it. In between, a container's
// end is told when others still run; when it was the last one, STOPPED follows at once and says it all,
// unless clearing up fails.
func (t Task) Tell(known Report) (Report, bool) {
	switch {
	case known.Status == Stopped: // final
		return Report{}, false
	case !t.RunningAt.IsZero() && known.Status.Before(Running):
		r := t.report(Running, t.Desired == Stopped)
		for i, c := range r.Containers { // what was told to have stopped before stays so
			told := slices.IndexFunc(known.Containers, func(k ContainerReport) bool { return k.Name == c.Name && k.Status == Stopped })
			if told >= 0 {
				r.Containers[i] = known.Containers[told]
			}
		}
		return r, true
	}
	r := t.Report()
	news := false
	switch {
	case r.Status == Stopped:
		news = true
	case known.Status == "" && t.lingers():
		news = slices.ContainsFunc(r.Containers, func(c ContainerReport) bool { return c.Digest != "" })
	}
	if !news && t.lingers() {
		news = slices.ContainsFunc(r.Containers, func(c ContainerReport) bool {
			return c.Status == Stopped && !slices.ContainsFunc(known.Containers, c.equal)
		})
	}
	return r, news
}

// lingers reports whether the task will go on for a while as it is: something runs or is being made, or
// clearing up has failed.
func (t Task) lingers() bool {
	if t.Retry.Failures > 0 {
		return true
	}
	return slices.ContainsFunc(t.Containers, func(c Container) bool {
		return c.Phase.before(Ended) || c.Retry.Failures > 0
	})
}

// report tells where the task is; or rewound, where it was when all of it ran, if it stopped before
// anybody could be told.
func (t Task) report(status Status, rewound bool) Report {
	r := Report{Status: status}
	if status == Stopped {
		r.Reason = t.Reason
	}
	for _, c := range t.Containers {
		if !c.PullStartedAt.IsZero() && (r.PullStartedAt.IsZero() || c.PullStartedAt.Before(r.PullStartedAt)) {
			r.PullStartedAt = c.PullStartedAt
		}
		r.PullStoppedAt = later(r.PullStoppedAt, c.PullStoppedAt)
		if c.Name != "" {
			r.Containers = append(r.Containers, t.reportOf(c, rewound))
		}
	}
	if !rewound {
		r.ExecutionStoppedAt = t.executionStoppedAt()
	}
	return r
}

func (t Task) reportOf(c Container, rewound bool) ContainerReport {
	r := ContainerReport{Name: c.Name, Status: Pending, Reason: c.Reason, Digest: c.Digest,
		Exited: c.Exited, ExitCode: c.ExitCode}
	ran := !c.StartedAt.IsZero()
	switch {
	case ran && (rewound || c.Phase.before(Ended)): // also between two rounds: the server hears of no restart
		r.Status, r.Reason, r.Exited, r.ExitCode = Running, "", false, 0
	case !c.Phase.before(Ended):
		r.Status = Stopped
	}
	if ran {
		r.RuntimeID = c.RuntimeID
		for _, b := range t.Bindings {
			if b.Container == c.Name {
				r.Bindings = append(r.Bindings, b)
			}
		}
	}
	return r
}

func (t Task) executionStoppedAt() time.Time {
	var first, last time.Time
	for _, c := range t.Containers {
		if c.FinishedAt.IsZero() {
			continue
		}
		if c.Essential && (first.IsZero() || c.FinishedAt.Before(first)) {
			first = c.FinishedAt
		}
		last = later(last, c.FinishedAt)
	}
	switch {
	case !first.IsZero():
		return first
	case t.Desired == Stopped:
		return last
	}
	return time.Time{}
}
