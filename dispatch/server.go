package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"

	"havn/protocol"
	"havn/state"
)

// The shell's limits.
const (
	maxConnections = 10_000 // of each kind
	writeTimeout   = 10 * time.Second
	// retryInterval is how soon a write to the state that failed is tried again.
	retryInterval = time.Second
)

// Config of a Server.
type Config struct {
	Store *state.Store
	// Verify checks the signature of a handshake, and says in its error what is wrong with it.
	Verify func(*http.Request) error
	Log    *slog.Logger
}

// Server accepts the connections of agents.
type Server struct {
	config Config
	ready  chan struct{} // closed when Run has taken over: before, nobody may connect

	mu       sync.Mutex
	closing  context.Context  // Run's; ends every connection
	ended    bool             // Run is waiting for the last connections to go
	links    map[string]*link // by node ID
	acs, tcs int              // connections, open or opening
	open     sync.WaitGroup   // counts both
}

// New returns a server that answers once it runs.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Server{config: c, ready: make(chan struct{}), links: map[string]*link{}}
}

// Handler serves both websockets: /acs/ws and /tcs/ws. Endpoints for DiscoverPollEndpoint are the
// server's URL with /acs and /tcs.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /acs/ws", s.serveACS)
	mux.HandleFunc("GET /tcs/ws", s.serveTCS)
	return mux
}

// Run begins with every node disconnected, then tells connected nodes of what changes until ctx ends. It
// is called once.
func (s *Server) Run(ctx context.Context) error {
	outer := ctx
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	for more := true; more; {
		err := s.config.Store.Update(ctx, func(tx *state.Tx) error {
			more = DisconnectAll(tx, time.Now())
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot note that no node is connected yet: %w", err)
		}
	}
	var from state.Revision
	s.config.Store.View(func(r *state.Reader) { from = r.Revision() })
	s.mu.Lock()
	s.closing = ctx
	s.mu.Unlock()
	close(s.ready)

	for c := range s.config.Store.Watch(ctx, from) {
		s.tell(c)
	}
	cancel()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.open.Wait()
	if outer.Err() != nil {
		return nil
	}
	return errors.New("cannot follow the state any more")
}

// tell passes a commit on to the sessions that it concerns.
func (s *Server) tell(c state.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, change := range c.Changes {
		node, task := concerns(change)
		if l := s.links[node]; l != nil {
			l.note(task)
		}
	}
}

// concerns is the node that a change may have something to say to, and the task that it is about, if any.
func concerns(c state.Change) (node, task string) {
	record := c.New
	if record == nil {
		record = c.Old
	}
	switch record := record.(type) {
	case state.Task:
		return record.NodeID, record.ARN
	case state.Instance:
		if c.New == nil || record.Status == "INACTIVE" {
			return record.NodeID, ""
		}
	case state.Node: // its resources change with every task, which is no news to it
		if c.New == nil {
			return record.ID, ""
		}
	}
	return "", ""
}

func (s *Server) serveACS(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	hello := Hello{
		Instance:      q.Get("containerInstanceArn"),
		Cluster:       q.Get("clusterArn"),
		AgentVersion:  q.Get("agentVersion"),
		AgentHash:     q.Get("agentHash"),
		DockerVersion: q.Get("dockerVersion"),
		Address:       elsewhere(r.RemoteAddr),
	}
	conn, ctx, done := s.accept(w, r, hello, &s.acs)
	if conn == nil {
		return
	}
	defer done()

	var session *Session
	err := s.config.Store.Update(ctx, func(tx *state.Tx) (err error) {
		session, err = Connect(tx, hello, time.Now())
		return err
	})
	if err != nil {
		s.config.Log.Warn("cannot connect a node", "instance", hello.Instance, "error", err)
		conn.Close(websocket.StatusInternalError, "cannot connect")
		return
	}
	l := newLink(session, conn, s.config)
	if s.enter(l) {
		s.config.Log.Info("node connected", "node", session.Node(), "instance", session.Instance(), "agent", hello.AgentVersion)
		why := l.run(ctx)
		s.config.Log.Info("node disconnected", "node", session.Node(), "instance", session.Instance(), "why", why)
	}
	s.leave(l)
	l.close() // last, because it may wait for the other side
}

// elsewhere is the address of another machine that a connection came from; empty if it came from this one.
func elsewhere(remote string) string {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	addr := from.Addr().Unmap()
	if addr.IsLoopback() {
		return ""
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return addr.String()
	}
	for _, o := range own {
		if p, err := netip.ParsePrefix(o.String()); err == nil && p.Addr().Unmap() == addr.WithZone("") {
			return ""
		}
	}
	return addr.String()
}

// accept lets an agent in or answers why not; it then returns no connection.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, h Hello, count *int) (*websocket.Conn, context.Context, func()) {
	if err := s.refusal(r, h); err != nil {
		s.config.Log.Warn("refused a connection", "path", r.URL.Path, "instance", h.Instance, "error", err)
		refuse(w, err)
		return nil, nil, nil
	}
	s.mu.Lock()
	full := *count >= maxConnections || s.ended
	if !full {
		*count++
		s.open.Add(1)
	}
	closing := s.closing
	s.mu.Unlock()
	if full {
		refuse(w, &Refusal{protocol.ServerFault, "The server takes no more connections."})
		return nil, nil, nil
	}
	leave := func() {
		s.mu.Lock()
		*count--
		s.mu.Unlock()
		s.open.Done()
	}
	conn, err := websocket.Accept(w, r, nil) // answers by itself where it fails
	if err != nil {
		leave()
		return nil, nil, nil
	}
	conn.SetReadLimit(protocol.MaxFrame)
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(closing, cancel)
	return conn, ctx, func() {
		stop()
		cancel()
		conn.CloseNow() //nolint:errcheck // it is over either way
		leave()
	}
}

// refusal is why a handshake is refused, nil if it is not.
func (s *Server) refusal(r *http.Request, h Hello) (err error) {
	if err := s.config.Verify(r); err != nil {
		return &Refusal{protocol.AccessDenied, err.Error()}
	}
	select { // a node that comes while the server starts waits instead of backing off
	case <-s.ready:
	case <-r.Context().Done():
		return &Refusal{protocol.ServerFault, "The server is not ready."}
	}
	s.config.Store.View(func(r *state.Reader) { _, _, err = admit(r, h) })
	return err
}

// refuse answers a handshake in the form that agents know: {"NameOfException": "text"}.
func refuse(w http.ResponseWriter, err error) {
	refusal := &Refusal{protocol.ServerFault, "The server cannot answer."}
	errors.As(err, &refusal)
	status := http.StatusBadRequest
	switch refusal.Name {
	case protocol.AccessDenied:
		status = http.StatusForbidden
	case protocol.ServerFault:
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{refusal.Name: refusal.Text}) //nolint:errcheck // the agent is gone
}

// enter makes a link the one of its node. The newer of two sessions wins.
func (s *Server) enter(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	other := s.links[l.node]
	if other != nil && other.session.lastTimeline > l.session.lastTimeline {
		close(l.superseded)
		return false
	}
	if other != nil {
		close(other.superseded)
	}
	s.links[l.node] = l
	return true
}

// leave forgets a link and writes that its node is not connected, however long that takes: what is placed
// on a node that only seems to be there does not start.
func (s *Server) leave(l *link) {
	s.mu.Lock()
	if s.links[l.node] == l {
		delete(s.links, l.node)
	}
	closing := s.closing
	s.mu.Unlock()
	for closing.Err() == nil { // when the server ends, its next start does this for all nodes
		err := s.config.Store.Update(closing, func(tx *state.Tx) error {
			l.session.Disconnect(tx, time.Now())
			return nil
		})
		if err == nil {
			return
		}
		s.config.Log.Error("cannot note that a node has disconnected", "node", l.node, "error", err)
		select {
		case <-time.After(retryInterval):
		case <-closing.Done():
		}
	}
}
