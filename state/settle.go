package state

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Fence is the one record that every transaction guards. Writing it makes every proposal that is still
// under way, anywhere, come to nothing. It is how the store finds out what became of a proposal whose
// answer was lost; in quiet times it is never written.
type Fence struct {
	Raised int // how often
}

const fenceKey = "all"

var fences = NewTable("fence", 1, func(Fence) string { return fenceKey })

// ErrUnknown is what Update ends with when it cannot find out whether its writes are durable.
var ErrUnknown = errors.New("it is not known whether the update was written")

// settleTime is how long Update goes on finding that out when its own context has ended.
const settleTime = 5 * time.Second

// settleAttempts bounds it where time stands still.
const settleAttempts = 64

// settle finds out what became of a proposal whose answer was lost: the log may have written it, may have
// dropped it, or may yet write it. The proposal guards the fence at a version. So settle raises the fence:
// once the image shows the fence at another version, the proposal is either in the image too or will
// never be. Others whose proposals are thrown back by the fence only run again.
//
//	Append(p) -> ?          fence raised at r          image reaches r
//	---+----------------------+--------------------------+------->
//	   p may land here        p cannot land              p seen: written. Not seen: never will be
func (s *Store) settle(ctx context.Context, own *proposed, fence Revision, cause error) (again bool, err error) {
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	for range settleAttempts {
		if s.config.Synchronous {
			err = s.Sync(settling)
		}
		next := s.next() // before looking, so that nothing comes unseen
		if s.sees(own) {
			return false, nil
		}
		if s.image.Load().version(fences.schema, fenceKey) != fence {
			if s.lost(own) {
				return false, fmt.Errorf("%w: the log has forgotten that time: %w", ErrUnknown, cause)
			}
			if s.sees(own) { // the image may have moved on since it was asked
				return false, nil
			}
			if ctx.Err() != nil {
				return false, fmt.Errorf("not written: %w", cause)
			}
			return true, nil
		}
		if err = s.raise(settling); err == nil && !s.config.Synchronous {
			select {
			case <-next:
			case <-s.stopped:
				err = s.Wait()
			case <-settling.Done():
				err = settling.Err()
			}
		}
		if settling.Err() != nil || s.ended() {
			break
		}
	}
	return false, fmt.Errorf("%w: %w", ErrUnknown, errors.Join(cause, err))
}

// raise writes the fence, unless someone else has.
func (s *Store) raise(ctx context.Context) error {
	tx := newTx(s, s.image.Load())
	fence, _ := fences.Get(tx, fenceKey)
	fence.Raised++
	fences.Put(tx, fence)
	own, err := s.propose()
	if err != nil {
		return err
	}
	defer s.forget(own)
	p, err := tx.proposal(own.id)
	if err != nil {
		return err
	}
	if _, err := s.log.Append(ctx, p); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}

func (s *Store) sees(p *proposed) bool {
	select {
	case <-p.seen:
		return true
	default:
		return false
	}
}

func (s *Store) lost(p *proposed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.lost
}

func (s *Store) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}
