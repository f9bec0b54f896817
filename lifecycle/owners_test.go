package lifecycle_test

import (
	"testing"

	"havn/lifecycle"
)

func TestStatusesOnlyGrow(t *testing.T) {
	for _, m := range lifecycle.Moves {
		if m.From != "" && !m.From.Valid() {
			t.Errorf("%+v leaves a status that does not exist", m)
		}
		for _, to := range m.To {
			if !to.Valid() || !m.From.Before(to) {
				t.Errorf("%s may move a task from %q to %q", m.Owner, m.From, to)
			}
		}
	}
}

func TestNoStatusIsLeftByTwoOwnersForTheSameCondition(t *testing.T) {
	type condition struct {
		from  lifecycle.Status
		while lifecycle.Contact
	}
	owner := map[condition]lifecycle.Owner{}
	for _, m := range lifecycle.Moves {
		at := condition{m.From, m.While}
		if other, there := owner[at]; there {
			t.Errorf("while contact is %s, status %q is left by %s and by %s", m.While, m.From, other, m.Owner)
		}
		owner[at] = m.Owner
	}
}

func TestControlMovesATaskOnlyOnceContactIsLost(t *testing.T) {
	for _, m := range lifecycle.Moves {
		if (m.Owner == lifecycle.Control) != (m.While == lifecycle.Lost) {
			t.Errorf("%s moves from %q while contact is %s", m.Owner, m.From, m.While)
		}
	}
	if lifecycle.MayMove(lifecycle.Control, lifecycle.Running, lifecycle.Stopped, lifecycle.Heard) {
		t.Error("control may stop a task of a node that still has a say")
	}
	if !lifecycle.MayMove(lifecycle.Control, lifecycle.Running, lifecycle.Stopped, lifecycle.Lost) {
		t.Error("nobody may stop a task of a node that is gone")
	}
	if !lifecycle.MayMove(lifecycle.Node, lifecycle.Pending, lifecycle.Running, lifecycle.Heard) {
		t.Error("the node may not say that a task runs")
	}
}

func TestEveryStatusButTheLastCanReachTheLast(t *testing.T) {
	for _, while := range []lifecycle.Contact{lifecycle.Heard, lifecycle.Lost} {
		for _, m := range lifecycle.Moves {
			if m.From != "" && m.While == while && !lifecycle.MayMove(m.Owner, m.From, lifecycle.Stopped, while) {
				t.Errorf("while %s, nobody can stop a task that is %s", while, m.From)
			}
		}
	}
}
