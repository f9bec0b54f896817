package state

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Revision says where the log stands. Zero is before everything; an empty log is at 1.
type Revision int64

// Log keeps the bytes. It knows keys, values and revisions, and no record.
type Log interface {
	// Append writes all of p at one new revision, or nothing. Its error says what became of p:
	//
	//   - nil: it is durable at the revision returned.
	//   - ErrConflict: a version in Expect is out of date; p is not written and never will be.
	//   - ErrRefused: the log will not take it (too large, out of space); not written, never will be.
	//   - anything else: unknown. It may be written, or even be written later.
	Append(ctx context.Context, p Proposal) (Revision, error)

	// Replay yields what was written after a revision, in order, without gap or repeat. It yields
	// CaughtUp when it has given all that was there when it was called, and from then on follows the log
	// until ctx ends or the log fails; that error is the last it yields.
	Replay(ctx context.Context, after Revision) iter.Seq2[Entry, error]
}

// Proposal is what Append is asked to write.
type Proposal struct {
	// ID is unique to this proposal. Its entry carries it, so that whoever lost the answer knows it again.
	ID string
	// Expect are the revisions at which keys must have been last written; zero: the key must be absent.
	// Every key in Writes is in here.
	Expect map[string]Revision
	Writes []Write // sorted by key, each key once
}

// Write is a key's new value. Without a value it is removed.
type Write struct {
	Key   string // table/key
	Value []byte
	// Revision at which this was written. Append does not look at it.
	Revision Revision
}

// Kind says what an Entry is.
type Kind int

const (
	// Committed is one proposal, whole.
	Committed Kind = iota + 1
	// Listed is a page of a listing of everything there is at a revision. Pages come where the log has
	// forgotten the history that was asked for, and after revision zero; CaughtUp ends the listing. What
	// is not in the listing is not there.
	Listed
	// CaughtUp says that everything up to its revision was yielded.
	CaughtUp
)

// Entry is what Replay yields.
type Entry struct {
	Kind     Kind
	Revision Revision
	ID       string // of the proposal; empty where someone wrote around Append
	Writes   []Write
}

// The errors of Append.
var (
	ErrConflict = errors.New("a record changed meanwhile")
	ErrRefused  = errors.New("refused by the log")
)

// ConflictError is the ErrConflict of a log that knows since when: whoever has followed the log up to
// Revision sees what was in the way.
type ConflictError struct{ Revision Revision }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v, at or before revision %d", ErrConflict, e.Revision)
}

func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Limits of one transaction. A log must take all that is within them; embedded etcd is set up so
// (max-txn-ops, max-request-bytes), and an external one must be.
const (
	// MaxRecordBytes is how long one record may be when encoded. The largest thing ECS lets a user
	// store in one piece is a task definition of 64 KiB.
	MaxRecordBytes = 512 << 10
	// MaxWrites is how many records one transaction may write.
	MaxWrites = 1024
	// MaxGuards is how many records it may read by key or write. Sets are read with By and All.
	MaxGuards = 4096
	// MaxCommitBytes is how long its keys and values, read and written, may be together.
	MaxCommitBytes = 4 << 20
	// MaxKeyBytes is how long table/key may be.
	MaxKeyBytes = 2048
)
