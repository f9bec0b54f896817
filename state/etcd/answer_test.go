package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"havn/state"
)

// A context that ends while etcd is at work loses the answer. Update must find it out: nil is written, an
// error is not.
func TestAnswersAreTrueWhenContextsEnd(t *testing.T) {
	s, err := state.Open(t.Context(), startTest(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	written, refused := 0, 0
	for range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(chance.IntN(3000))*time.Microsecond)
		err := s.Update(ctx, func(tx *state.Tx) error {
			n, _ := notes.Get(tx, "a")
			notes.Put(tx, note{ID: "a", N: n.N + 1})
			return nil
		})
		cancel()
		switch {
		case err == nil:
			written++
		case errors.Is(err, state.ErrUnknown):
			t.Fatal(err)
		default:
			refused++
		}
	}
	// What is shown may be behind where the context ended after the write. One more brings it up.
	put(t, s, note{ID: "last"})
	s.View(func(r *state.Reader) {
		if n, _ := notes.Get(r, "a"); n.N != written {
			t.Errorf("%d updates were acknowledged and %d refused; %d are there", written, refused, n.N)
		}
		t.Logf("%d written, %d not", written, refused)
	})
}

// One folder, one process; the error says so.
func TestAFolderIsForOne(t *testing.T) {
	dir := t.TempDir() + "/etcd"
	l, err := StartEmbedded(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := StartEmbedded(t.Context(), Config{Dir: dir}); err == nil {
		t.Error("two in one folder")
	} else {
		t.Log(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l, err = StartEmbedded(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestAStoreStopsWhenEtcdIsGone(t *testing.T) {
	l, err := StartEmbedded(t.Context(), Config{Dir: t.TempDir() + "/etcd"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, note{ID: "a", N: 1})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err == nil {
		t.Error("the store follows a log that is gone")
	}
	if err := s.Update(t.Context(), func(tx *state.Tx) error { notes.Put(tx, note{ID: "b"}); return nil }); err == nil {
		t.Error("an update into nothing succeeded")
	}
	s.View(func(r *state.Reader) {
		if n, _ := notes.Get(r, "a"); n.N != 1 {
			t.Error("the image went with the log")
		}
	})
}
