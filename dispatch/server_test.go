package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// running is a server that runs, with a state of its own.
type running struct {
	*world
	url    string
	client *http.Client
	ctx    context.Context
}

func (r *running) update(f func(*state.Tx)) {
	r.t.Helper()
	if err := r.store.Update(r.ctx, func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

// run starts a server on a listener, for a limited time. Everything has ended when the test has.
func run(t testing.TB, limit time.Duration, listener net.Listener, dial func(context.Context, string, string) (net.Conn, error), before func(*state.Tx)) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{
		world: &world{t: t, store: store, now: epoch}, ctx: ctx, url: "http://" + listener.Addr().String(),
		client: &http.Client{Transport: &http.Transport{DialContext: dial}},
	}
	r.update(func(tx *state.Tx) {
		putDefinition(tx)
		putNode(tx, "n1", false)
		putInstance(tx, "i1", "n1", "ACTIVE")
		if before != nil {
			before(tx)
		}
	})
	server := New(Config{
		Store: store,
		Log:   slog.New(slog.DiscardHandler),
		Verify: func(r *http.Request) error {
			if r.Header.Get("Authorization") != "signed" {
				return errors.New("The request is not signed.")
			}
			return nil
		},
	})
	web := &httptest.Server{Listener: listener, Config: &http.Server{Handler: server.Handler()}}
	web.Start()
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		web.Close()
		r.client.CloseIdleConnections()
		store.Wait() //nolint:errcheck // it says that ctx has ended
	})
	return r
}

func runOnLoopback(t testing.TB, before func(*state.Tx)) *running {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return run(t, time.Minute, listener, (&net.Dialer{}).DialContext, before)
}

func (r *running) dial(path string, query url.Values) (*websocket.Conn, *http.Response, error) {
	conn, response, err := websocket.Dial(r.ctx, r.url+path+"?"+query.Encode(), &websocket.DialOptions{
		HTTPClient: r.client, HTTPHeader: http.Header{"Authorization": {"signed"}},
	})
	if conn != nil {
		conn.SetReadLimit(protocol.MaxFrame)
	}
	return conn, response, err
}

func (r *running) connect(instance string) *websocket.Conn {
	r.t.Helper()
	conn, _, err := r.dial("/acs/ws", url.Values{
		"containerInstanceArn": {instanceARN(instance)}, "clusterArn": {"demo"}, "agentVersion": {"1.105.1"},
		"agentHash": {"a8b3e7d3"}, "dockerVersion": {"DockerVersion: 20.10"}, "protocolVersion": {"2"}, "seqNum": {"1"}, "sendCredentials": {"true"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return conn
}

func (r *running) read(conn *websocket.Conn) protocol.Message {
	r.t.Helper()
	_, frame, err := conn.Read(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := protocol.Decode(frame)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *running) say(conn *websocket.Conn, m protocol.Message) {
	r.t.Helper()
	if err := write(r.ctx, conn, m); err != nil {
		r.t.Fatal(err)
	}
}

// await returns when the node is as asked for.
func (r *running) await(what string, ok func(state.Node) bool) {
	r.t.Helper()
	for range r.store.Watch(r.ctx, 0) {
		found := false
		r.store.View(func(reader *state.Reader) {
			n, _ := state.Nodes.Get(reader, "n1")
			found = ok(n)
		})
		if found {
			return
		}
	}
	r.t.Fatal("never came:", what)
}

func TestACommitReachesItsNodeAtOnce(t *testing.T) {
	r := runOnLoopback(t, nil)
	conn := r.connect("i1")
	r.await("connected", func(n state.Node) bool {
		return n.Connected && n.AgentVersion == "1.105.1" && n.AgentHash == "a8b3e7d3" && n.DockerVersion == "DockerVersion: 20.10"
	})

	r.update(func(tx *state.Tx) { r.putTask(tx, "t1", "i1", lifecycle.Running, lifecycle.Pending) })
	m := r.read(conn)
	if got := show(m); !strings.HasSuffix(got, ": t1=RUNNING") {
		t.Fatalf("the node hears %s", got)
	}
	r.say(conn, &protocol.Ack{MessageID: m.(*protocol.Payload).MessageID})

	r.update(func(tx *state.Tx) { r.putTask(tx, "t1", "i1", lifecycle.Stopped, lifecycle.Running) })
	if got := show(r.read(conn)); !strings.HasSuffix(got, ": t1=STOPPED") {
		t.Fatalf("the node hears %s", got)
	}

	conn.CloseNow()
	r.await("disconnected", func(n state.Node) bool { return !n.Connected })
}

// TestOnlyOtherMachinesHaveAnAddress: balance reaches this machine's tasks over loopback, and others' where their agent is.
func TestOnlyOtherMachinesHaveAnAddress(t *testing.T) {
	here := "127.0.0.1"
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			here = p.Addr().String()
		}
	}
	for remote, want := range map[string]string{
		"127.0.0.1:4000": "", "[::1]:4000": "", "[::ffff:127.0.0.1]:4000": "", here + ":4000": "", "nonsense": "",
		"192.0.2.7:4000": "192.0.2.7", "[2001:db8::7]:4000": "2001:db8::7", "[::ffff:192.0.2.7]:4000": "192.0.2.7",
	} {
		if got := elsewhere(remote); got != want {
			t.Errorf("an agent that connects from %s has the address %q, not %q", remote, got, want)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r := runOnLoopback(t, func(tx *state.Tx) {
		putNode(tx, "n2", false)
		putInstance(tx, "gone", "n2", "INACTIVE")
	})
	for _, c := range []struct {
		name, path string
		query      url.Values
		unsigned   bool
		status     int
		exception  string
	}{
		{"unknown instance", "/acs/ws", url.Values{"containerInstanceArn": {instanceARN("i9")}}, false, 400, protocol.InvalidInstance},
		{"no instance", "/acs/ws", nil, false, 400, protocol.InvalidInstance},
		{"other cluster", "/acs/ws", url.Values{"containerInstanceArn": {instanceARN("i1")}, "clusterArn": {"other"}}, false, 400, protocol.InvalidCluster},
		{"deregistered", "/acs/ws", url.Values{"containerInstanceArn": {instanceARN("gone")}}, false, 400, protocol.InactiveInstance},
		{"unsigned", "/acs/ws", url.Values{"containerInstanceArn": {instanceARN("i1")}}, true, 403, protocol.AccessDenied},
		{"unknown to telemetry", "/tcs/ws", url.Values{"containerInstance": {instanceARN("i9")}}, false, 400, protocol.InvalidInstance},
	} {
		t.Run(c.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(r.ctx, http.MethodGet, r.url+c.path+"?"+c.query.Encode(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !c.unsigned {
				request.Header.Set("Authorization", "signed")
			}
			response, err := r.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var body map[string]string
			if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != c.status || len(body) != 1 || body[c.exception] == "" {
				t.Errorf("answered %d %v, want %d and %s", response.StatusCode, body, c.status, c.exception)
			}
		})
	}
}

func TestOfTwoSessionsTheNewerWins(t *testing.T) {
	r := runOnLoopback(t, nil)
	older := r.connect("i1")
	r.await("the older", func(n state.Node) bool { return n.Timeline == manifests })
	newer := r.connect("i1")
	if _, _, err := older.Read(r.ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the older connection ends with %v", err)
	}
	r.update(func(tx *state.Tx) { r.putTask(tx, "t1", "i1", lifecycle.Running, lifecycle.Pending) })
	if got := show(r.read(newer)); !strings.HasSuffix(got, ": t1=RUNNING") {
		t.Errorf("the newer connection hears %s", got)
	}
	r.await("still connected", func(n state.Node) bool { return n.Connected && n.Timeline == 2*manifests })
}

func TestAServerStartsWithNobodyConnected(t *testing.T) {
	r := runOnLoopback(t, func(tx *state.Tx) {
		n, _ := state.Nodes.Get(tx, "n1")
		n.Connected = true
		state.Nodes.Put(tx, n)
	})
	r.await("disconnected", func(n state.Node) bool { return !n.Connected && !n.ConnectedAt.IsZero() })
}

func TestADeregisteredNodeIsSentAway(t *testing.T) {
	r := runOnLoopback(t, nil)
	conn := r.connect("i1")
	r.await("connected", func(n state.Node) bool { return n.Connected })
	r.update(func(tx *state.Tx) { putInstance(tx, "i1", "n1", "INACTIVE") })
	if f, ok := r.read(conn).(*protocol.Failure); !ok || f.Name != protocol.InactiveInstance {
		t.Errorf("the node hears %v", f)
	}
	if _, _, err := conn.Read(r.ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the connection ends with %v", err)
	}
	r.await("disconnected", func(n state.Node) bool { return !n.Connected })
}

func TestNonsenseIsIgnored(t *testing.T) {
	r := runOnLoopback(t, nil)
	conn := r.connect("i1")
	for _, frame := range []string{"", "nonsense", `{"type":"Future","message":{"a":1}}`, `{"type":"AckRequest","message":[]}`, `{}`, `null`} {
		if err := conn.Write(r.ctx, websocket.MessageText, []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	r.update(func(tx *state.Tx) { r.putTask(tx, "t1", "i1", lifecycle.Running, lifecycle.Pending) })
	if got := show(r.read(conn)); !strings.HasSuffix(got, ": t1=RUNNING") {
		t.Fatalf("the node hears %s", got)
	}
	big := `{"type":"AckRequest","message":{"messageId":"` + strings.Repeat("x", protocol.MaxFrame) + `"}}`
	go conn.Write(r.ctx, websocket.MessageText, []byte(big)) //nolint:errcheck // the server may end it first
	if _, _, err := conn.Read(r.ctx); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("the connection ends with %v", err)
	}
	r.await("disconnected", func(n state.Node) bool { return !n.Connected && n.Timeline > 0 })
}

func TestTelemetryIsAcknowledged(t *testing.T) {
	r := runOnLoopback(t, nil)
	conn, _, err := r.dial("/tcs/ws", url.Values{"containerInstance": {instanceARN("i1")}, "cluster": {"demo"}})
	if err != nil {
		t.Fatal(err)
	}
	headers := "Authorization: AWS4-HMAC-SHA256 x\r\nHost: h\r\nX-Amz-Date: 20260101T000000Z\r\n\r\n"
	for _, c := range []struct{ frame, answer string }{
		{headers + `{"type":"PublishMetricsRequest","message":{"metadata":{"cluster":"demo","idle":true,"fin":true},"timestamp":1.5}}`, "AckPublishMetric"},
		{`{"type":"PublishHealthRequest","message":{}}`, "AckPublishHealth"},
		{headers + `{"type":"PublishInstanceStatusRequest","message":{}}`, "AckPublishInstanceStatus"},
	} {
		for _, frame := range []string{"nonsense", headers + "{", `{"type":"Future"}`, c.frame} {
			if err := conn.Write(r.ctx, websocket.MessageText, []byte(frame)); err != nil {
				t.Fatal(err)
			}
		}
		_, frame, err := conn.Read(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Type string }
		if err := json.Unmarshal(frame, &answer); err != nil || answer.Type != c.answer {
			t.Errorf("%s is answered by %s", c.frame, frame)
		}
	}
}

// pipes is a listener without a network, for time that is not real.
type pipes struct {
	accept chan net.Conn
	closed sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	conn, ok := <-p.accept
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p *pipes) Close() error {
	p.closed.Do(func() { close(p.accept) })
	return nil
}
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.accept <- theirs
	return ours, nil
}

func TestASilentNodeIsNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{accept: make(chan net.Conn)}
		r := run(t, time.Hour, p, p.dial, nil)
		conn := r.connect("i1")
		begun := time.Now()
		heartbeats := 0
		for {
			_, frame, err := conn.Read(r.ctx)
			if err != nil {
				break
			}
			m, err := protocol.Decode(frame)
			if h, ok := m.(*protocol.Heartbeat); err != nil || !ok {
				t.Fatalf("the node hears %s", frame)
			} else if heartbeats++; heartbeats <= 10 {
				r.say(conn, &protocol.HeartbeatAck{MessageID: h.MessageID})
			}
		}
		if heartbeats != 10+maxMissed {
			t.Errorf("%d heartbeats were sent to a node that answers 10", heartbeats)
		}
		if took := time.Since(begun); took != (10+maxMissed+1)*heartbeatInterval {
			t.Errorf("the node was given up after %s", took)
		}
		r.await("disconnected", func(n state.Node) bool { return !n.Connected })
	})
}

func TestTelemetryHearsFromTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{accept: make(chan net.Conn)}
		r := run(t, time.Hour, p, p.dial, nil)
		conn, _, err := r.dial("/tcs/ws", url.Values{"containerInstance": {instanceARN("i1")}})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for range 100 {
			if _, ok := r.read(conn).(*protocol.Heartbeat); !ok {
				t.Fatal("not a heartbeat")
			}
		}
		if took := time.Since(begun); took != 100*telemetryInterval {
			t.Errorf("100 heartbeats took %s", took)
		}
		r.update(func(tx *state.Tx) { state.Instances.Delete(tx, instanceARN("i1")) })
		if _, _, err := conn.Read(r.ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("the connection ends with %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"AckRequest","message":{"messageId":"m"}}`))
	f.Add([]byte(`{"type":"TaskStopVerificationMessage","message":{"messageId":"m","stopCandidates":[{"taskArn":"a"}]}}`))
	f.Add([]byte("Authorization: a\r\n\r\n{\"type\":\"PublishMetricsRequest\",\"message\":{\"metadata\":{}}}"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		w := newWorld(t)
		w.update(func(tx *state.Tx) {
			putNode(tx, "n1", false, "ecs.capability.full-sync")
			putInstance(tx, "i1", "n1", "ACTIVE")
			w.putTask(tx, "t1", "i1", lifecycle.Running, lifecycle.Pending)
		})
		s, err := w.connect(Hello{Instance: instanceARN("i1")})
		if err != nil {
			t.Fatal(err)
		}
		w.send(s)
		if m, err := protocol.Decode(frame); err == nil && m != nil {
			s.Receive(m)
			w.send(s)
		}
		_, _ = decodeReport(frame) // no frame makes it panic
	})
}

// BenchmarkCommitToPayload is the way of a task from its commit to its node's end of the socket.
func BenchmarkCommitToPayload(b *testing.B) {
	r := runOnLoopback(b, nil)
	conn := r.connect("i1")
	r.await("connected", func(n state.Node) bool { return n.Connected })
	n := 0
	for b.Loop() {
		n++
		id := string(rune('a'+n%26)) + time.Duration(n).String()
		r.update(func(tx *state.Tx) { r.putTask(tx, id, "i1", lifecycle.Running, lifecycle.Pending) })
		m := r.read(conn)
		p, ok := m.(*protocol.Payload)
		if !ok {
			continue
		}
		b.StopTimer()
		r.say(conn, &protocol.Ack{MessageID: p.MessageID})
		r.update(func(tx *state.Tx) { state.Tasks.Delete(tx, taskARN(id)) })
		b.StartTimer()
	}
}
