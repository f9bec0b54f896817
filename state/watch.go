package state

import (
	"context"
	"iter"
	"slices"
)

// Commit is what changed at one revision.
type Commit struct {
	Revision Revision
	// Whole says that these are not changes but all the records there are, for a watcher that came too
	// late for what happened before. What is not in it is gone.
	Whole   bool
	Changes []Change // by table and key
}

// Change is what became of one record. Old and New are of the table's record type; nil is none.
type Change struct {
	Table    string
	Key      string
	Old, New any
}

func (c *Commit) note(s *schema, key string, old, new *row) {
	if s == fences.schema {
		return // nobody's business
	}
	change := Change{Table: s.name, Key: key, New: new.record}
	if old != nil {
		change.Old = old.record
	}
	if change.Old != nil || change.New != nil {
		c.Changes = append(c.Changes, change)
	}
}

// history is the last commits, oldest first, as a list that ends in a link for the commit to come. A
// watcher holds on to its own link, so what it has not seen stays, however slow it is; what all have seen
// and is older than the limit is garbage.
type history struct {
	before Revision // a watcher that begins here, or later, needs nothing older than what is kept
	kept   []*link  // those that have come
	last   *link    // to come
	limit  int
}

type link struct {
	came   chan struct{} // closed when commit and next are set
	commit Commit
	next   *link
}

func newHistory(limit int) history {
	return history{last: &link{came: make(chan struct{})}, limit: limit}
}

func (h *history) add(c Commit) {
	came := h.last
	came.commit, came.next = c, &link{came: make(chan struct{})}
	h.last = came.next
	h.kept = append(h.kept, came)
	if len(h.kept) > h.limit {
		h.before = h.kept[0].commit.Revision
		h.kept[0] = nil
		h.kept = h.kept[1:]
	}
	close(came.came)
}

// after is the first link of a later revision, which may be yet to come; false if it may be one that is no longer kept.
func (h *history) after(r Revision) (*link, bool) {
	if r < h.before {
		return nil, false
	}
	at, _ := slices.BinarySearchFunc(h.kept, r, func(l *link, r Revision) int {
		if l.commit.Revision > r {
			return 1
		}
		return -1
	})
	if at == len(h.kept) {
		return h.last, true
	}
	return h.kept[at], true
}

// begin makes the first image, before anyone watches.
func (s *Store) begin(img *image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.image.Store(img)
	s.history.before = img.revision
}

// publish makes an image the one that readers see, and tells watchers and writers.
func (s *Store) publish(img *image, commit Commit, id string, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.image.Store(img)
	s.history.add(commit)
	if own := s.proposals[id]; own != nil {
		close(own.seen)
		delete(s.proposals, id)
	}
	if listed {
		for _, p := range s.proposals {
			p.lost = true
		}
	}
}

// next is closed when another image is there than at the time of the call.
func (s *Store) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.last.came
}

// Watch yields every commit after a revision, in order and without gap, until ctx ends or the store no
// longer follows its log (Wait says why). From a revision that is too far back, zero above all, it yields
// a Whole commit first.
func (s *Store) Watch(ctx context.Context, after Revision) iter.Seq[Commit] {
	return func(yield func(Commit) bool) {
		whole, l := s.from(after)
		if whole != nil && !yield(*whole) {
			return
		}
		for {
			select {
			case <-l.came:
			default:
				select {
				case <-l.came:
				case <-ctx.Done():
					return
				case <-s.stopped:
					return
				}
			}
			if l.commit.Revision > after && !yield(l.commit) {
				return
			}
			l = l.next
		}
	}
}

// Since is what Watch would yield now without waiting.
func (s *Store) Since(after Revision) []Commit {
	var commits []Commit
	whole, l := s.from(after)
	if whole != nil {
		commits = append(commits, *whole)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; l != s.history.last; l = l.next {
		if l.commit.Revision > after {
			commits = append(commits, l.commit)
		}
	}
	return commits
}

// from is where a watcher begins: at a link of the history, or with everything there is.
func (s *Store) from(after Revision) (*Commit, *link) {
	s.mu.Lock()
	img, last := s.image.Load(), s.history.last
	l, kept := s.history.after(after)
	s.mu.Unlock()
	if kept {
		return nil, l
	}
	whole := &Commit{Revision: img.revision, Whole: true}
	for _, schema := range s.schemas {
		for r := range img.all(schema) {
			whole.note(schema, r.key, nil, r)
		}
	}
	return whole, last
}
