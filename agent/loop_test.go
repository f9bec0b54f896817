package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// The loop with its goroutines, in a bubble of virtual time. The runtime and the journal are functions.

type funcRuntime func(ctx context.Context, e lifecycle.Effect) lifecycle.Result

func (f funcRuntime) Perform(ctx context.Context, _ *protocol.Task, e lifecycle.Effect) lifecycle.Result {
	r := f(ctx, e)
	r.Effect = e
	return r
}

func (funcRuntime) Tasks(context.Context) ([]string, error) { return nil, nil }

type funcJournal func(*Plan) error

func (f funcJournal) write(p *Plan) error { return f(p) }

type bench struct {
	*loop
	inquiry *Inquiry
	stop    context.CancelFunc
	done    chan struct{}

	mu         sync.Mutex
	reports    []StateChange
	replies    []protocol.Message
	journalled []Record
}

const testARN = "arn:aws:ecs:us-east-1:000000000000:task/demo/0123456789abcdef0123456789abcdef"

func newBench(t *testing.T, runtime funcRuntime, journal funcJournal) *bench {
	ctx, stop := context.WithCancel(t.Context())
	core := NewCore(CoreConfig{Cluster: "demo"}, time.Now())
	b := &bench{inquiry: NewInquiry(), stop: stop, done: make(chan struct{})}
	b.loop = newLoop(core, funcJournal(func(p *Plan) error {
		if journal != nil {
			if err := journal(p); err != nil {
				return err
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.journalled = append(b.journalled, p.Save...)
		return nil
	}), &Config{Runtime: runtime, Inquiry: b.inquiry, Log: slog.New(slog.DiscardHandler)})
	b.reply = func(m protocol.Message) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.replies = append(b.replies, m)
	}
	b.submit = func(_ context.Context, s StateChange) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.reports = append(b.reports, s)
	}
	go func() {
		defer close(b.done)
		b.run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-b.done
	})
	return b
}

func (b *bench) assign(desired string) {
	b.post(context.Background(), func(now time.Time) {
		b.core.Receive(&protocol.Payload{MessageID: "m-" + desired, Tasks: []protocol.Task{{ARN: testARN, DesiredStatus: desired,
			Containers: []protocol.Container{{Name: "web", Image: "web", Essential: true}}}}}, now)
	})
}

func (b *bench) last() lifecycle.Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.reports) == 0 {
		return lifecycle.Report{}
	}
	return b.reports[len(b.reports)-1].Report
}

func (b *bench) acks() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.replies {
		if _, ok := m.(*protocol.Ack); ok {
			n++
		}
	}
	return n
}

// runsForEver is a container that runs until it is stopped.
type runsForEver struct {
	mu      sync.Mutex
	verbs   []lifecycle.Verb
	stopped chan struct{}
}

func newRunsForEver() *runsForEver { return &runsForEver{stopped: make(chan struct{})} }

func (r *runsForEver) perform(ctx context.Context, e lifecycle.Effect) lifecycle.Result {
	r.mu.Lock()
	r.verbs = append(r.verbs, e.Verb)
	r.mu.Unlock()
	switch e.Verb {
	case lifecycle.Stop:
		close(r.stopped)
	case lifecycle.Wait:
		select {
		case <-r.stopped:
			return lifecycle.Result{ExitCode: 143}
		case <-ctx.Done():
			return lifecycle.Result{Canceled: true}
		}
	}
	return lifecycle.Result{}
}

func (r *runsForEver) did(v lifecycle.Verb) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, done := range r.verbs {
		if done == v {
			return true
		}
	}
	return false
}

func TestATaskRunsAndStopsWithoutTimePassing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		r := newRunsForEver()
		b := newBench(t, r.perform, nil)
		b.assign("RUNNING")
		synctest.Wait()
		if got := b.last().Status; got != lifecycle.Running {
			t.Fatalf("reported %q, want RUNNING", got)
		}
		b.assign("STOPPED")
		synctest.Wait()
		got := b.last()
		if got.Status != lifecycle.Stopped || got.Containers[0].ExitCode != 143 {
			t.Fatalf("reported %+v, want STOPPED with exit code 143", got)
		}
		// Nothing in between waits for a tick, so in virtual time nothing has passed.
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v of waiting", took)
		}
		if b.acks() != 2 {
			t.Errorf("%d acknowledgements, want 2", b.acks())
		}
	})
}

func TestStopDuringPullCancelsThePull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(ctx context.Context, e lifecycle.Effect) lifecycle.Result {
			if e.Verb == lifecycle.Pull {
				<-ctx.Done()
				return lifecycle.Result{Canceled: true}
			}
			return lifecycle.Result{}
		}, nil)
		b.assign("RUNNING")
		synctest.Wait()
		b.assign("STOPPED")
		synctest.Wait()
		if got := b.last().Status; got != lifecycle.Stopped {
			t.Errorf("reported %q, want STOPPED", got)
		}
	})
}

func TestAPanicIsAFailedEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(_ context.Context, e lifecycle.Effect) lifecycle.Result {
			if e.Verb == lifecycle.Create {
				panic("the runtime has a bug")
			}
			return lifecycle.Result{}
		}, nil)
		b.assign("RUNNING")
		synctest.Wait()
		got := b.last()
		if got.Status != lifecycle.Stopped || !strings.Contains(got.Containers[0].Reason, "the runtime has a bug") {
			t.Errorf("reported %+v, want STOPPED with the panic as the reason", got)
		}
	})
}

func TestWhatCannotBeWrittenDownIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunsForEver()
		var full sync.Mutex
		isFull := true
		b := newBench(t, r.perform, func(p *Plan) error {
			full.Lock()
			defer full.Unlock()
			if isFull && len(p.Save) > 0 {
				return errors.New("no space left on device")
			}
			return nil
		})
		b.assign("RUNNING")
		synctest.Wait()
		time.Sleep(time.Minute) // virtual
		if r.did(lifecycle.Pull) || b.acks() > 0 {
			t.Fatalf("with a full disk: did %v, %d acknowledgements", r.verbs, b.acks())
		}
		full.Lock()
		isFull = false
		full.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.last().Status != lifecycle.Running || b.acks() != 1 {
			t.Errorf("with room again: reported %+v, %d acknowledgements", b.last(), b.acks())
		}
	})
}

func TestAWriteThatFailedBesideTheLoopIsMadeGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunsForEver()
		var mu sync.Mutex
		writes := 0
		b := newBench(t, r.perform, func(p *Plan) error {
			mu.Lock()
			defer mu.Unlock()
			if len(p.Save) > 0 {
				writes++
			}
			if writes == 2 { // the first is the assignment, which is waited for
				return errors.New("a moment of trouble")
			}
			return nil
		})
		b.assign("RUNNING")
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if last := b.journalled[len(b.journalled)-1]; last.Life.Last != lifecycle.Running || last.Known.Status != lifecycle.Running {
			t.Errorf("the journal's last record is %+v", last)
		}
	})
}

func TestTheEndOfTheAgentLeavesContainersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunsForEver()
		b := newBench(t, r.perform, nil)
		b.assign("RUNNING")
		synctest.Wait()
		b.stop()
		<-b.done
		if r.did(lifecycle.Stop) || r.did(lifecycle.Remove) {
			t.Errorf("the agent did %v", r.verbs)
		}
	})
}

func TestFailedRemoveIsTriedAgainWhenItsTimeHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		failures := 3
		b := newBench(t, func(_ context.Context, e lifecycle.Effect) lifecycle.Result {
			mu.Lock()
			defer mu.Unlock()
			if e.Verb == lifecycle.Remove && failures > 0 {
				failures--
				return lifecycle.Result{Reason: "CannotRemoveContainerError: busy"}
			}
			return lifecycle.Result{ExitCode: 1}
		}, nil)
		b.assign("RUNNING")
		time.Sleep(time.Minute) // virtual: the wakes at 100 ms, 200 ms and 400 ms come
		synctest.Wait()
		if got := b.last(); got.Status != lifecycle.Stopped {
			t.Errorf("reported %+v, want STOPPED", got)
		}
	})
}

func TestReportsAreTenAtATimeAndOneATask(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := NewCore(CoreConfig{}, now)
	p := &protocol.Payload{MessageID: "m"}
	for i := range 30 {
		p.Tasks = append(p.Tasks, protocol.Task{ARN: testARN + string(rune('a'+i%26)) + string(rune('a'+i/26)), DesiredStatus: "RUNNING"})
	}
	c.Receive(p, now) // no containers: all are refused, and reported
	flying := c.Next(now).Reports
	if len(flying) != MaxReports {
		t.Fatalf("%d reports at once, want %d", len(flying), MaxReports)
	}
	told := map[string]bool{}
	for len(flying) > 0 {
		s := flying[0]
		if told[s.Task] {
			t.Fatalf("%s is told twice", s.Task)
		}
		told[s.Task] = true
		c.Reported(s)
		flying = append(flying[1:], c.Next(now).Reports...)
		if len(flying) > MaxReports {
			t.Fatalf("%d reports at once", len(flying))
		}
	}
	if len(told) != 30 {
		t.Errorf("%d tasks told, want 30", len(told))
	}
	if known, _ := c.Tasks(); known != 0 {
		t.Errorf("%d refused tasks are still known", known)
	}
}
