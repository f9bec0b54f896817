package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"havn/api/acm"
	"havn/api/ecs"
	"havn/api/elbv2"
	"havn/api/logs"
	"havn/api/sts"
	"havn/balance"
	"havn/balance/load"
	"havn/balance/proxy"
	"havn/certify"
	"havn/control"
	"havn/dispatch"
	"havn/expire"
	"havn/hook"
	"havn/logstore"
	"havn/state"
	"havn/state/etcd"
	"havn/wire"
)

// server is a running control plane, with or without a node.
type server struct {
	info   serverInfo
	log    *slog.Logger
	failed chan error // a part that ends before it was told to
	parts  []part     // stopped in reverse order
}

// part is something that runs until it is stopped.
type part struct {
	name string
	stop func() error
}

// nodeTimeout is how long a start waits for its own node to connect.
const nodeTimeout = 10 * time.Second

// etcdTimeout is how long a start waits for an etcd that is not ours to answer.
const etcdTimeout = 15 * time.Second

// start brings everything up and returns when the first API call would be answered.
func (c upConfig) start(ctx context.Context, h home, log *slog.Logger) (s *server, err error) {
	s = &server{log: log, failed: make(chan error, 8)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return s, fmt.Errorf("cannot listen on %s (choose another address with --listen): %w", c.listen, err)
	}
	s.defers("listener", func() error { return ignoreClosed(listener.Close()) })
	key, err := h.rootKey()
	if err != nil {
		return s, err
	}
	s.info = serverInfo{
		PID: os.Getpid(), Endpoint: "http://" + reachable(listener.Addr().String()), Region: c.region, Account: c.account,
		Version: version, StartedAt: time.Now(), Flags: c.given, Rests: true,
	}

	// The node's engine and the state start side by side; neither needs the other.
	var node *node
	var nodeErr error
	var engine sync.WaitGroup
	if !c.noNode {
		engine.Go(func() {
			node, nodeErr = openNode(ctx, h, c.node, agentTarget{endpoint: s.info.Endpoint, region: c.region, key: key}, log)
		})
	}
	store, err := s.openState(ctx, c, h)
	engine.Wait()
	if node != nil {
		s.defers("node", node.close)
	}
	if err = errors.Join(err, nodeErr); err != nil {
		return s, err
	}

	root := wire.Principal{ARN: "arn:aws:iam::" + c.account + ":root", UserID: c.account, Account: c.account}
	keys := map[string]wire.Credential{key.AccessKeyID: {Secret: key.SecretAccessKey, Principal: root}}
	if c.dev {
		keys["test"] = wire.Credential{Secret: "test", Principal: root}
	}
	events, err := logstore.Open(logstore.Config{Dir: h.path("logstore"), Log: log})
	if err != nil {
		return s, err
	}
	s.defers("log store", events.Close)
	s.run("expiry of logs", expire.New(store, events, log).Run)
	logsServer := logs.NewServer(logs.Config{Store: store, Events: events, Region: c.region, Account: c.account})
	handler, dispatcher := c.handler(s.info, store, logsServer, keys, log)
	s.run("lifecycle hooks", hook.New(store, log).Run)
	s.run("controllers", func(ctx context.Context) error { return c.control(ctx, store, log) })
	s.run("dispatch", dispatcher.Run)
	if err := s.balance(c, h, store); err != nil {
		return s, err
	}
	authority, err := certify.Open(h.path("ca"), time.Now())
	if err != nil {
		return s, err
	}
	s.run("certificates", func(ctx context.Context) error { return authority.Run(ctx, store, log) })
	s.serveHTTP(listener, handler, logsServer.EndSessions)
	if err := s.answers(ctx); err != nil {
		return s, err
	}
	if node != nil {
		connected := make(chan struct{})
		s.run("agent", func(ctx context.Context) error {
			return node.run(ctx, agentTarget{
				endpoint: s.info.Endpoint, region: c.region, key: key,
				port:      uint16(listener.Addr().(*net.TCPAddr).Port),
				connected: sync.OnceFunc(func() { close(connected) }),
			})
		})
		// The API answers already; a first RunTask should find the node, too.
		waiting, cancel := context.WithTimeout(ctx, nodeTimeout)
		defer cancel()
		select {
		case <-connected:
			awaitNode(waiting, h, store)
		case err := <-s.failed:
			return s, err
		case <-waiting.Done():
		}
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		if waiting.Err() != nil {
			log.Warn("the node has not connected yet; tasks wait for it")
		}
	}
	return s, h.writeServer(s.info)
}

// balance runs the load balancers.
func (s *server) balance(c upConfig, h home, store *state.Store) error {
	outside, err := c.outside()
	if err != nil {
		return err
	}
	key, err := h.cookieKey()
	if err != nil {
		return err
	}
	gauges := &load.Gauges{}
	http := proxy.New(proxy.Config{Gauges: gauges, Log: s.log, CookieKey: key})
	s.run("load balancers", balance.New(balance.Config{Store: store, Log: s.log, HTTP: http, Gauges: gauges, Outside: outside}).Run)
	return nil
}

// control runs the controllers; once this process is told to rest, only those that start nothing.
func (c upConfig) control(ctx context.Context, store *state.Store, log *slog.Logger) error {
	settings := control.Settings{KeepStories: c.keepStories, SteadyAfter: c.steadyAfter}
	run := func(ctx context.Context, controllers []control.Controller) error {
		return control.NewLoop(control.Config{Store: store, Log: log, Seed: uint64(time.Now().UnixNano()), Controllers: controllers}).Run(ctx)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, restSignal)
	defer signal.Stop(told)
	awake, rest := context.WithCancel(ctx)
	defer rest()
	ended := make(chan error, 1)
	go func() { ended <- run(awake, control.With(settings)) }()
	select {
	case err := <-ended:
		return err
	case <-told:
		log.Info("services rest: their tasks are not replaced any more")
		rest()
		<-ended
		return run(ctx, control.Resting(settings))
	}
}

// awaitNode returns when the state says that this machine's node is connected, which its agent knows a little earlier.
func awaitNode(ctx context.Context, h home, store *state.Store) {
	id, err := os.ReadFile(h.path("node", "node-id"))
	if err != nil {
		return // then it did not connect under this id
	}
	var seen state.Revision
	connected := func() (is bool) {
		store.View(func(r *state.Reader) {
			seen = r.Revision()
			n, ok := state.Nodes.Get(r, strings.TrimSpace(string(id)))
			is = ok && n.Connected
		})
		return is
	}
	if connected() {
		return
	}
	for range store.Watch(ctx, seen) {
		if connected() {
			return
		}
	}
}

func (s *server) openState(ctx context.Context, c upConfig, h home) (*state.Store, error) {
	var log *etcd.Log
	var err error
	if len(c.etcd) > 0 {
		dialing, cancel := context.WithTimeout(ctx, etcdTimeout)
		defer cancel()
		log, err = etcd.Dial(dialing, etcd.DialConfig{Endpoints: c.etcd})
	} else {
		// The socket is for etcdctl. A control plane alone can do without root, and then without the socket.
		var socket string
		if os.MkdirAll(h.runtimeDir(), 0o711) == nil {
			socket = filepath.Join(h.runtimeDir(), "etcd.sock")
		}
		log, err = etcd.StartEmbedded(ctx, etcd.Config{Dir: h.path("etcd"), Socket: socket, Logger: s.log})
	}
	if err != nil {
		return nil, err
	}
	s.defers("etcd", log.Close)
	if len(c.etcd) > 0 { // the lock of the data folder does not guard what is elsewhere
		if err := s.lead(ctx, log, c.region+" "+c.account); err != nil {
			return nil, err
		}
	}
	// The store follows its log for longer than the start takes.
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	store, err := state.Open(following, log)
	if err != nil {
		cancel()
		return nil, err
	}
	s.run("state", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		return store.Wait()
	})
	return store, nil
}

// lead makes this the one server of the state, for as long as its lease lives.
func (s *server) lead(ctx context.Context, log *etcd.Log, identity string) error {
	s.log.Info("taking the lead in etcd; after a server that was killed this takes some seconds")
	lost, err := log.Lead(ctx, identity)
	if err != nil {
		return err
	}
	s.run("leadership", func(ctx context.Context) error {
		select {
		case <-lost:
			return errors.New("the lease in etcd was lost, so another Havn may lead")
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return nil
}

// handler is everything that answers on the one port.
func (c upConfig) handler(info serverInfo, store *state.Store, logsServer *logs.Server, keys map[string]wire.Credential, log *slog.Logger) (http.Handler, *dispatch.Server) {
	lookup := func(_ context.Context, accessKeyID, sessionToken string) (wire.Credential, error) {
		credential, ok := keys[accessKeyID]
		if !ok || sessionToken != "" {
			return credential, wire.ErrUnknownKey
		}
		return credential, nil
	}
	verifier := &wire.Verifier{Credentials: lookup, Region: c.region}
	handshake := func(r *http.Request) error {
		_, err := verifier.Verify(r, nil, "ecs")
		return err
	}
	dispatcher := dispatch.New(dispatch.Config{Store: store, Verify: handshake, Log: log})
	ecsServer := ecs.NewServer(ecs.Config{
		Store: store, Region: c.region, Account: c.account,
		PollEndpoint: wire.Endpoint, // a node polls where it found us
	})
	elbServer := elbv2.NewServer(elbv2.Config{Store: store, Region: c.region, Account: c.account})
	acmServer := acm.NewServer(acm.Config{Store: store, Region: c.region, Account: c.account})
	aws := wire.NewServer(wire.Config{
		APIs:        []*wire.API{ecsServer.API(), elbServer.API(), acmServer.API(), logsServer.API(), sts.API()},
		Credentials: lookup, Region: c.region, Account: c.account, Log: log,
		Fallback: http.HandlerFunc(notAWS(info)),
	})
	nodes := dispatcher.Handler()
	// No http.ServeMux: it redirects a path that is not clean, and the signature is not that of the other path.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/acs/") || strings.HasPrefix(r.URL.Path, "/tcs/") {
			nodes.ServeHTTP(w, r)
			return
		}
		aws.ServeHTTP(w, r)
	}), dispatcher
}

// notAWS answers what is not a call of an AWS client: a person with a browser, mostly.
func notAWS(info serverInfo) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprintf(w, "This is Havn %s: Amazon ECS on machines you own.\n\nIt answers AWS clients here. On the machine that it runs on:\n\n    eval \"$(havn env)\"\n    aws ecs list-clusters\n\nElsewhere: AWS_ENDPOINT_URL=%s AWS_REGION=%s and an access key.\n", info.Version, info.Endpoint, info.Region)
	}
}

// serveHTTP serves until the server is stopped; stopping is called then, to end answers that would go on.
func (s *server) serveHTTP(listener net.Listener, handler http.Handler, stopping func()) {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	srv.RegisterOnShutdown(stopping)
	go func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("cannot serve the API: %w", err)
		}
	}()
	s.defers("API", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			return srv.Close()
		}
		return nil
	})
}

// answers makes the first API call, and returns when it has been answered.
func (s *server) answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.info.Endpoint, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the API does not answer: %w", err)
	}
	return res.Body.Close()
}

// run starts a part that works until its context ends.
func (s *server) run(name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := f(ctx)
		if ctx.Err() == nil {
			s.failed <- fmt.Errorf("%s ended: %w", name, err)
			err = nil
		}
		done <- err
	}()
	s.defers(name, func() error {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
}

func (s *server) defers(name string, stop func() error) { s.parts = append(s.parts, part{name, stop}) }

// wait returns when ctx ends, or a part has failed.
func (s *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// stop ends all parts, the last started first. Tasks run on.
func (s *server) stop() error {
	var all error
	for len(s.parts) > 0 {
		last := s.parts[len(s.parts)-1]
		s.parts = s.parts[:len(s.parts)-1]
		if err := last.stop(); err != nil {
			all = errors.Join(all, fmt.Errorf("cannot stop %s: %w", last.name, err))
		}
	}
	return all
}

// reachable turns an address to listen on into one that a client on this machine can call.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func newLogger(out interface{ Write([]byte) (int, error) }, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose || strings.EqualFold(os.Getenv("HAVN_LOG"), "debug") {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
}
