package expire

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"havn/logstore"
	"havn/state"
)

// world is a state and a log store in memory, with a group and a stream.
type world struct {
	t      *testing.T
	store  *state.Store
	events *logstore.Store
	group  state.LogGroup
	stream state.LogStream
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	events, err := logstore.Open(logstore.Config{Dir: "logs", FS: vfs.NewMem(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, events: events}
	w.update(func(tx *state.Tx) {
		w.group = state.LogGroup{Name: "g", ID: tx.NewID()}
		w.stream = state.LogStream{Name: "s", ID: tx.NewID(), GroupID: w.group.ID}
		state.LogGroups.Put(tx, w.group)
		state.LogStreams.Put(tx, w.stream)
	})
	return w
}

func (w *world) update(f func(*state.Tx)) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) id(text string) logstore.ID {
	id, err := logstore.ParseID(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) append(group, stream string, at time.Time, message string) {
	w.t.Helper()
	err := w.events.Append(context.Background(), w.id(group), w.id(stream), at.UnixMilli(), []logstore.Entry{{Time: at.UnixMilli(), Message: message}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// left are the messages of a group that are still stored.
func (w *world) left(group string) string {
	w.t.Helper()
	var messages []string
	for e, err := range w.events.Events(context.Background(), logstore.Query{Group: w.id(group), To: logstore.End}) {
		if err != nil {
			w.t.Fatal(err)
		}
		messages = append(messages, e.Message)
	}
	return fmt.Sprint(messages)
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestASweepForgetsWhatTheStateDoesNotWant(t *testing.T) {
	const other, unknown = "000000000000000000000000000000aa", "000000000000000000000000000000bb"
	w := newWorld(t)
	defer w.events.Close()
	s := New(w.store, w.events, slog.New(slog.DiscardHandler))
	w.append(w.group.ID, w.stream.ID, now.Add(-25*time.Hour), "expired")
	w.append(w.group.ID, w.stream.ID, now.Add(-24*time.Hour), "just not")
	w.append(w.group.ID, other, now, "of a deleted stream")
	w.append(unknown, other, now, "of a deleted group")

	if err := s.SweepAll(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if got := w.left(w.group.ID) + w.left(unknown); got != "[expired just not][]" {
		t.Errorf("without retention, %s is left", got)
	}
	w.update(func(tx *state.Tx) {
		w.group.RetentionDays = 1
		state.LogGroups.Put(tx, w.group)
	})
	if err := s.SweepAll(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if got := w.left(w.group.ID); got != "[just not]" {
		t.Errorf("with a day's retention, %s is left", got)
	}
	if err := s.SweepAll(t.Context(), now.Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got := w.left(w.group.ID); got != "[]" {
		t.Errorf("a millisecond later, %s is left", got)
	}
}

func TestRunSweepsWhenItIsConcernedAndWhenTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(t)
		done := make(chan error)
		go func() { done <- New(w.store, w.events, slog.New(slog.DiscardHandler)).Run(ctx) }()
		synctest.Wait()

		w.append(w.group.ID, w.stream.ID, time.Now(), "a day old in a day")
		w.update(func(tx *state.Tx) {
			w.group.RetentionDays = 1
			state.LogGroups.Put(tx, w.group)
		})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := w.left(w.group.ID); got != "[a day old in a day]" {
			t.Errorf("after a day, %s is left", got)
		}
		time.Sleep(interval)
		synctest.Wait()
		if got := w.left(w.group.ID); got != "[]" {
			t.Errorf("after a day and a sweep, %s is left", got)
		}

		w.append(w.group.ID, w.stream.ID, time.Now(), "of a group that goes")
		w.update(func(tx *state.Tx) { state.LogGroups.Delete(tx, "g") })
		synctest.Wait()
		if got := w.left(w.group.ID); got != "[]" {
			t.Errorf("of a deleted group, %s is left", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.events.Close()
	})
}
