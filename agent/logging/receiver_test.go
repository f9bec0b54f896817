package logging

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

// receiver is a real destination of a driver, which can be away and come back.
type receiver struct {
	open func(t *testing.T, r *receiver) // begins to receive; what it opens, closed closes

	mu    sync.Mutex
	texts []string
	told  chan struct{} // after each text
	close []func()
}

func newReceiver(open func(*testing.T, *receiver)) *receiver {
	return &receiver{open: open, told: make(chan struct{}, 10_000)}
}

// take notes a message's text.
func (r *receiver) take(text string) {
	r.mu.Lock()
	r.texts = append(r.texts, text)
	r.mu.Unlock()
	r.told <- struct{}{}
}

// until waits for a text.
func (r *receiver) until(text string) {
	for !slices.Contains(r.got(), text) {
		<-r.told
	}
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.texts)
}

func (r *receiver) closed() {
	for _, f := range slices.Backward(r.close) {
		f()
	}
	r.close = nil
}

// complaints is a log of which only the messages are of interest.
type complaints struct {
	slog.Handler
	said chan string
}

func (c complaints) Enabled(context.Context, slog.Level) bool { return true }
func (c complaints) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c complaints) Handle(_ context.Context, r slog.Record) error {
	all := r.Message
	r.Attrs(func(a slog.Attr) bool { all += " " + a.String(); return true })
	select {
	case c.said <- all:
	default:
	}
	return nil
}

// shipThrough ships a log to a destination that is away at first, through a kill of Havn and a restart of the destination,
// and returns what Havn has said meanwhile. The destination gets every line, in order, but for some of them twice.
func shipThrough(t *testing.T, c Container, r *receiver, config Config) string {
	said := make(chan string, 100)
	config.Log = slog.New(complaints{slog.DiscardHandler, said})
	s, err := NewShipper(config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Prepare(t.Context(), c); err != nil {
		t.Fatalf("a destination that is away keeps the container from starting: %v", err)
	}
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Ship(ctx, c) }()
	logOf(t, c, "one\ntwo\n")
	complaint := <-said
	for !strings.Contains(complaint, "takes nothing") {
		complaint += <-said
	}
	r.open(t, r)
	defer func() { r.closed() }()
	r.until("two")
	kill()
	<-ended
	logOf(t, c, "three\n") // while nobody looks
	ctx, kill = context.WithCancel(t.Context())
	go func() { ended <- s.Ship(ctx, c) }()
	r.until("three")
	r.closed() // and comes back at the same place
	r.open(t, r)
	logOf(t, c, "four\nfive")
	kill()
	<-ended
	if err := s.Drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.until("five")
	want := []string{"one", "two", "three", "four", "five"}
	next := 0
	for _, text := range r.got() {
		if next < len(want) && text == want[next] {
			next++
		} else if !slices.Contains(want[:next], text) {
			t.Errorf("%q is out of place in %q", text, r.got())
		}
	}
	return complaint
}
