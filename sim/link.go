package sim

import (
	"context"
	"errors"
	"time"

	"havn/dispatch"
	"havn/protocol"
	"havn/state"
)

// link is one connection of an agent: the session at the server's end, the agent at the other, and frames
// between them. It does in virtual time what dispatch's and agent's shells do on a websocket.
type link struct {
	w       *world
	server  *server
	session *dispatch.Session
	agent   *process

	sending         alarm
	here, there     bool      // the server's end is open, the agent's is
	toNode, toCloud time.Time // when the last frame arrives: TCP keeps order
	begun           time.Time // the handshake is over: nothing arrives before
	heard           time.Time // by the agent
	silence         time.Duration
}

// dial connects an agent as it would be: the answer comes to connected or refused.
func (w *world) dial(p *process, h dispatch.Hello, connected func(*link), refused func(error)) {
	failed := func(err error) { w.after(time.Millisecond, func() { refused(err) }) }
	if p.node.cutOff {
		w.after(30*time.Second, func() { refused(errTimeout) })
		return
	}
	s := w.server
	if s == nil {
		failed(errors.New("connection refused"))
		return
	}
	var session *dispatch.Session
	err := s.do(byDispatch, func(ctx context.Context) error {
		return s.store.Update(ctx, func(tx *state.Tx) (err error) {
			session, err = dispatch.Connect(tx, h, w.now)
			return err
		})
	})
	if err != nil {
		failed(err)
		return
	}
	l := &link{w: w, server: s, session: session, agent: p, here: true, there: true, heard: w.now,
		silence: time.Minute + w.upTo(time.Minute)}
	if old := s.links[session.Node()]; old != nil {
		old.here = false
		old.closeAgent("another connection is newer")
		s.leave(old.session)
	}
	s.links[session.Node()] = l
	w.say("server", "%s is connected", session.Node())
	l.begun = w.now.Add(w.upTo(time.Millisecond))
	w.at(l.begun, func() {
		if l.there {
			connected(l)
		}
	})
	l.wake(w.now)
}

// wake gives the session a turn.
func (l *link) wake(at time.Time) {
	l.w.wake(&l.sending, at, func() {
		if !l.here {
			return
		}
		var out []protocol.Message
		l.server.store.View(func(r *state.Reader) { out = l.session.Send(r, l.w.now) })
		for _, m := range out {
			l.w.toldToStop(m)
			l.carry("server", l.agent.node.id, m, &l.toNode, l.deliverNode)
		}
		if why := l.session.Over(); why != "" {
			l.w.say("server", "ends the session of %s: %s", l.session.Node(), why)
			l.hangUp()
			return
		}
		l.wake(l.session.Wake())
	})
}

// carry takes a frame to the other end, if the world lets it.
func (l *link) carry(from, to string, m protocol.Message, last *time.Time, deliver func(protocol.Message)) {
	w := l.w
	if w.healed && quietMessage(m) { // there are many, and nothing can become of them
		w.after(time.Millisecond, func() { deliver(m) })
		return
	}
	frame, err := protocol.Encode(m)
	if err != nil {
		w.fail("every message encodes", "%v", err)
	}
	f := &w.faults
	if l.agent.node.cutOff || w.happens(f.MessageLost) {
		w.stats.Lost++
		w.say(from, "-x %s %s", to, show(m))
		if askedOnce(m) {
			w.after(0, l.lose)
		}
		return
	}
	copies := 1
	if w.happens(f.MessageTwice) {
		copies = 2
	}
	for range copies {
		d := 100*time.Microsecond + w.upTo(time.Millisecond)
		if w.happens(f.MessageLate) {
			d += w.upTo(30 * time.Second)
		}
		at := w.now.Add(d)
		if at.Before(l.begun) {
			at = l.begun.Add(d)
		}
		if w.happens(f.MessageReordered) {
			at = at.Add(w.upTo(time.Second))
		} else if at.Before(*last) {
			at = *last
		} else {
			*last = at
		}
		w.at(at, func() {
			if l.agent.node.cutOff {
				if askedOnce(m) {
					l.lose()
				}
				return
			}
			m, err := protocol.Decode(frame)
			if err != nil {
				w.fail("every message decodes", "%v", err)
			}
			if !quietMessage(m) {
				w.say(from, "-> %s %s", to, show(m))
			}
			deliver(m)
		})
	}
}

// askedOnce is true of what neither end says again on one connection. TCP loses no frame of a connection
// that lives on; frames that are repeated may be lost here all the same, and these end the connection.
func askedOnce(m protocol.Message) bool {
	switch m.(type) {
	case *protocol.StopVerification, *protocol.StopVerificationAck:
		return true
	}
	return false
}

func (l *link) deliverNode(m protocol.Message) {
	if !l.there || l.agent.dead {
		return
	}
	l.heard = l.w.now
	if f, ok := m.(*protocol.Failure); ok {
		l.there = false
		l.agent.disconnected(l, &dispatch.Refusal{Name: f.Name, Text: f.Message})
		l.serverSees()
		return
	}
	l.agent.core.Receive(m, l.agent.node.clock())
	l.agent.wake(l.w.now)
}

func (l *link) deliverServer(m protocol.Message) {
	if !l.here {
		return
	}
	l.session.Receive(m)
	l.wake(l.w.now)
}

// reply is the agent's word to the server.
func (l *link) reply(m protocol.Message) {
	l.carry(l.agent.node.id, "server", m, &l.toCloud, l.deliverServer)
}

// listen ends the connection at the agent's end when it has heard nothing for too long.
func (l *link) listen() {
	w := l.w
	w.at(l.heard.Add(l.silence), func() {
		switch {
		case !l.there || l.agent.dead:
		case w.now.Sub(l.heard) >= l.silence:
			l.there = false
			l.agent.disconnected(l, errors.New("the server is silent"))
			l.serverSees()
		default:
			l.listen()
		}
	})
}

// hangUp ends the server's end, and in time the agent's. It writes that the node is gone.
func (l *link) hangUp() {
	if !l.here {
		return
	}
	l.here = false
	if l.server.links[l.session.Node()] == l {
		delete(l.server.links, l.session.Node())
	}
	l.closeAgent("closed by the server")
	l.server.leave(l.session)
}

// closeAgent lets the agent see that the other end is gone.
func (l *link) closeAgent(why string) {
	w := l.w
	at := w.now.Add(time.Millisecond)
	if at.Before(l.toNode) {
		at = l.toNode
	}
	w.at(at, func() {
		if l.there && !l.agent.dead && !l.agent.node.cutOff {
			l.there = false
			l.agent.disconnected(l, errors.New(why))
		}
	})
}

// serverSees lets the server see that the agent's end is gone.
func (l *link) serverSees() {
	l.w.after(time.Millisecond, func() {
		if !l.agent.node.cutOff && l.w.server == l.server {
			l.hangUp()
		}
	})
}

// serverGone is the death of the server's process.
func (l *link) serverGone() {
	l.here = false
	l.closeAgent("connection reset by peer")
}

// lose ends both ends.
func (l *link) lose() {
	l.w.say("world", "the connection of %s breaks", l.agent.node.id)
	if l.there && !l.agent.dead {
		l.there = false
		l.agent.disconnected(l, errors.New("connection reset by peer"))
	}
	l.serverSees()
}

// leave writes that a session is over, however long that takes.
func (s *server) leave(session *dispatch.Session) {
	w := s.w
	if w.server != s {
		return
	}
	err := s.do(byDispatch, func(ctx context.Context) error {
		return s.store.Update(ctx, func(tx *state.Tx) error {
			session.Disconnect(tx, w.now)
			return nil
		})
	})
	if err != nil {
		w.after(time.Second, func() { s.leave(session) })
	}
}
