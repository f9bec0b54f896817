package agent

import (
	"context"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// Runtime makes effects real. There are two: havn/agent/containerd, and the simulation's. Both pass
// havn/agent/runtimetest.
type Runtime interface {
	// Perform does one effect of a task and returns when it is done, has failed, or ctx was cancelled. It
	// is idempotent (see lifecycle.Verb), and it may be called for several effects at once, never twice
	// at the same time for the same effect of the same task. The result's Effect is e. Failures are in
	// the result, in ECS's words; Perform retries nothing that the words promise to have tried once.
	Perform(ctx context.Context, task *protocol.Task, e lifecycle.Effect) lifecycle.Result

	// Tasks lists the ARNs of all tasks that the runtime still holds anything of, so that an agent whose
	// journal was lost can find what nobody wants any more and remove it.
	Tasks(ctx context.Context) ([]string, error)
}

// Housekeeper is what a Runtime can be, too: one that keeps the node's disk tidy.
type Housekeeper interface {
	// Housekeep removes what nobody needs any more, as far as that is due. The disk is full if tasks should
	// not be begun any more.
	Housekeep(ctx context.Context, now time.Time) (full bool, err error)
}
