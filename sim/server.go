package sim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/aws/smithy-go"

	"havn/api/ecs"
	"havn/control"
	"havn/dispatch"
	"havn/state"
	"havn/wire"
)

const (
	region  = "us-east-1"
	account = "000000000000"
)

// server is one process of the control plane, from its start to its death.
type server struct {
	w     *world
	store *state.Store
	api   *ecs.Server
	links map[string]*link // by node
	told  state.Revision   // commits up to here have been passed on

	leader  *control.Loop
	leading alarm
	other   *rival
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// boot starts the server's process, and goes on until it is up: what dispatch does first may fail.
func (w *world) boot() {
	store, err := state.Open(context.Background(), w.log, state.Config{Synchronous: true, NewID: w.newID})
	if err != nil {
		w.fail("every record decodes", "%v", err)
	}
	s := &server{w: w, store: store, api: newAPI(store), links: map[string]*link{}}
	w.server = s
	err = s.do(byDispatch, func(ctx context.Context) error {
		for more := true; more; {
			if err := s.store.Update(ctx, func(tx *state.Tx) error {
				more = dispatch.DisconnectAll(tx, w.now)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.die("cannot start: " + err.Error())
		return
	}
	s.told = store.Revision()
	w.say("server", "is up, at revision %d", s.told)
	s.lead()
}

func newAPI(store *state.Store) *ecs.Server {
	return ecs.NewServer(ecs.Config{Store: store, Region: region, Account: account,
		PollEndpoint: func(context.Context) string { return "http://server" }})
}

// die ends the server's process. A new one comes after a while.
func (w *world) die(why string) {
	if w.server == nil {
		return
	}
	w.say("server", "%s", why)
	w.stats.Restarts++
	old := w.server
	w.server = nil
	for _, n := range w.nodes { // in order, unlike the map
		if l := old.links[n.id]; l != nil {
			l.serverGone()
		}
	}
	w.after(w.upTo(20*time.Second), w.boot)
}

// errDied is what a caller sees of a server that died under his call.
var errDied = errors.New("connection reset by peer")

// do runs something of the server's as an actor. If the server dies in the middle, the caller sees a
// connection that broke.
func (s *server) do(a actor, f func(context.Context) error) (err error) {
	w := s.w
	defer func() {
		if p := recover(); p != nil {
			if _, died := p.(serverDied); !died {
				panic(p)
			}
			w.die("is dead")
			err = errDied
		}
	}()
	w.log.actor = a
	return f(s.context())
}

func (s *server) context() context.Context {
	return wire.WithRequest(context.Background(), wire.Request{
		Caller: wire.Principal{ARN: "arn:aws:iam::" + account + ":root", UserID: account, Account: account},
		ID:     "request", Now: s.w.now,
	})
}

// as is the context of a call that is made when nothing goes wrong any more.
func (s *server) as(a actor) context.Context {
	s.w.log.actor = a
	return s.context()
}

// code is the code of an answer that says no; empty if it is none.
func code(err error) string {
	var coded smithy.APIError
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// lead begins a new loop of the controllers, as a new leader does: it knows nothing.
func (s *server) lead() {
	s.w.say("server", "a new leader")
	s.leader = control.NewLoop(control.Config{Store: s.store, Controllers: control.All(), Seed: s.w.chance.Uint64(), Log: quiet})
	s.control(s.w.now)
}

// control has the controllers look at one key, at a time. Between two keys anything can happen.
func (s *server) control(at time.Time) {
	w := s.w
	w.wake(&s.leading, at, func() {
		if w.server != s {
			return
		}
		worked := false
		if s.do(byControl, func(ctx context.Context) error { worked = s.leader.Step(ctx, w.now); return nil }) != nil {
			return
		}
		if worked {
			s.control(w.now.Add(w.upTo(time.Millisecond)))
		} else {
			s.control(s.leader.Wake())
		}
	})
}

// tell passes on what was committed: to sessions, each in its own time, and to the controllers.
func (s *server) tell() {
	w := s.w
	if s.told == s.store.Revision() {
		return
	}
	s.meddle()
	if w.server != s {
		return
	}
	for _, c := range s.store.Since(s.told) {
		for _, change := range c.Changes {
			id, task := concerned(change)
			if l := s.links[id]; l != nil && !w.happens(w.faults.NoteLost) {
				if task != "" {
					l.session.Note(task)
				}
				l.wake(w.now.Add(w.upTo(time.Millisecond)))
			}
		}
		s.told = c.Revision
	}
	s.control(w.now.Add(w.upTo(time.Millisecond)))
}

// concerned is the node that a change may have something to say to, and the task, as dispatch's shell has it.
func concerned(c state.Change) (node, task string) {
	record := c.New
	if record == nil {
		record = c.Old
	}
	switch r := record.(type) {
	case state.Task:
		return r.NodeID, r.ARN
	case state.Instance:
		if c.New == nil || r.Status == "INACTIVE" {
			return r.NodeID, ""
		}
	case state.Node:
		if c.New == nil {
			return r.ID, ""
		}
	}
	return "", ""
}

// rival is what works beside the server's requests on a view of its own: other requests, and a former
// leader that does not know yet.
type rival struct {
	w      *world
	server *server // with a store of its own
	former *control.Loop
}

func (s *server) rival() *rival {
	if s.other == nil {
		store, err := state.Open(context.Background(), s.w.log, state.Config{Synchronous: true, NewID: s.w.newID})
		if err != nil {
			s.w.fail("every record decodes", "%v", err)
		}
		s.other = &rival{w: s.w, server: &server{w: s.w, store: store, api: newAPI(store)},
			former: control.NewLoop(control.Config{Store: store, Controllers: control.All(), Log: quiet})}
	}
	return s.other
}

// act does one thing.
func (r *rival) act() {
	w := r.w
	ctx := r.server.context()
	r.server.store.Sync(ctx) //nolint:errcheck // a rival that cannot look does nothing
	if w.chance.IntN(3) == 0 {
		w.log.actor = byControl
		w.say("rival", "a former leader looks at a key")
		r.former.Step(ctx, w.now)
		return
	}
	w.users.act(r.server, "rival")
}
