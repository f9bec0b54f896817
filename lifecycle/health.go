package lifecycle

import (
	"strings"
	"time"
	"unicode/utf8"
)

// HealthCheck is a command that is run in a container now and then, and says by its exit code whether the
// container is well. The command itself is the runtime's matter.
// Docker's Dockerfile reference, "HEALTHCHECK"; Amazon ECS API Reference, "HealthCheck".
type HealthCheck struct {
	Interval    time.Duration `json:",omitempty"` // from the end of one probe to the next; zero = there is no check
	Timeout     time.Duration `json:",omitempty"` // of one probe, which has then failed
	StartPeriod time.Duration `json:",omitempty"` // after the start, in which failures do not count
	Retries     int           `json:",omitempty"` // failures in a row that make it unhealthy
}

// On reports whether there is a check at all.
func (h HealthCheck) On() bool { return h.Interval > 0 }

// HealthStatus is what a health check says, in ECS's words.
type HealthStatus string

// The statuses. Docker's "starting" is UNKNOWN.
const (
	UnknownHealth HealthStatus = "UNKNOWN"
	Healthy       HealthStatus = "HEALTHY"
	Unhealthy     HealthStatus = "UNHEALTHY"
)

// MaxOutput is how many bytes of a probe's output are kept, as Docker does.
const MaxOutput = 4096

// Health is what is known of a container's health since it was last started.
//
//	             a probe succeeds
//	UNKNOWN ---------------------------> HEALTHY
//	   |                                  |   ^
//	   | Retries failures in a row,       |   | a probe succeeds
//	   | after the start period           v   |
//	   +------------------------------> UNHEALTHY
//
// An early success ends the start period. A process that ends takes its health with it.
type Health struct {
	Status   HealthStatus `json:",omitempty"` // empty = UNKNOWN, of a container that was not started
	Since    time.Time    `json:",omitzero"`
	Failures int          `json:",omitempty"` // in a row, as far as they count
	ProbedAt time.Time    `json:",omitzero"`  // the end of the last probe
	ExitCode int          `json:",omitempty"` // of the last probe, as for what follows; -1 = it did not get that far
	Output   string       `json:",omitempty"`
}

// probe is the effect that a container's health check wants, and when.
func (c Container) probe() (Effect, time.Time) {
	e := Effect{Verb: Probe, Container: c.Name, Round: c.Round, Timeout: c.Check.Timeout}
	return e, later(c.StartedAt, c.Health.ProbedAt).Add(c.Check.Interval)
}

// probed folds in how a probe ended. One that could not be made at all has failed like any other.
func (c *Container) probed(r Result, now time.Time) {
	h := &c.Health
	h.ProbedAt, h.ExitCode, h.Output = now, r.ExitCode, clipOutput(r.Output)
	if r.Reason != "" {
		h.ExitCode, h.Output = -1, clipOutput(r.Reason)
	}
	early := orNow(r.StartedAt, now).Before(c.StartedAt.Add(c.Check.StartPeriod))
	switch {
	case h.ExitCode == 0:
		h.Failures = 0
		h.become(Healthy, now)
	case h.Status == UnknownHealth && early:
	default:
		if h.Failures++; h.Failures >= c.Check.Retries {
			h.become(Unhealthy, now)
		}
	}
}

func (h *Health) become(s HealthStatus, now time.Time) {
	if h.Status != s {
		h.Status, h.Since = s, now
	}
}

// clipOutput is as much of a probe's output as is kept. It is text, whatever the program wrote.
func clipOutput(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= MaxOutput {
		return s
	}
	end := MaxOutput
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
