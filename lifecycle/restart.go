package lifecycle

import (
	"slices"
	"time"
)

// RestartPolicy starts a container again where its process has ended, without a word to the server: for
// that one, the container runs on.
// Amazon ECS Developer Guide, "Restart individual containers in Amazon ECS tasks".
type RestartPolicy struct {
	Enabled bool
	Ignored []int `json:",omitempty"` // exit codes after which it is not
	// Period is how long a process must have run for its end to be made good: 60 s to 30 min.
	Period time.Duration
}

// DefaultRestartPeriod is the period of a policy that names none.
const DefaultRestartPeriod = 5 * time.Minute

// again reports whether a process that ran for so long and exited so is followed by another.
func (p RestartPolicy) again(ran time.Duration, exit int) bool {
	return p.Enabled && ran >= p.Period && !slices.Contains(p.Ignored, exit)
}

// nextRound takes a container whose process has ended back to where it can be started. It keeps how the
// last process ended: should there be no other, that is how the container did.
func (c *Container) nextRound(r Result) {
	c.Round++
	c.Phase, c.Health, c.Retry = Created, Health{}, Retry{}
	c.Exited, c.ExitCode = true, r.ExitCode
}
