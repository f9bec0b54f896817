package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Config of a Store. Its zero value is for production.
type Config struct {
	// NewID is where Tx.NewID gets its identifiers; by default chance. A simulation gives its own.
	NewID func() string
	// Synchronous makes a store that starts no goroutine, for a world in one thread. It reads the log
	// only in Open, Sync and Update.
	Synchronous bool
	// History is how many commits are kept for watchers that start in the past; by default 4096.
	History int
}

// The patience of Update.
const (
	// maxAttempts is how often its function is run before it gives up.
	maxAttempts = 24
	// politeAttempts is how many of those run beside others of this process. The rest run alone, so that
	// only another process can be in the way, and a crowd around one record gets through one by one.
	politeAttempts = 3
	crowd          = 1 << 20 // more than ever run beside each other
)

// ErrContended is what Update ends with when others were faster each time.
var ErrContended = errors.New("others keep changing the same records")

// Store is a log with the image that follows it.
type Store struct {
	log    Log
	config Config
	name   string // unique to this store; part of its proposals' IDs

	image atomic.Pointer[image]
	turns *semaphore.Weighted // see politeAttempts
	memos sync.Map            // see Memo

	schemas   []*schema
	following sync.Mutex // held by Sync
	follow    *follower

	mu        sync.Mutex
	history   history
	proposals map[string]*proposed // ours, from before Append until Update knows what became of it
	count     uint64
	err       error         // why the store stopped following
	stopped   chan struct{} // closed then
}

// Open reads what the log has and follows it until ctx ends. A log with a record that cannot be read is
// not opened.
func Open(ctx context.Context, log Log, configs ...Config) (*Store, error) {
	var config Config
	if len(configs) > 0 {
		config = configs[0]
	}
	if config.NewID == nil {
		config.NewID = randomID
	}
	if config.History == 0 {
		config.History = 4096
	}
	s := &Store{
		log:       log,
		config:    config,
		name:      config.NewID(),
		turns:     semaphore.NewWeighted(crowd),
		history:   newHistory(config.History),
		proposals: map[string]*proposed{},
		stopped:   make(chan struct{}),
	}
	schemas.Lock()
	s.schemas = append(s.schemas, schemas.list...)
	schemas.Unlock()
	s.image.Store(newImage(s.schemas))
	s.follow = &follower{store: s, schemas: s.schemas}

	if config.Synchronous {
		if err := s.Sync(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	ready := make(chan struct{})
	go func() { s.stop(s.follow.run(ctx, sync.OnceFunc(func() { close(ready) }))) }()
	select {
	case <-ready:
		return s, nil
	case <-s.stopped:
		return nil, s.err
	}
}

// Revision is what View shows now, or later.
func (s *Store) Revision() Revision { return s.image.Load().revision }

// View shows every record at one revision. It never waits, and no writer waits for it.
func (s *Store) View(f func(*Reader)) { f(&Reader{s.image.Load()}) }

// Wait returns when the store no longer follows its log, and why: ctx of Open ended, the log failed, or
// gave a record that cannot be read. What View shows from then on is the past, and Update fails.
func (s *Store) Wait() error {
	<-s.stopped
	return s.err
}

func (s *Store) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("cannot follow the log: %w", err)
		close(s.stopped)
	}
}

// Update runs f in a transaction. When it returns nil, f's writes are durable, all of them at one
// revision, and View shows them. When it returns an error, nothing was written, but for ErrUnknown, which
// says that this cannot be known.
//
// f may be run several times, each on a fresh image, and must have no effect but its writes. It sees what
// this process has seen of the log; what it guards is said above.
//
// If ctx ends when the writes are durable but not yet shown, Update returns nil all the same: the truth
// about the writes is worth more.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error {
	for attempt := range maxAttempts {
		turn := int64(1)
		if attempt >= politeAttempts {
			turn = crowd
		}
		if err := s.turns.Acquire(ctx, turn); err != nil {
			return err
		}
		again, err := s.try(ctx, f)
		s.turns.Release(turn)
		if !again {
			return err
		}
	}
	return fmt.Errorf("cannot commit in %d attempts: %w", maxAttempts, ErrContended)
}

// try runs f once. It reports whether it is worth running again.
func (s *Store) try(ctx context.Context, f func(*Tx) error) (again bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	tx := newTx(s, s.image.Load())
	defer tx.end()
	if err := f(tx); err != nil {
		return false, err
	}
	if tx.err != nil {
		return false, tx.err
	}
	if len(tx.writes) == 0 {
		return false, nil
	}
	p, err := tx.proposal("")
	if err != nil {
		return false, err
	}

	own, err := s.propose()
	if err != nil {
		return false, err
	}
	defer s.forget(own)
	p.ID = own.id
	revision, err := s.log.Append(ctx, p)
	switch {
	case err == nil:
		return false, s.show(ctx, own, revision)
	case errors.Is(err, ErrConflict):
		return true, s.catchUp(ctx, err)
	case errors.Is(err, ErrRefused):
		return false, err
	default:
		return s.settle(ctx, own, p.Expect[fences.schema.path(fenceKey)], err)
	}
}

// proposed is a proposal of ours whose entry has not been seen yet.
type proposed struct {
	id   string
	seen chan struct{} // closed when its entry is in the image
	// lost is set when the log could only give a listing where the entry may have been.
	lost bool
}

func (s *Store) propose() (*proposed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	s.count++
	p := &proposed{id: s.name + "-" + strconv.FormatUint(s.count, 10), seen: make(chan struct{})}
	s.proposals[p.id] = p
	return p, nil
}

func (s *Store) forget(p *proposed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.proposals, p.id)
}

// show returns when a proposal that the log accepted is in the image.
func (s *Store) show(ctx context.Context, own *proposed, at Revision) error {
	if s.config.Synchronous {
		s.Sync(ctx) //nolint:errcheck // it is durable, and the next Update or Sync will tell
		return nil
	}
	for {
		next := s.next()
		if s.Revision() >= at {
			return nil
		}
		select {
		case <-own.seen:
			return nil
		case <-next:
		case <-s.stopped:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// catchUp returns when the image has what was in the way of a proposal.
func (s *Store) catchUp(ctx context.Context, conflict error) error {
	if s.config.Synchronous {
		return s.Sync(ctx)
	}
	var since *ConflictError
	if !errors.As(conflict, &since) {
		return nil
	}
	for {
		next := s.next()
		if s.Revision() >= since.Revision {
			return nil
		}
		select {
		case <-next:
		case <-s.stopped:
			return s.Wait()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func randomID() string {
	var id [16]byte
	rand.Read(id[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(id[:])
}
