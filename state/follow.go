package state

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// follower turns what the log yields into images and commits.
type follower struct {
	store   *Store
	schemas []*schema
	listing *loader // while pages come
}

// run takes entries until ctx ends or something fails. It calls caughtUp each time it has.
func (f *follower) run(ctx context.Context, caughtUp func()) error {
	for entry, err := range f.store.log.Replay(ctx, f.store.Revision()) {
		if err == nil {
			err = f.take(entry)
		}
		if err != nil {
			return err
		}
		if entry.Kind == CaughtUp {
			caughtUp()
		}
	}
	return errors.New("it has ended")
}

// Sync takes all that the log has now. A synchronous store sees what other stores wrote when it is called.
func (s *Store) Sync(ctx context.Context) error {
	if !s.config.Synchronous {
		return errors.New("cannot sync a store that follows its log by itself")
	}
	s.following.Lock()
	defer s.following.Unlock()
	if s.ended() {
		return s.Wait()
	}
	for entry, err := range s.log.Replay(ctx, s.Revision()) {
		if err == nil {
			err = s.follow.take(entry)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.stop(err)
			}
			return fmt.Errorf("cannot follow the log: %w", err)
		}
		if entry.Kind == CaughtUp {
			return nil
		}
	}
	return errors.New("cannot follow the log: it has ended")
}

func (f *follower) take(entry Entry) error {
	switch entry.Kind {
	case Listed:
		if f.listing == nil {
			f.listing = newLoader(f.schemas)
		}
		return f.page(entry)
	case Committed:
		return f.change(entry)
	case CaughtUp:
		if f.listing != nil {
			img := f.listing.image(entry.Revision)
			f.listing = nil
			if f.store.Revision() == 0 {
				f.store.begin(img)
				return nil
			}
			f.store.publish(img, f.difference(f.store.image.Load(), img), "", true)
		}
	}
	return nil
}

// page adds a part of a listing. Decoding is most of the work of a start, so every core takes a share.
func (f *follower) page(entry Entry) error {
	type decoded struct {
		schema *schema
		row    *row
	}
	rows := make([]decoded, len(entry.Writes))
	decode := func(from, to int) (err error) {
		for i := from; i < to && err == nil; i++ {
			rows[i].schema, rows[i].row, err = f.read(entry.Writes[i])
		}
		return err
	}

	shares := runtime.GOMAXPROCS(0)
	if f.store.config.Synchronous || len(rows) < 100 {
		shares = 1
	}
	errs := make([]error, shares)
	var wg sync.WaitGroup
	for i := 1; i < shares; i++ {
		wg.Go(func() { errs[i] = decode(len(rows)*i/shares, len(rows)*(i+1)/shares) })
	}
	errs[0] = decode(0, len(rows)/shares)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, d := range rows {
		f.listing.add(d.schema, d.row)
	}
	return nil
}

// change makes the next image.
func (f *follower) change(entry Entry) error {
	img := f.store.image.Load().clone()
	img.revision = entry.Revision
	commit := Commit{Revision: entry.Revision}
	for _, w := range entry.Writes {
		w.Revision = entry.Revision
		s, r, err := f.read(w)
		if err != nil {
			return err
		}
		old := img.get(s, r.key)
		if r.record == nil {
			img.remove(s, r.key)
		} else {
			img.set(s, r)
		}
		commit.note(s, r.key, old, r)
	}
	f.store.publish(img, commit, entry.ID, false)
	return nil
}

// read decodes one write. The row of a removed record has none.
func (f *follower) read(w Write) (*schema, *row, error) {
	table, key, _ := strings.Cut(w.Key, "/")
	for _, s := range f.schemas {
		if s.name != table {
			continue
		}
		r := &row{key: key, revision: w.Revision}
		if w.Value == nil {
			return s, r, nil
		}
		record, err := s.decode(w.Value)
		if err == nil && s.key(record) != key {
			err = fmt.Errorf("its key should be %q", s.key(record))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read record %s of revision %d: %w", w.Key, w.Revision, err)
		}
		r.record = record
		return s, r, nil
	}
	return nil, nil, fmt.Errorf("cannot read record %s of revision %d: this Havn has no table %q; start a newer Havn", w.Key, w.Revision, table)
}

// difference is what changed between two images, as one commit.
func (f *follower) difference(old, new *image) Commit {
	commit := Commit{Revision: new.revision}
	for _, s := range f.schemas {
		for r := range old.all(s) {
			if new.get(s, r.key) == nil {
				commit.note(s, r.key, r, &row{key: r.key})
			}
		}
		for r := range new.all(s) {
			if was := old.get(s, r.key); was == nil || was.revision != r.revision {
				commit.note(s, r.key, was, r)
			}
		}
	}
	return commit
}
