// Package control keeps Havn's promises: each controller looks at one thing that may have come out of
// order and puts it right, in one transaction.
//
// Words:
//
//   - controller: a promise. A function of the records, a key and the time; it has no context, client,
//     clock, goroutine or memory. What it must remember is a field of a record.
//   - key: which thing to look at. A controller is told what to look at, never what happened.
//   - concern: a change after which a key may be out of order.
//   - offer: to put a key on the queue. All keys are offered at the start and now and then, so that a
//     concern that was missed costs latency and never correctness.
//   - loop: what all controllers have in common: the queue, the order, retries, panics.
//
// There is one loop, because one Havn at a time serves a state: the lock of its data folder, or with an
// external etcd its lease, sees to that. A new leader needs no warm-up: controllers remember nothing.
package control
