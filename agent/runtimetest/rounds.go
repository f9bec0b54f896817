package runtimetest

import (
	"context"
	"strings"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// round performs Start or Wait of a container's process of a round, which must succeed.
func (b *bench) round(task *protocol.Task, verb lifecycle.Verb, round int) lifecycle.Result {
	b.Helper()
	r := b.effect(context.Background(), task, lifecycle.Effect{Verb: verb, Container: "c0", Round: round})
	if r.Canceled || r.Reason != "" {
		b.Fatalf("%s in round %d: canceled %v, reason %q", verb, round, r.Canceled, r.Reason)
	}
	return r
}

func restarts(b *bench) {
	task := b.task(b.c.ExitsThree)
	b.up(task)
	id := b.do(task, lifecycle.Create, "c0").RuntimeID
	before := b.round(task, lifecycle.Wait, 0)
	b.exits(before, 3)
	for round := 1; round <= 2; round++ {
		start := b.round(task, lifecycle.Start, round)
		if start.StartedAt.Before(before.FinishedAt) {
			b.Errorf("the process of round %d began at %v; the one before ended at %v", round, start.StartedAt, before.FinishedAt)
		}
		wait := b.round(task, lifecycle.Wait, round)
		b.exits(wait, 3)
		if wait.FinishedAt.Before(start.StartedAt) {
			b.Errorf("the process of round %d ended at %v, before it began at %v", round, wait.FinishedAt, start.StartedAt)
		}
		// Neither again, nor by a new agent, nor late in a round that is over.
		b.round(task, lifecycle.Start, round)
		b.reopen()
		if again := b.do(task, lifecycle.Create, "c0").RuntimeID; again != id {
			b.Errorf("it was the container %s, and is %s", id, again)
		}
		b.round(task, lifecycle.Start, round)
		b.round(task, lifecycle.Start, round-1)
		again := b.round(task, lifecycle.Wait, round)
		b.exits(again, 3)
		if !again.FinishedAt.Equal(wait.FinishedAt) {
			b.Errorf("the process of round %d ended at %v, then at %v: it ran twice", round, wait.FinishedAt, again.FinishedAt)
		}
		before = wait
	}
}

func restartedAdopted(b *bench) {
	task := b.task(b.c.Obedient)
	b.up(task)
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.round(task, lifecycle.Wait, 0), 0)
	b.round(task, lifecycle.Start, 1)
	b.reopen()
	b.round(task, lifecycle.Start, 1)
	done := make(chan lifecycle.Result, 1)
	go func() {
		done <- b.runtime.Perform(context.Background(), task, lifecycle.Effect{Verb: lifecycle.Wait, Container: "c0", Round: 1})
	}()
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.await(done), 0)
}

// probe performs a health check, whose failure is none of the runtime's.
func (b *bench) probe(task *protocol.Task, timeout time.Duration) lifecycle.Result {
	b.Helper()
	r := b.effect(context.Background(), task, lifecycle.Effect{Verb: lifecycle.Probe, Container: "c0", Timeout: timeout})
	if r.Canceled || r.Reason != "" {
		b.Fatalf("Probe: canceled %v, reason %q", r.Canceled, r.Reason)
	}
	if r.StartedAt.IsZero() {
		b.Error("Probe: it does not say when it began")
	}
	return r
}

// stillObedient: whatever was probed, the container runs on, and ends as it would have.
func (b *bench) stillObedient(task *protocol.Task) {
	b.Helper()
	waiting := b.begin(context.Background(), task, lifecycle.Wait, "c0")
	b.do(task, lifecycle.Stop, "c0")
	b.exits(b.await(waiting), 0)
}

func probes(b *bench) {
	for code, program := range []protocol.Container{b.c.Well, b.c.Sick} {
		task := b.task(program)
		b.up(task)
		for range 2 {
			if r := b.probe(task, patience); r.ExitCode != code {
				b.Errorf("Probe: exit code %d, %q; want %d", r.ExitCode, r.Output, code)
			}
		}
		b.reopen()
		if r := b.probe(task, patience); r.ExitCode != code {
			b.Errorf("Probe by a new agent: exit code %d, %q; want %d", r.ExitCode, r.Output, code)
		}
		b.stillObedient(task)
	}
}

const tooLong = 300 * time.Millisecond

func (b *bench) takesTooLong(task *protocol.Task) {
	b.Helper()
	r := b.probe(task, tooLong)
	if r.ExitCode != -1 || !strings.HasPrefix(r.Output, "Health check exceeded timeout (300ms)") {
		b.Errorf("Probe: exit code %d, %q", r.ExitCode, r.Output)
	}
}

func probeTooLong(b *bench) {
	task := b.task(b.c.Hanging)
	b.up(task)
	b.takesTooLong(task)
	b.takesTooLong(task)
	b.stillObedient(task)
}

func cancelProbe(b *bench) {
	task := b.task(b.c.Hanging)
	b.up(task)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan lifecycle.Result, 1)
	go func() {
		done <- b.runtime.Perform(ctx, task, lifecycle.Effect{Verb: lifecycle.Probe, Container: "c0", Timeout: patience})
	}()
	cancel()
	if r := b.await(done); !r.Canceled || r.Reason != "" {
		b.Errorf("a cancelled Probe: %+v", r)
	}
	b.takesTooLong(task) // as if the other had never been
	b.stillObedient(task)
}

func probeNothing(b *bench) {
	task := b.task(b.c.Well)
	b.up(task)
	b.stillObedient(task)
	if r := b.probe(task, patience); r.ExitCode == 0 {
		b.Errorf("Probe of what has ended: %+v", r)
	}
	b.do(task, lifecycle.Remove, "c0")
	if r := b.probe(task, patience); r.ExitCode == 0 {
		b.Errorf("Probe of what was removed: %+v", r)
	}
}
