package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// What is not a record stands beside /havn/, not below it.
const (
	leaderKey   = "/havn-leader/"
	identityKey = "/havn-identity"
)

// leaseTime is how long a leader that was killed still counts as one.
const leaseTime = 10 * time.Second

// ErrLed is returned by Lead where another Havn keeps its state in the same etcd.
var ErrLed = errors.New("another Havn uses this etcd")

// Lead makes this process the one that serves the state: its controllers run, and the nodes are connected
// to it. A leader that was killed is waited for until its lease has ended; one that lives gives ErrLed.
// identity is what every name in the state is made of (region and account); a state that was begun with
// another one is refused.
//
// lost is closed when the lease is gone: somebody else may lead from then on. Close gives the lease back.
func (l *Log) Lead(ctx context.Context, identity string) (lost <-chan struct{}, err error) {
	session, err := concurrency.NewSession(l.client, concurrency.WithTTL(int(leaseTime.Seconds())), concurrency.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, fmt.Errorf("etcd: cannot take a lease: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, leaseTime+5*time.Second)
	defer cancel()
	err = concurrency.NewMutex(session, leaderKey).Lock(waiting)
	if err == nil {
		err = l.identify(ctx, identity)
	} else if ctx.Err() == nil && waiting.Err() != nil {
		err = ErrLed
	}
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	l.session = session
	return session.Done(), nil
}

// identify writes the identity of a new state, or compares it with that of an old one.
func (l *Log) identify(ctx context.Context, identity string) error {
	answer, err := l.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(identityKey), "=", 0)).
		Then(clientv3.OpPut(identityKey, identity)).
		Else(clientv3.OpGet(identityKey)).Commit()
	if err != nil {
		return fmt.Errorf("etcd: cannot write %s: %w", identityKey, err)
	}
	if answer.Succeeded {
		return nil
	}
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		if found := string(kv.Value); found != identity {
			return fmt.Errorf("the state in this etcd is of %s, not of %s", found, identity)
		}
	}
	return nil
}
