package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sweepEvery is how exact timeouts are.
const sweepEvery = 500 * time.Millisecond

// sweeper looks at connections now and then. It runs as long as there are any.
type sweeper struct {
	tick    atomic.Int64 // grows with each sweep: the clock of timeouts
	mu      sync.Mutex
	watches map[*watch]struct{}
	running bool
}

// phase is what a watched thing is at.
type phase int32

const (
	waiting phase = iota // for the first byte of a request
	reading              // a head
	busy                 // with a request
)

// watch is what the sweep knows of a client's connection, or of one stream of an HTTP/2 connection.
type watch struct {
	arn    string   // of its listener
	client net.Conn // to be closed
	leave  func()   // ends the connection when no request is under way
	peek   syscall.RawConn
	phase  atomic.Int32
	moved  atomic.Int64 // the tick of the last read or write; of the phase's begin while waiting and reading
	began  atomic.Int64 // the tick at which the request was read
	idle   atomic.Int64 // the timeout, in ticks
	dies   atomic.Int64 // the tick from which a waiting connection is not kept

	mu       sync.Mutex
	up       *upstream // that is in use
	stop     func()    // for those without up
	quit     func()    // makes reading from the client stop
	touch    func()    // is told of each read and write
	timedOut bool
	gone     bool // the client is
}

// ticks is how many a time takes, at least one.
func (p *Proxy) ticks(d time.Duration) int64 { return max(1, int64((d+p.sweep-1)/p.sweep)) + 1 }

func (p *Proxy) watch(w *watch) {
	s := &p.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		s.watches = map[*watch]struct{}{}
	}
	s.watches[w] = struct{}{}
	p.ensureSweeping()
}

func (p *Proxy) unwatch(w *watch) {
	p.sweeper.mu.Lock()
	delete(p.sweeper.watches, w)
	p.sweeper.mu.Unlock()
}

func (p *Proxy) ensureSweeping() {
	if p.sweeper.running {
		return
	}
	p.sweeper.running = true
	go func() {
		ticker := time.NewTicker(p.Config.sweep)
		defer ticker.Stop()
		for range ticker.C {
			if !p.sweepOnce() {
				return
			}
		}
	}()
}

// sweepOnce reports whether anything is left to be watched.
func (p *Proxy) sweepOnce() bool {
	s := &p.sweeper
	tick := s.tick.Add(1)
	left := false
	p.backends.Range(func(_, b any) bool {
		left = b.(*backend).expire(tick) || left
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		w.look(tick)
	}
	s.running = left || len(s.watches) > 0
	return s.running
}

// dismiss ends the connections of listeners that are gone, if no request is under way on them.
func (s *sweeper) dismiss(stays func(listenerARN string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if phase(w.phase.Load()) == waiting && !stays(w.arn) {
			w.leave()
		}
	}
}

// look ends what has lasted too long, and what nobody waits for any more.
func (w *watch) look(tick int64) {
	still := tick - w.moved.Load()
	idle := w.idle.Load()
	switch phase(w.phase.Load()) {
	case waiting:
		if still >= idle || tick >= w.dies.Load() {
			w.leave()
		}
	case reading:
		if still >= idle {
			w.client.SetReadDeadline(time.Unix(1, 0))
		}
	case busy:
		switch {
		case still > idle+2:
			w.client.Close() // it does not read what it is told
		case still >= idle:
			w.end(false)
		case tick-w.began.Load() >= 2 && still >= 1 && w.left():
			w.end(true)
		}
	}
}

// left reports whether the client has closed its connection.
func (w *watch) left() bool {
	if w.peek == nil {
		return false
	}
	left := false
	w.peek.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			const closeWait, closed = 8, 7 // include/net/tcp_states.h
			left = info.State == closeWait || info.State == closed
		}
	})
	return left
}

// end makes whoever waits for the target, or for the client, wait no longer.
func (w *watch) end(gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timedOut || w.gone {
		return
	}
	w.timedOut, w.gone = !gone, gone
	if w.up != nil {
		w.up.c.SetDeadline(time.Unix(1, 0))
	}
	if w.stop != nil {
		w.stop()
	}
}

// attach is that a request's answer is waited for on u. It reports whether there is still time.
func (w *watch) attach(u *upstream) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timedOut || w.gone {
		return false
	}
	w.up = u
	u.moved = w.touch
	return true
}

// detach is that it is waited for no more. It reports whether u is as it was: it has not been given a deadline.
func (w *watch) detach() (clean bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = nil
	return !w.timedOut && !w.gone
}

// outcome is why there is no time left, if there is none.
func (w *watch) outcome() (timedOut, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.timedOut, w.gone
}

// busy is that a request has been read.
func (w *watch) busy(tick int64) {
	w.moved.Store(tick)
	w.began.Store(tick)
	w.phase.Store(int32(busy))
}

// stopReading makes whoever reads the request's body read no more.
func (w *watch) stopReading() { w.quit() }

// rest makes a connection wait for its next request.
func (w *watch) rest(tick int64) {
	w.moved.Store(tick)
	w.phase.Store(int32(waiting))
}

// dates has the time as header fields have it, made once a second.
type dates struct{ last atomic.Pointer[datedText] }

type datedText struct {
	second int64
	text   string
}

func (d *dates) text(now time.Time) string {
	if last := d.last.Load(); last != nil && last.second == now.Unix() {
		return last.text
	}
	made := &datedText{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	d.last.Store(made)
	return made.text
}
