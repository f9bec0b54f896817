package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

func manyARN(n int) string {
	return fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/demo/%032x", n)
}

func job(arn string) protocol.Task {
	return protocol.Task{ARN: arn, DesiredStatus: "RUNNING", Containers: []protocol.Container{{Name: "web", Image: "web", Essential: true}}}
}

func assignMany(c *Core, n int, now time.Time) {
	for i := range n {
		c.Receive(&protocol.Payload{MessageID: "m", Tasks: []protocol.Task{job(manyARN(i))}}, now)
	}
}

func succeed(j Job) lifecycle.Result {
	return lifecycle.Result{Effect: j.Effect, RuntimeID: "id", Digest: "sha256:00"}
}

// BenchmarkFirstEffect is the time from an assignment to its first effect, journal included.
func BenchmarkFirstEffect(b *testing.B) {
	begun, over := make(chan struct{}, 1), make(chan struct{}, 1)
	l := benchLoop(b, func(_ context.Context, e lifecycle.Effect) lifecycle.Result {
		if e.Verb == lifecycle.Connect {
			begun <- struct{}{}
			return lifecycle.Result{Reason: "no more than this"}
		}
		return lifecycle.Result{}
	}, func(s StateChange) {
		if s.Report.Status == lifecycle.Stopped {
			over <- struct{}{}
		}
	})
	n := 0
	for b.Loop() {
		n++
		l.post(b.Context(), func(now time.Time) {
			l.core.Receive(&protocol.Payload{MessageID: "m", Tasks: []protocol.Task{job(manyARN(n))}}, now)
		})
		<-begun
		b.StopTimer()
		<-over
		b.StartTimer()
	}
}

// BenchmarkWholeTask is a task from its assignment to the report STOPPED, on a runtime that takes no time.
func BenchmarkWholeTask(b *testing.B) {
	stopped := make(chan struct{}, 1)
	l := benchLoop(b, func(_ context.Context, e lifecycle.Effect) lifecycle.Result { return lifecycle.Result{RuntimeID: "id"} },
		func(s StateChange) {
			if s.Report.Status == lifecycle.Stopped {
				stopped <- struct{}{}
			}
		})
	n := 0
	for b.Loop() {
		n++
		l.post(b.Context(), func(now time.Time) {
			l.core.Receive(&protocol.Payload{MessageID: "m", Tasks: []protocol.Task{job(manyARN(n))}}, now)
		})
		<-stopped
	}
}

func benchLoop(b *testing.B, runtime funcRuntime, report func(StateChange)) *loop {
	j, _, err := openJournal(filepath.Join(b.TempDir(), "journal.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	l := newLoop(NewCore(CoreConfig{}, time.Now()), j, &Config{Runtime: runtime, Log: slog.New(slog.DiscardHandler)})
	l.reply = func(protocol.Message) {}
	l.submit = func(_ context.Context, s StateChange) { report(s) }
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx)
	}()
	b.Cleanup(func() {
		stop()
		<-done
		j.close()
	})
	return l
}

// BenchmarkTurnWithManyTasks is one event and its plan on a node with a thousand running tasks.
func BenchmarkTurnWithManyTasks(b *testing.B) {
	now := fuzzEpoch
	c := NewCore(CoreConfig{}, now)
	assignMany(c, 1000, now)
	for {
		p := c.Next(now)
		if len(p.Start) == 0 && len(p.Reports) == 0 {
			break
		}
		for _, j := range p.Start {
			if j.Effect.Verb != lifecycle.Wait {
				c.Observe(j.Task.ARN, succeed(j), now)
			}
		}
		for _, s := range p.Reports {
			c.Reported(s)
		}
	}
	for b.Loop() {
		c.Receive(&protocol.Heartbeat{MessageID: "h"}, now)
		c.Next(now)
	}
}
