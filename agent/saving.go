package agent

import (
	"context"
	"log/slog"
	"time"
)

// saving writes the journal for the loop. What must be on disk before the plan is carried out is waited
// for. The rest is written beside the loop, one write at a time, and what comes meanwhile goes into the
// next: an effect that has ended does not wait for the disk before the next one starts.
type saving struct {
	journal writer
	log     *slog.Logger
	backlog backlog
	written chan error // the end of the write that is under way
	batch   *Plan      // what it writes; nil = none is under way
}

type writer interface{ write(*Plan) error }

func newSaving(j writer, log *slog.Logger) saving {
	return saving{journal: j, log: log, written: make(chan error, 1)}
}

// save writes everything, and tries until it succeeds: what cannot be written down is not done. It
// returns false if ctx ended first.
func (s *saving) save(ctx context.Context) bool {
	if s.batch != nil {
		s.settle(<-s.written)
	}
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 10*time.Second) {
		p := s.backlog.plan()
		err := s.journal.write(p)
		if err == nil {
			s.backlog = backlog{}
			return true
		}
		s.log.Error("the node stands still until its journal can be written", "error", err, "again", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return false
		}
	}
}

// saveSoon begins to write what is to be written, unless a write is under way: its end will.
func (s *saving) saveSoon() {
	if s.batch != nil || s.backlog.empty() {
		return
	}
	batch := s.backlog.plan()
	s.batch, s.backlog = batch, backlog{}
	go func() { s.written <- s.journal.write(batch) }()
}

// saved notes the end of a write. It returns false if ctx ended while it was made good.
func (s *saving) saved(ctx context.Context, err error) bool {
	s.settle(err)
	if err != nil {
		return s.save(ctx)
	}
	s.saveSoon()
	return true
}

func (s *saving) settle(err error) {
	if err != nil {
		s.backlog.addBefore(s.batch)
	}
	s.batch = nil
}

// saveLast writes what is left when the agent ends. Should it fail, the next agent does again what this
// one has not written down, as after a crash.
func (s *saving) saveLast() {
	if s.batch != nil {
		s.settle(<-s.written)
	}
	if err := s.journal.write(s.backlog.plan()); err != nil {
		s.log.Error("cannot write the journal for the last time", "error", err)
	}
}

// backlog is what is to be written: the newest of each task.
type backlog struct {
	records  map[string]*Record // by ARN; nil = forget
	timeline int64
}

func (b *backlog) empty() bool { return len(b.records) == 0 && b.timeline == 0 }

func (b *backlog) put(arn string, r *Record) {
	if b.records == nil {
		b.records = map[string]*Record{}
	}
	b.records[arn] = r
}

func (b *backlog) add(p *Plan) {
	for _, r := range p.Save {
		b.put(r.Task.ARN, &r)
	}
	for _, arn := range p.Forget {
		b.put(arn, nil)
	}
	b.timeline = max(b.timeline, p.Timeline)
}

// addBefore adds what was to be written earlier than what is here.
func (b *backlog) addBefore(p *Plan) {
	var earlier backlog
	earlier.add(p)
	for arn, r := range earlier.records {
		if _, newer := b.records[arn]; !newer {
			b.put(arn, r)
		}
	}
	b.timeline = max(b.timeline, p.Timeline)
}

func (b *backlog) plan() *Plan {
	p := &Plan{Timeline: b.timeline}
	for arn, r := range b.records {
		if r == nil {
			p.Forget = append(p.Forget, arn)
		} else {
			p.Save = append(p.Save, *r)
		}
	}
	return p
}
