package proxy

import (
	"io"
	"sync/atomic"
	"time"
)

// pump sends a request's body to the target while the answer is waited for: a target may answer before it has read all.
type pump struct {
	done   chan struct{}
	sent   atomic.Bool // all has come from the client
	client atomic.Bool // reading from the client failed
	failed atomic.Bool // either end did
}

func startPump(x *exchange, u *upstream) *pump {
	p := &pump{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if !p.run(x.source, u, x.q.length) {
			p.failed.Store(true)
		}
		if p.client.Load() {
			// Nobody will hear the answer, and the target has half a request.
			u.c.SetDeadline(time.Unix(1, 0))
		}
	}()
	return p
}

func (p *pump) run(from source, u *upstream, length int64) bool {
	chunked := length < 0
	for {
		part, err := from.next()
		if err != nil && err != io.EOF {
			p.client.Store(true)
			return false
		}
		if err == io.EOF {
			p.sent.Store(true)
			if chunked {
				u.out = append(u.out, "0\r\n"...)
				u.out = appendFields(u.out, from.after())
				u.out = append(u.out, "\r\n"...)
			}
			return u.flush() == nil
		}
		if from.spent() {
			p.sent.Store(true) // the target may answer before next says so
		}
		switch {
		case chunked:
			u.out = appendChunk(u.out, part)
		case len(u.out) == 0 && len(part) >= smallBuffer:
			if u.write(part) != nil {
				return false
			}
		default:
			u.out = append(u.out, part...)
		}
		if !from.ready() || len(u.out) >= bigBuffer/2 {
			if u.flush() != nil {
				return false
			}
		}
	}
}

func (p *pump) clientFailed() bool { return p.client.Load() }

// stopPump ends the pump when the answer is over, or will not come. It reports whether all of the body has been sent, and
// the target's connection is as it was. Of a client that has not sent all of it, the connection can take nothing else.
func (x *exchange) stopPump(u *upstream) bool {
	p := x.pump
	if p.sent.Load() {
		select {
		case <-p.done:
			return !p.failed.Load()
		case <-time.After(time.Second): // the target does not take what is left
		}
	}
	if !p.sent.Load() {
		x.broken = true // what comes next from the client is the rest of this body
		x.watch.stopReading()
	}
	u.c.SetDeadline(time.Unix(1, 0))
	<-p.done
	return false
}
