package logs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"havn/logstore"
	"havn/state"
)

// start is in milliseconds 1795348800000.
var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestTranscripts replays testdata/transcripts/*: JSON in, JSON or an exception out, over HTTP. In what goes in, NOW
// stands for the time, and NOW+5 or NOW-5 for five milliseconds from there. The directives:
//
//	call OPERATION           the input follows; the answer is as on the wire
//	pass 5s                  time goes by
//	sweep                    controllers and expiry do what there is to do; what is left is told
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		now := start
		w := newWorld(t, func() time.Time { return now })
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "call":
				return w.call(t, now, d.CmdArgs[0].Key, at(d.Input, now))
			case "pass":
				step, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(step)
				return ""
			case "sweep":
				return w.sweep(t, now)
			}
			d.Fatalf(t, "unknown directive")
			return ""
		})
	})
}

// at puts times in the place of NOW, NOW+5 and NOW-5.
func at(text string, now time.Time) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "NOW")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		var by int64
		digits := len(after) - len(strings.TrimLeft(after, "+-0123456789"))
		if digits > 0 {
			fmt.Sscanf(after[:digits], "%d", &by) //nolint:errcheck // a transcript shows what it became
		}
		fmt.Fprint(&b, now.UnixMilli()+by)
		text = after[digits:]
	}
}

func (w *world) sweep(t *testing.T, now time.Time) string {
	ctx := context.Background()
	for w.loop.Step(ctx, now) || !w.loop.Wake().After(now) {
	}
	if err := w.sweeper.SweepAll(ctx, now); err != nil {
		t.Fatal(err)
	}
	groups, err := w.events.Groups(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	events := func(id logstore.ID) (n int64) {
		summaries, err := w.events.Summaries(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range summaries {
			n += s.Events
		}
		return n
	}
	for _, id := range groups {
		w.store.View(func(r *state.Reader) {
			name := "(deleted)"
			for g := range state.LogGroups.By(r, "id", id.String()) {
				name = g.Name
			}
			bytes, err := w.events.Bytes(id)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s: %d events, %d bytes\n", name, events(id), bytes)
		})
	}
	w.store.View(func(r *state.Reader) { fmt.Fprintf(&b, "%d log streams\n", state.LogStreams.Count(r)) })
	return b.String()
}
