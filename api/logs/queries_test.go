package logs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logquery"
)

// AwaitQueries returns when no query runs.
func (s *Server) AwaitQueries() { s.queries.done.Wait() }

// endless is a query whose events come to no end but that of its context.
func endless(t *testing.T, id string) *query {
	t.Helper()
	q := finished(t, id, "")
	q.events = func(ctx context.Context) iter.Seq2[logquery.Event, error] {
		return func(yield func(logquery.Event, error) bool) {
			<-ctx.Done()
			yield(logquery.Event{}, ctx.Err())
		}
	}
	return q
}

// finished is a query of one event.
func finished(t *testing.T, id, message string) *query {
	t.Helper()
	parsed, err := logquery.ParseQuery("display @message")
	if err != nil {
		t.Fatal(err)
	}
	return &query{id: id, created: time.Now().UnixMilli(), parsed: parsed, options: logquery.Options{Pointer: func(logquery.Event) string { return "" }},
		events: func(context.Context) iter.Seq2[logquery.Event, error] {
			return func(yield func(logquery.Event, error) bool) { yield(logquery.Event{Message: message}, nil) }
		}}
}

func statuses(qs *queries) string {
	var all []string
	qs.all(time.Now().UnixMilli(), func(q *query) { all = append(all, fmt.Sprintf("%s %s", q.id, q.status)) })
	return strings.Join(all, ", ")
}

func TestFewQueriesRunAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		qs := newQueries()
		for _, id := range []string{"a", "b", "c", "d"} {
			if err := qs.start(endless(t, id)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		cancel := func(id string) {
			if err := qs.with(id, time.Now().UnixMilli(), func(q *query) error { q.cancel(); return nil }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for _, step := range []struct {
			do   func()
			want string
		}{
			{func() {}, "d Scheduled, c Scheduled, b Running, a Running"},
			{func() { cancel("c") }, "d Scheduled, c Cancelled, b Running, a Running"},
			{func() { cancel("a") }, "d Running, c Cancelled, b Running, a Cancelled"},
			{func() { time.Sleep(maxQueryTime); synctest.Wait() }, "d Timeout, c Cancelled, b Timeout, a Cancelled"},
		} {
			if step.do(); statuses(qs) != step.want {
				t.Errorf("%s, want %s", statuses(qs), step.want)
			}
		}
	})
}

func TestQueriesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		qs := newQueries()
		defer qs.end()
		start := func(q *query) {
			t.Helper()
			if err := qs.start(q); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		start(finished(t, "old", "x"))
		time.Sleep(keepQueryFor / 2)
		start(finished(t, "young", "x"))
		start(endless(t, "slow"))
		time.Sleep(maxQueryTime / 2)
		if got, want := statuses(qs), "slow Running, young Complete, old Complete"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		time.Sleep(keepQueryFor/2 - maxQueryTime/2 + time.Millisecond)
		if got, want := statuses(qs), "slow Timeout, young Complete"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		for i := range 10 { // more than there is room for
			start(finished(t, fmt.Sprintf("large-%d", i), strings.Repeat("x", maxKeptBytes/8)))
		}
		if got, want := strings.Count(statuses(qs), "large"), 7; got != want {
			t.Errorf("%d large results are kept, want %d", got, want)
		}
	})
}

func TestThereAreOnlySoManyQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		qs := newQueries()
		for i := range maxQueries {
			if err := qs.start(endless(t, fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if _, full := errors.AsType[*types.LimitExceededException](qs.start(endless(t, "more"))); !full {
			t.Error("one more was taken")
		}
		qs.end()
		synctest.Wait()
		if n := strings.Count(statuses(qs), "Cancelled"); n != maxQueries {
			t.Errorf("%d were cancelled", n)
		}
	})
}
