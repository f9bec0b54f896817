package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/websocket"

	"havn/protocol"
	"havn/state"
)

// maxNotes is how many notes wait for a link that is busy writing. More are dropped: the next heartbeat
// looks at all tasks.
const maxNotes = 4096

// link is a session with its websocket. The session belongs to the goroutine of run; a second one reads.
type link struct {
	node    string
	session *Session
	conn    *websocket.Conn
	store   *state.Store
	log     *slog.Logger

	superseded chan struct{} // closed when a newer session of the node is there
	done       chan struct{} // closed when run has returned

	mu    sync.Mutex
	notes []string
	wake  chan struct{} // holds one: something was noted
}

func newLink(session *Session, conn *websocket.Conn, c Config) *link {
	return &link{
		node: session.Node(), session: session, conn: conn, store: c.Store,
		log:        c.Log.With("node", session.Node()),
		superseded: make(chan struct{}),
		done:       make(chan struct{}),
		wake:       make(chan struct{}, 1),
	}
}

// note wakes the session, and has it look at a task if there is one.
func (l *link) note(task string) {
	l.mu.Lock()
	if task != "" && len(l.notes) < maxNotes {
		l.notes = append(l.notes, task)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) takeNotes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, task := range l.notes {
		l.session.Note(task)
	}
	l.notes = l.notes[:0]
}

// run makes the session's decisions real until one side ends it, and returns why.
func (l *link) run(ctx context.Context) (why string) {
	in := make(chan protocol.Message)
	closed := make(chan error, 1)
	go func() { closed <- l.read(ctx, in) }()
	defer close(l.done)

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := l.send(ctx); err != nil {
			return err.Error()
		}
		if over := l.session.Over(); over != "" {
			return over
		}
		timer.Reset(time.Until(l.session.Wake()))
		select {
		case <-l.wake:
		case <-timer.C:
		case m := <-in:
			l.receive(m)
		case err := <-closed:
			return err.Error()
		case <-l.superseded:
			return "a newer session is there"
		case <-ctx.Done():
			return "the server is ending"
		}
	}
}

// close tells the node that it is over. It waits a few seconds for an answer.
func (l *link) close() {
	select {
	case <-l.superseded:
		// A code after which agents back off: two with one identity must not chase each other.
		l.conn.Close(websocket.StatusPolicyViolation, "another connection of this container instance is newer") //nolint:errcheck // it is over either way
	default:
		l.conn.Close(websocket.StatusNormalClosure, "") //nolint:errcheck // it is over either way
	}
}

// send writes what the session has to say now.
func (l *link) send(ctx context.Context) error {
	l.takeNotes()
	var out []protocol.Message
	l.store.View(func(r *state.Reader) { out = l.session.Send(r, time.Now()) })
	for _, m := range out {
		if err := write(ctx, l.conn, m); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) receive(m protocol.Message) {
	if n, ok := m.(*protocol.Nack); ok {
		l.log.Warn("the node refused a message", "message", n.MessageID, "reason", n.Reason)
	}
	l.session.Receive(m)
}

// read passes on what comes, one message at a time: a node that sends faster than it is answered waits.
func (l *link) read(ctx context.Context, in chan<- protocol.Message) error {
	for {
		_, frame, err := l.conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := protocol.Decode(frame)
		if err != nil {
			l.log.Warn("ignored a message", "error", err)
			continue
		}
		if m == nil {
			continue // of a newer protocol
		}
		select {
		case in <- m:
		case <-l.done:
			return nil
		}
	}
}

func write(ctx context.Context, conn *websocket.Conn, m protocol.Message) error {
	frame, err := protocol.Encode(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, frame)
}
