// Package etcd is the state's Log on etcd: inside this process (StartEmbedded), where one machine is the
// whole control plane, or a cluster outside (Dial), where the state survives the machine. Both are the same
// Log; the difference is how long a message travels. One Havn at a time serves a state: see Lead.
//
// A record table/key stands at /havn/table/key, as JSON, so that
//
//	etcdctl get --prefix /havn/task/
//
// is a debugger. /havn/commit holds the ID of the last proposal; it is written with each, so the history of
// that one key names every commit. Nothing else may be written below /havn/.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"havn/state"
)

const (
	prefix    = "/havn/"
	commitKey = prefix + "commit"
	// pageSize is how many records a listing reads at once. etcd walks all keys for every page, so pages
	// are large; 5,000 records of usual size are a few MiB.
	pageSize = 5000
)

// Log is a state.Log on etcd.
type Log struct {
	client  *clientv3.Client
	server  *embedded            // nil if it is another process
	session *concurrency.Session // of the leader; nil where nobody asked to lead
}

var _ state.Log = (*Log)(nil)

// Close ends the connection and, if it is in this process, etcd itself.
func (l *Log) Close() error {
	var led error
	if l.session != nil {
		led = l.session.Close() // the next leader need not wait
	}
	err := l.client.Close()
	if errors.Is(err, context.Canceled) { // what the client says when all is well
		err = nil
	}
	err = errors.Join(led, err)
	if l.server != nil {
		err = errors.Join(err, l.server.close())
	}
	return err
}

// Append is one etcd transaction: if the versions are as expected, write all.
func (l *Log) Append(ctx context.Context, p state.Proposal) (state.Revision, error) {
	versions := make([]clientv3.Cmp, 0, len(p.Expect))
	for key, revision := range p.Expect {
		versions = append(versions, clientv3.Compare(clientv3.ModRevision(prefix+key), "=", int64(revision)))
	}
	writes := make([]clientv3.Op, 0, len(p.Writes)+1)
	for _, w := range p.Writes {
		if w.Value == nil {
			writes = append(writes, clientv3.OpDelete(prefix+w.Key))
		} else {
			writes = append(writes, clientv3.OpPut(prefix+w.Key, string(w.Value)))
		}
	}
	writes = append(writes, clientv3.OpPut(commitKey, p.ID))

	answer, err := l.client.Txn(ctx).If(versions...).Then(writes...).Else(clientv3.OpGet(commitKey, clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return 0, explain(err)
	}
	if answer.Succeeded {
		return state.Revision(answer.Header.Revision), nil
	}
	conflict := &state.ConflictError{}
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		conflict.Revision = state.Revision(kv.ModRevision)
	}
	return 0, conflict
}

// refusals are the errors by which etcd says that it has not written and will not. All others leave it open.
var refusals = []error{
	rpctypes.ErrTooManyOps, rpctypes.ErrRequestTooLarge, rpctypes.ErrNoSpace, rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey,
	rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken, rpctypes.ErrUserEmpty,
}

func explain(err error) error {
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return fmt.Errorf("etcd: %w: %w", err, state.ErrRefused)
		}
	}
	return fmt.Errorf("etcd: %w", err)
}

// Replay lists what is there, or continues after a revision, and then watches. Where etcd has compacted
// the history it lists again.
//
// CaughtUp after a continuation covers what was written through Append; an entry that someone wrote around
// it comes soon after.
func (l *Log) Replay(ctx context.Context, after state.Revision) iter.Seq2[state.Entry, error] {
	return func(yield func(state.Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // ends watches and the reading ahead
		defer cancel()
		for from, listing := after, after == 0; ; listing = true {
			var head state.Revision // CaughtUp is due there
			var err error
			if listing {
				if from, err = l.list(ctx, yield); errors.Is(err, errEnough) {
					return
				}
				head = from
			} else {
				head, err = l.head(ctx)
			}
			if err == nil {
				err = l.follow(ctx, from, max(from, head), yield)
			}
			switch {
			case errors.Is(err, errEnough):
				return
			case !errors.Is(err, rpctypes.ErrCompacted):
				yield(state.Entry{}, fmt.Errorf("etcd: cannot follow: %w", err))
				return
			}
		}
	}
}

// errEnough is what the consumer of a Replay says when it breaks its loop.
var errEnough = errors.New("the consumer has had enough")

// head is the revision of the last commit.
func (l *Log) head(ctx context.Context) (state.Revision, error) {
	answer, err := l.client.Get(ctx, commitKey, clientv3.WithKeysOnly())
	if err != nil || len(answer.Kvs) == 0 {
		return 0, err
	}
	return state.Revision(answer.Kvs[0].ModRevision), nil
}

// list yields everything at one revision. The next page is read while the last is used.
func (l *Log) list(ctx context.Context, yield func(state.Entry, error) bool) (state.Revision, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan state.Entry, 1)
	var failed error
	go func() {
		defer close(pages)
		failed = l.pages(ctx, pages)
	}()
	var at state.Revision
	for page := range pages {
		if !yield(page, nil) {
			return at, errEnough
		}
		at = page.Revision
	}
	return at, failed
}

func (l *Log) pages(ctx context.Context, to chan<- state.Entry) error {
	at, from := int64(0), prefix
	for more := true; more; {
		options := []clientv3.OpOption{
			clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(pageSize), clientv3.WithRev(at),
		}
		if at != 0 {
			options = append(options, clientv3.WithSerializable()) // the first page has made sure that at is now
		}
		answer, err := l.client.Get(ctx, from, options...)
		if err != nil {
			return err
		}
		if at == 0 {
			at = answer.Header.Revision
		}
		page := state.Entry{Kind: state.Listed, Revision: state.Revision(at), Writes: make([]state.Write, 0, len(answer.Kvs))}
		for _, kv := range answer.Kvs {
			from = string(kv.Key) + "\x00"
			if string(kv.Key) != commitKey {
				page.Writes = append(page.Writes, write(kv))
			}
		}
		more = answer.More
		select {
		case to <- page:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// follow watches from after a revision, and yields CaughtUp once it is at head. The watch is there before
// that: etcd tells a watcher at once what happens after it came, but looks only ten times a second after
// those that ask for the past.
func (l *Log) follow(ctx context.Context, after, head state.Revision, yield func(state.Entry, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := l.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(int64(after)+1))
	if after >= head && !yield(state.Entry{Kind: state.CaughtUp, Revision: after}, nil) {
		return errEnough
	}
	for answer := range answers {
		if err := answer.Err(); err != nil {
			return err
		}
		for _, entry := range entries(answer.Events) {
			if !yield(entry, nil) {
				return errEnough
			}
			if after < head && entry.Revision >= head && !yield(state.Entry{Kind: state.CaughtUp, Revision: entry.Revision}, nil) {
				return errEnough
			}
			after = entry.Revision
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the watch has ended")
}

// entries groups events by revision. etcd never splits a revision between two answers.
func entries(events []*clientv3.Event) []state.Entry {
	var list []state.Entry
	for _, event := range events {
		revision := state.Revision(event.Kv.ModRevision)
		if len(list) == 0 || list[len(list)-1].Revision != revision {
			list = append(list, state.Entry{Kind: state.Committed, Revision: revision})
		}
		entry := &list[len(list)-1]
		switch {
		case string(event.Kv.Key) == commitKey:
			entry.ID = string(event.Kv.Value)
		case event.Type == clientv3.EventTypeDelete:
			entry.Writes = append(entry.Writes, state.Write{Key: strings.TrimPrefix(string(event.Kv.Key), prefix), Revision: revision})
		default:
			entry.Writes = append(entry.Writes, write(event.Kv))
		}
	}
	for _, entry := range list {
		slices.SortFunc(entry.Writes, func(a, b state.Write) int { return strings.Compare(a.Key, b.Key) })
	}
	return list
}

func write(kv *mvccpb.KeyValue) state.Write {
	value := kv.Value
	if value == nil {
		value = []byte{} // empty, but there
	}
	return state.Write{Key: strings.TrimPrefix(string(kv.Key), prefix), Value: value, Revision: state.Revision(kv.ModRevision)}
}
