package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"havn/agent"
	"havn/agent/network"
	"havn/agent/observe"
	"havn/protocol"
)

// Tasks are what the agent knows of its tasks; agent.Inquiry answers.
type Tasks interface {
	Task(ctx context.Context, arn string) (r agent.Record, known bool, err error)
	Tasks(ctx context.Context) ([]agent.Record, error)
}

// Runtime is what a Runtime can tell of containers beside performing effects.
type Runtime interface {
	Facts(ctx context.Context, task *protocol.Task, container string) (observe.Facts, error)
	// Sample fails for a container that does not run.
	Sample(ctx context.Context, task *protocol.Task, container string) (observe.Sample, error)
	// Addresses are those that the task's containers have on the bridge; none on the host's network.
	Addresses(task *protocol.Task) []netip.Addr
}

// Faults are what a container may ask for its own network; network.Network makes them. An endpoint's ID is that of the
// container in the Runtime.
type Faults interface {
	StartFault(ctx context.Context, id string, f network.Fault) error
	StopFault(ctx context.Context, id string, f network.Fault) error
	FaultRunning(ctx context.Context, id string, f network.Fault) (bool, error)
}

// API is the server's, as the node calls it.
type API interface {
	DescribeTasks(context.Context, *ecs.DescribeTasksInput, ...func(*ecs.Options)) (*ecs.DescribeTasksOutput, error)
	ListTagsForResource(context.Context, *ecs.ListTagsForResourceInput, ...func(*ecs.Options)) (*ecs.ListTagsForResourceOutput, error)
	GetTaskProtection(context.Context, *ecs.GetTaskProtectionInput, ...func(*ecs.Options)) (*ecs.GetTaskProtectionOutput, error)
	UpdateTaskProtection(context.Context, *ecs.UpdateTaskProtectionInput, ...func(*ecs.Options)) (*ecs.UpdateTaskProtectionOutput, error)
}

// Config says what a Server answers from.
type Config struct {
	IDs     *IDs
	Tasks   Tasks
	Runtime Runtime
	API     API
	Faults  Faults
	// RuntimeDir is the folder where each Havn of the machine has one of its own, by its name; the sockets over which
	// they pass on what is another's are there.
	RuntimeDir string
	Log        *slog.Logger
}

// Server answers containers. It holds nothing that is not found again after a restart.
type Server struct {
	Config
	samples sampler
	crowd   crowd
}

// New returns a Server that does not listen yet.
func New(c Config) *Server { return &Server{Config: c} }

// The limits of the endpoint. Timeouts and the rate are those of ECS's agent; Havn counts requests by who asks, so that a
// container that asks too often harms itself only. One container has at most 420 requests being answered at once on the
// host's network: 60, and 40 a second for the nine seconds that the slowest takes, which has a body and calls the API.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 5 * time.Second
	callTimeout  = 4 * time.Second // of a call of the server's API
	steadyRate   = 40              // requests a second
	burst        = 60
	maxConns     = 128 // at once, of one address on the bridge
	maxHostConns = 512 // at once, of the host's network, and of siblings
	maxHeader    = 8 << 10
	maxBody      = 64 << 10
)

const socketName = "metadata.sock"

func (s *Server) socket(havn string) string { return filepath.Join(s.RuntimeDir, havn, socketName) }

// door is where a request came in.
type door int

const (
	onBridge  door = iota // from a container on the bridge, known by its address
	onHost                // from the host's network
	bySibling             // from the host's network too: another Havn heard it
)

// visitKey is the key of a request's connection in its context.
type visitKey struct{}

func visitOf(r *http.Request) *visit {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	return v
}

// Serve answers at the bridge's listener, at the host's, and at the socket for siblings, until ctx ends.
func (s *Server) Serve(ctx context.Context, bridge, host net.Listener) error {
	path := s.socket(s.IDs.name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was killed
		return fmt.Errorf("cannot listen for other Havns: %w", err)
	}
	siblings, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("cannot listen for other Havns: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		siblings.Close()
		return fmt.Errorf("cannot listen for other Havns: %w", err)
	}
	ended := make(chan error, 3)
	var wg sync.WaitGroup
	defer wg.Wait() // after all have been closed
	for _, l := range []struct {
		net.Listener
		door door
	}{{bridge, onBridge}, {host, onHost}, {siblings, bySibling}} {
		server := &http.Server{
			Handler: s, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: readTimeout, MaxHeaderBytes: maxHeader,
			ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
				return context.WithValue(ctx, visitKey{}, s.crowd.arrive(conn, l.door))
			},
			ConnState: s.crowd.connState, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		}
		wg.Go(func() { ended <- server.Serve(l) })
		defer server.Close()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return fmt.Errorf("cannot answer containers that ask about themselves: %w", err)
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, ok := parsePath(r.URL.Path)
	v := visitOf(r)
	if name, another := s.IDs.sibling(q.id); another && v.door == onHost && s.there(name) {
		defer s.crowd.asking(v)()
		s.passOn(w, r, name, q)
		return
	}
	who := asker{from: v.from}
	if v.door != onBridge && s.IDs.given(r.Context(), s.Tasks, q.id) {
		who.id = q.id
	}
	if !s.crowd.admit(w, r, who) {
		return
	}
	if who != (asker{}) {
		defer s.crowd.asking(v)()
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	switch q.what {
	case ofVersionTwo:
		answer(w, http.StatusBadRequest, fmt.Sprintf("Unable to get task arn from request: unable to associate '%s' with task", remote(r)))
	case ofProtection:
		s.protection(w, r, q)
	case ofFault:
		s.fault(w, r, q)
	default:
		s.document(w, r, q)
	}
}

// document answers what is only looked at.
func (s *Server) document(w http.ResponseWriter, r *http.Request, q request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	record, name, err := s.caller(r, q.id)
	if err != nil {
		s.refuse(w, q, err)
		return
	}
	ctx := r.Context()
	switch q.what {
	case ofContainer:
		answer(w, http.StatusOK, containerDocument(q.version, record, name, s.facts(ctx, record, name)))
	case ofTask, ofTaskAndTags:
		facts := map[string]observe.Facts{}
		for _, c := range record.Task.Containers {
			facts[c.Name] = s.facts(ctx, record, c.Name)
		}
		d := taskDocument(q.version, record, facts)
		if q.what == ofTaskAndTags {
			s.addTags(ctx, &d, record.Task.ClusterARN)
		}
		answer(w, http.StatusOK, d)
	case ofUse:
		stats := s.containerStats(ctx, record, name)
		if stats == nil {
			answer(w, http.StatusInternalServerError, "Unable to get container stats for: "+containerDocument(v4, record, name, observe.Facts{}).DockerID)
			return
		}
		answer(w, http.StatusOK, stats)
	case ofTaskUse:
		answer(w, http.StatusOK, s.taskStats(ctx, record))
	case ofAssociations:
		associations(w, q, record, name)
	}
}

// caller returns the container that an id stands for, if the request comes from where its task is.
func (s *Server) caller(r *http.Request, id string) (agent.Record, string, error) {
	record, name, err := s.IDs.find(r.Context(), s.Tasks, id)
	if err != nil {
		return record, name, err
	}
	at := s.Runtime.Addresses(&record.Task)
	switch visitOf(r).door {
	case onBridge:
		if !slices.Contains(at, remote(r)) {
			return agent.Record{}, "", errUnknown
		}
	default:
		if len(at) > 0 {
			return agent.Record{}, "", errUnknown
		}
	}
	return record, name, nil
}

// refuse says that nobody has the id, or that the agent cannot be asked.
func (s *Server) refuse(w http.ResponseWriter, q request, err error) {
	if errors.Is(err, errUnknown) {
		answer(w, http.StatusNotFound, q.failure())
		return
	}
	s.Log.Warn("cannot answer a container that asks about itself", "what", q.what, "error", err)
	switch q.what {
	case ofContainer, ofAssociations:
		answer(w, http.StatusInternalServerError, "failed to get container metadata")
	case ofUse, ofTaskUse:
		answer(w, http.StatusInternalServerError, "failed to get stats")
	default:
		answer(w, http.StatusInternalServerError, "failed to get task metadata")
	}
}

// facts are empty where the engine has none: before a container is made, and after it is removed.
func (s *Server) facts(ctx context.Context, r agent.Record, name string) observe.Facts {
	f, err := s.Runtime.Facts(ctx, &r.Task, name)
	if err != nil {
		s.Log.Debug("the engine knows nothing of a container", "task", r.Task.ARN, "container", name, "error", err)
	}
	return f
}

// associations answers which devices of a type a container has. What is behind a name is nothing that the server sends.
func associations(w http.ResponseWriter, q request, r agent.Record, container string) {
	names := []string{}
	for _, a := range r.Task.Associations {
		if a.Type == q.more[0] && slices.Contains(a.Containers, container) {
			names = append(names, a.Name)
		}
	}
	if len(q.more) == 1 {
		answer(w, http.StatusOK, struct{ Associations []string }{names})
		return
	}
	answer(w, http.StatusBadRequest, fmt.Sprintf("V%d container association handler: no content of association %s of type %s", q.version, q.more[1], q.more[0]))
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:errcheck // who asked has gone
}

// remote is the address that a request comes from; the zero Addr over a socket that is a file.
func remote(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}
