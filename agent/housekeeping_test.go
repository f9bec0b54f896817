package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"havn/protocol"
)

// disks is a Housekeeper that finds one disk after the other, and the last one from then on.
type disks struct {
	found []func() (full bool, err error)
}

func (d *disks) Housekeep(context.Context, time.Time) (bool, error) {
	found := d.found[0]
	if len(d.found) > 1 {
		d.found = d.found[1:]
	}
	return found()
}

// A disk that is full, or has room again, is told once; that it cannot be looked at is neither.
func TestAFullDiskIsToldWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := func(full bool) func() (bool, error) { return func() (bool, error) { return full, nil } }
		broken := func() (bool, error) { return false, errors.New("no answer") }
		var log bytes.Buffer
		var conditions []string
		l := &loop{log: slog.New(slog.NewTextHandler(&log, nil)), events: make(chan func(time.Time), maxEvents),
			condition: func(c protocol.Condition) { conditions = append(conditions, c.Status) }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*housekeepEvery-time.Second)
		defer cancel()
		l.housekeep(ctx, &disks{[]func() (bool, error){is(false), is(true), is(true), broken, is(true), is(false), is(false), is(true)}})
		if full, room := strings.Count(log.String(), "disk is full"), strings.Count(log.String(), "there is room"); full != 2 || room != 1 {
			t.Errorf("full was told %d times, room %d times, in\n%s", full, room, &log)
		}
		if len(conditions) != 9 || len(l.events) != 6 {
			t.Errorf("conditions %v, room was made %d times", conditions, len(l.events))
		}
	})
}
