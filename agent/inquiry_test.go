package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"havn/lifecycle"
)

func TestAQuestionIsAnsweredByTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(ctx context.Context, e lifecycle.Effect) lifecycle.Result {
			<-ctx.Done()
			return lifecycle.Result{Canceled: true}
		}, nil)
		b.assign("RUNNING")
		synctest.Wait()
		r, known, err := b.inquiry.Task(t.Context(), testARN)
		if err != nil || !known || r.Task.Containers[0].Name != "web" || r.Life.Last != lifecycle.Pending {
			t.Errorf("%+v, %v, %v", r, known, err)
		}
		if _, known, err := b.inquiry.Task(t.Context(), "another"); known || err != nil {
			t.Errorf("of a task that is not there: %v, %v", known, err)
		}
		if all, err := b.inquiry.Tasks(t.Context()); err != nil || len(all) != 1 || all[0].Task.ARN != testARN {
			t.Errorf("%v, %v", all, err)
		}
	})
}

func TestAQuestionWaitsForTheAgentButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := NewInquiry().Tasks(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
