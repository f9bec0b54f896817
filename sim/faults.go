package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"havn/state"
)

// faults say how often each kind of thing goes wrong, from 0 to 1. Each seed has some kinds and not others,
// so that one kind cannot hide what another brings to light.
type faults struct {
	// Per message between a session and an agent.
	MessageLost, MessageLate, MessageTwice, MessageReordered float64
	// Per call of a node to the API.
	CallLost, AnswerLost, CallLate, CallTwice float64
	// Per call of a user.
	UserCallLost, UserAnswerLost float64
	// Per append.
	Conflict, LogAnswerLost, ProposalLost, ProposalLate float64
	Race                                                float64 // a rival commits first
	ServerDies                                          float64 // in the middle of it, before or after
	// Per commit: a session is not told.
	NoteLost float64
	// Per turn of an agent's loop.
	AgentDies float64
	// Per disaster, of which there is one every half minute or so; see disasters.
	Disasters map[string]float64

	Runtime RuntimeFaults
}

// disasters are what befalls the world as a whole, besides what goes wrong in each step.
var disasters = []string{"partition", "agent crash", "reboot", "journal lost", "server restart", "leader change", "clock jump", "compaction", "connection lost", "node moves"}

func drawFaults(chance *rand.Rand) faults {
	draw := func(most float64) float64 {
		if chance.Float64() < 0.6 {
			return 0
		}
		return most * chance.Float64()
	}
	f := faults{
		MessageLost: draw(0.2), MessageLate: draw(0.2), MessageTwice: draw(0.2), MessageReordered: draw(0.3),
		CallLost: draw(0.2), AnswerLost: draw(0.2), CallLate: draw(0.3), CallTwice: draw(0.2),
		UserCallLost: draw(0.1), UserAnswerLost: draw(0.2),
		Conflict: draw(0.2), LogAnswerLost: draw(0.1), ProposalLost: draw(0.1), ProposalLate: draw(0.1),
		Race: draw(0.3), ServerDies: draw(0.02), NoteLost: draw(0.3), AgentDies: draw(0.02),
		Disasters: map[string]float64{},
		Runtime: RuntimeFaults{
			SlowPull: draw(0.1), PullError: draw(0.1), ConnectError: draw(0.05), CreateError: draw(0.05), StartError: draw(0.05),
			SlowStop: draw(0.3), StopError: draw(0.3), RemoveError: draw(0.3), DisconnError: draw(0.3), DiscardError: draw(0.3),
			Exit: draw(0.2), OutOfMemory: draw(0.1), Sick: draw(0.5),
		},
	}
	for _, name := range disasters {
		if often := draw(1); often > 0 {
			f.Disasters[name] = often
		}
	}
	return f
}

func (f faults) log(seed uint64) state.Faults {
	return state.Faults{Seed: seed, Conflict: f.Conflict, LostAnswer: f.LogAnswerLost, LostProposal: f.ProposalLost, LateProposal: f.ProposalLate}
}

// beginDisasters lets something befall the world now and then.
func (w *world) beginDisasters() {
	w.after(w.upTo(time.Minute), func() {
		if w.healed {
			return
		}
		name := pick(w, disasters)
		if w.happens(w.faults.Disasters[name]) {
			w.befall(name)
		}
		w.beginDisasters()
	})
}

func (w *world) befall(name string) {
	n := pick(w, w.nodes)
	switch name {
	case "partition":
		d := w.upTo(4 * time.Minute)
		w.say(n.id, "cut off for %v", d)
		n.cutOff = true
		w.after(d, func() { n.cutOff = false })
	case "agent crash":
		n.crash("killed")
	case "reboot":
		n.crash("reboots")
		n.runtime.Lose()
		n.disturbed = true
	case "journal lost":
		n.crash("killed, and its journal is lost")
		n.loseJournal()
		n.disturbed = true
	case "server restart":
		w.die("killed")
	case "leader change":
		if w.server != nil {
			w.server.lead()
		}
	case "clock jump":
		jump := w.upTo(10*time.Minute) - 5*time.Minute
		w.say(n.id, "its clock jumps by %v", jump)
		n.skew += jump
		n.wake()
	case "compaction":
		w.audit.sync()
		w.log.Compact(w.audit.store.Revision())
	case "node moves":
		n.cluster = pick(w, append([]string{""}, clusterNames...))
		n.crash(fmt.Sprintf("is restarted for cluster %q", n.cluster))
		n.disturbed = true
		n.journal.instance = "" // as an agent has it that was configured for another cluster
	case "connection lost":
		if n.agent != nil && n.agent.link != nil {
			n.agent.link.lose()
		}
	}
}
