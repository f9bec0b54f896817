// Package expire takes out of the log store what the state no longer wants there: the events of log groups and log
// streams that were deleted, and those that are older than their group's retention.
//
// It is a shell around one question about one group, Sweep, which has time as an argument and looks at what is, never
// at what happened. Whoever reads events knows the retention too, so nothing is shown that is late in being forgotten:
// this package is about the disk.
package expire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"havn/logstore"
	"havn/state"
)

// interval is how often all groups are looked at.
const interval = time.Hour

// Sweeper sweeps. It is for one goroutine.
type Sweeper struct {
	store  *state.Store
	events *logstore.Store
	log    *slog.Logger

	// trimmed are the bytes that were taken out of a group since the disk was last given any back.
	trimmed map[logstore.ID]int64
}

// New returns a sweeper.
func New(store *state.Store, events *logstore.Store, log *slog.Logger) *Sweeper {
	return &Sweeper{store: store, events: events, log: log, trimmed: map[logstore.ID]int64{}}
}

// SweepAll sweeps every group that the log store has anything of.
func (s *Sweeper) SweepAll(ctx context.Context, now time.Time) error {
	groups, err := s.events.Groups(ctx)
	if err != nil {
		return err
	}
	var all error
	for _, group := range groups {
		all = errors.Join(all, s.Sweep(ctx, group, now))
	}
	return all
}

// Sweep forgets what the state does not want of one group, and gives the disk back what is worth it.
//
// The store is looked at before the state. A group, or a stream, is in the state before it is in the store, and its ID
// is never used again, so what is in the store and not in the state was deleted.
func (s *Sweeper) Sweep(ctx context.Context, group logstore.ID, now time.Time) error {
	stored, err := s.events.Summaries(ctx, group)
	if err != nil {
		return err
	}
	var wanted state.LogGroup
	streams := map[logstore.ID]bool{}
	s.store.View(func(r *state.Reader) {
		for g := range state.LogGroups.By(r, "id", group.String()) {
			wanted = g
		}
		for st := range state.LogStreams.By(r, "group", group.String()) {
			if id, err := logstore.ParseID(st.ID); err == nil {
				streams[id] = true
			}
		}
	})
	if wanted.ID == "" {
		if err := s.events.Drop(ctx, group); err != nil {
			return fmt.Errorf("cannot forget a deleted log group: %w", err)
		}
		delete(s.trimmed, group)
		return s.events.Reclaim(ctx, group)
	}
	for stream, sum := range stored {
		if streams[stream] {
			continue
		}
		if err := s.events.DropStream(ctx, group, stream); err != nil {
			return fmt.Errorf("cannot forget a deleted log stream of %s: %w", wanted.Name, err)
		}
		s.trimmed[group] += sum.Bytes
	}
	if wanted.RetentionDays > 0 {
		bytes, err := s.events.Trim(ctx, group, wanted.Floor(now).UnixMilli())
		s.trimmed[group] += bytes
		if err != nil {
			return fmt.Errorf("cannot forget the expired events of %s: %w", wanted.Name, err)
		}
	}
	return s.reclaim(ctx, group)
}

// worth is the part of a group's bytes that must have been forgotten before the rest is written anew without it.
const worth = 4

func (s *Sweeper) reclaim(ctx context.Context, group logstore.ID) error {
	left, err := s.events.Bytes(group)
	if err != nil || s.trimmed[group] == 0 || s.trimmed[group] < left/worth {
		return err
	}
	delete(s.trimmed, group)
	return s.events.Reclaim(ctx, group)
}

// Run sweeps a group when a deletion or its retention concerns it, and all of them now and then, until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	concerned := make(chan logstore.ID)
	watching := make(chan struct{})
	defer func() {
		cancel()
		<-watching
	}()
	from := s.store.Revision()
	go func() {
		defer close(watching)
		for commit := range s.store.Watch(ctx, from) {
			for _, change := range commit.Changes {
				id, ok := concerns(change)
				if !ok {
					continue
				}
				select {
				case concerned <- id:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var err error
		select {
		case group := <-concerned:
			err = s.Sweep(ctx, group, time.Now())
		case <-timer.C:
			err = s.SweepAll(ctx, time.Now())
			timer.Reset(interval)
		case <-watching:
			if ctx.Err() == nil {
				return errors.New("cannot follow the state any more")
			}
			return nil
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("cannot forget log events; it is tried again within the hour", "error", err)
		}
	}
}

// concerns is the group that a change leaves something to forget of.
func concerns(c state.Change) (logstore.ID, bool) {
	id := ""
	switch old := c.Old.(type) {
	case state.LogGroup:
		if g, there := c.New.(state.LogGroup); !there || g.RetentionDays != old.RetentionDays {
			id = old.ID
		}
	case state.LogStream:
		if c.New == nil {
			id = old.GroupID
		}
	}
	group, err := logstore.ParseID(id)
	return group, err == nil
}
