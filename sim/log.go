package sim

import (
	"context"

	"havn/state"
)

// actor is who commits, as the owners of fields are named.
type actor string

const (
	byUser     actor = "user"     // api/ecs, for a client
	byNode     actor = "node"     // api/ecs, in the Submit operations
	byRegister actor = "register" // api/ecs, in RegisterContainerInstance
	byControl  actor = "control"
	byDispatch actor = "dispatch"
	byBalance  actor = "balance"
)

// tampered is the log in memory, with what only the world can do to it: note who commits, let a rival go
// first, kill the server in the middle.
type tampered struct {
	state.Memory
	w      *world
	actor  actor
	actors map[string]actor // by proposal
	racing bool
}

// serverDied is what a killed server's stack is unwound with.
type serverDied struct{}

func (l *tampered) Append(ctx context.Context, p state.Proposal) (state.Revision, error) {
	w := l.w
	l.actors[p.ID] = l.actor
	if !l.racing && w.server != nil && w.happens(w.faults.Race) {
		l.race()
	}
	dies := !l.racing && w.server != nil && w.happens(w.faults.ServerDies)
	if dies && w.chance.IntN(2) == 0 {
		w.say("server", "dies before a commit")
		panic(serverDied{})
	}
	if w.options.Defect == LogLies && !l.racing && w.happens(0.05) {
		return w.audit.store.Revision(), nil
	}
	if dies { // a proposal that is still under way after its process is gone would be beyond all doubt
		l.Script(state.NoFault)
	}
	revision, err := l.Memory.Append(ctx, p)
	if dies {
		w.say("server", "dies after a commit")
		panic(serverDied{})
	}
	return revision, err
}

// race lets a rival commit between somebody's look at the state and his commit.
func (l *tampered) race() {
	l.racing = true
	mine := l.actor
	defer func() { l.racing, l.actor = false, mine }()
	for range 1 + l.w.chance.IntN(3) {
		l.w.stats.Races++
		l.w.server.rival().act()
	}
}
