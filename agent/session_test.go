package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/coder/websocket"

	"havn/agent"
	"havn/lifecycle"
	"havn/protocol"
	"havn/sim"
)

// The session over loopback, with a small server that speaks the protocol. Real time, no waiting for it:
// a test waits for events, and gives up after patience.
const patience = 30 * time.Second

// server is the other end. Everything it hears it says on heard, in a word or two and the body.
type server struct {
	*testing.T
	http *http.Server
	addr string

	heard chan heard
	mu    sync.Mutex
	conn  *websocket.Conn
	tcs   *websocket.Conn
	// answer decides about an API call; nil or an empty name = accept.
	answer func(operation string, in map[string]any) (exception string)
	refuse string // body with which to refuse the next handshakes
}

type heard struct {
	what  string // operation, "connect", or the type of a message
	in    map[string]any
	query url.Values
	auth  string
}

func newServer(t *testing.T) *server {
	s := &server{T: t, heard: make(chan heard, 1000)}
	s.listen("127.0.0.1:0")
	t.Cleanup(s.down)
	return s
}

func (s *server) listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s}
	go s.http.Serve(l)
}

// down is a server that is gone, with all its connections.
func (s *server) down() {
	s.http.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range []*websocket.Conn{s.conn, s.tcs} {
		if conn != nil {
			conn.CloseNow()
		}
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/tcs/ws" {
		s.serveTCS(w, r)
		return
	}
	if r.Method == http.MethodGet {
		s.serveACS(w, r)
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		s.Errorf("%s: %v", operation, err)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if exception := answer(operation, in); exception != "" {
			s.heard <- heard{what: operation + " refused", in: in}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, exception)
			return
		}
	}
	out := any(map[string]any{"acknowledgment": "ACK"})
	switch operation {
	case "RegisterContainerInstance":
		arn := in["containerInstanceArn"]
		if arn == nil {
			arn = instance
		}
		out = map[string]any{"containerInstance": map[string]any{"containerInstanceArn": arn, "attributes": in["attributes"]}}
	case "DiscoverPollEndpoint":
		out = map[string]any{"endpoint": "http://" + s.addr + "/acs", "telemetryEndpoint": "http://" + s.addr + "/tcs"}
	}
	s.heard <- heard{what: operation, in: in, auth: r.Header.Get("Authorization")}
	json.NewEncoder(w).Encode(out)
}

func (s *server) serveACS(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/acs/ws" {
		s.Errorf("connected to %s", r.URL.Path)
	}
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != "" {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, refuse)
		s.heard <- heard{what: "connect refused"}
		return
	}
	s.mu.Lock() // until it is heard: the agent connects for its telemetry as soon as this is accepted
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		s.mu.Unlock()
		s.Errorf("accept: %v", err)
		return
	}
	s.conn = conn
	s.heard <- heard{what: "connect", query: r.URL.Query(), auth: r.Header.Get("Authorization")}
	s.mu.Unlock()
	for {
		_, frame, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		var e struct {
			Type    string
			Message map[string]any
		}
		if err := json.Unmarshal(frame, &e); err != nil {
			s.Errorf("frame %s: %v", frame, err)
		}
		s.heard <- heard{what: e.Type, in: e.Message}
	}
}

func (s *server) send(m protocol.Message) {
	s.Helper()
	frame, err := protocol.Encode(m)
	if err != nil {
		s.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.Write(s.Context(), websocket.MessageText, frame); err != nil {
		s.Fatal(err)
	}
}

func (s *server) assign(docs ...protocol.Task) {
	s.Helper()
	s.send(&protocol.Payload{MessageID: "p-" + docs[0].DesiredStatus, ClusterARN: cluster, ContainerInstanceARN: instance, Tasks: docs})
}

// expect waits until the server has heard that, whatever else it hears before.
func (s *server) expect(what string, is ...func(heard) bool) heard {
	s.Helper()
	give := time.After(patience)
	var also []string
	for {
		select {
		case h := <-s.heard:
			if h.what == what && !slices.ContainsFunc(is, func(is func(heard) bool) bool { return !is(h) }) {
				return h
			}
			also = append(also, fmt.Sprint(h.what, " ", h.in["status"]))
		case <-give:
			s.Fatalf("never heard %s, but %q", what, also)
		}
	}
}

func status(want string) func(heard) bool {
	return func(h heard) bool { return h.in["status"] == want }
}

// node is an agent on the simulation's runtime, in real time.
type node struct {
	*testing.T
	runtime *sim.Runtime
	config  agent.Config
	stop    context.CancelFunc
	done    chan error
}

func startNode(t *testing.T, s *server, change func(*agent.Config)) *node {
	n := &node{T: t, runtime: sim.NewRuntime(sim.RuntimeConfig{Seed: 1, Programs: programs})}
	n.config = agent.Config{Server: "http://" + s.addr, Region: "us-east-1", DataDir: t.TempDir(), Version: "1.0",
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", "TOKEN"),
		Settings:    lifecycle.Settings{StopTimeout: time.Second}, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&n.config)
	}
	n.start()
	t.Cleanup(n.end)
	return n
}

func (n *node) start() {
	ctx, stop := context.WithCancel(n.Context())
	n.stop, n.done = stop, make(chan error, 1)
	if n.config.Runtime == nil {
		n.config.Runtime = n.runtime
	}
	config, done := n.config, n.done
	go func() { done <- agent.Run(ctx, config) }()
}

func (n *node) end() {
	n.stop()
	select {
	case err := <-n.done:
		n.done <- err
	case <-time.After(patience):
		n.Error("the agent does not end")
	}
}

func web(desired string) protocol.Task {
	return protocol.Task{ARN: arnOf(1), ClusterARN: cluster, Family: "web", Version: "1", DesiredStatus: desired, NetworkMode: "bridge",
		Containers: []protocol.Container{{Name: "web", Image: "server", Essential: true, PortMappings: []protocol.PortMapping{{ContainerPort: 80}}}}}
}

func TestANodeRunsATaskAndStopsIt(t *testing.T) {
	s := newServer(t)
	connected := make(chan struct{}, 10)
	startNode(t, s, func(c *agent.Config) { c.Connected = func() { connected <- struct{}{} } })

	register := s.expect("RegisterContainerInstance")
	checkRegistration(t, register)
	discover := s.expect("DiscoverPollEndpoint")
	if discover.in["containerInstance"] != instance {
		t.Errorf("DiscoverPollEndpoint: %v", discover.in)
	}
	connect := s.expect("connect")
	<-connected
	for key, want := range map[string]string{"clusterArn": "default", "containerInstanceArn": instance, "agentVersion": "1.0",
		"protocolVersion": "2", "sendCredentials": "true", "seqNum": "1"} {
		if got := connect.query.Get(key); got != want {
			t.Errorf("connect: %s is %q, want %q", key, got, want)
		}
	}
	for _, part := range []string{"AWS4-HMAC-SHA256 Credential=AKID/", "/us-east-1/ecs/aws4_request", "SignedHeaders=host;x-amz-date;x-amz-security-token"} {
		if !strings.Contains(connect.auth, part) {
			t.Errorf("connect: authorization %q lacks %q", connect.auth, part)
		}
	}

	s.assign(web("RUNNING"))
	if ack := s.expect("AckRequest"); ack.in["messageId"] != "p-RUNNING" || ack.in["cluster"] != cluster || ack.in["containerInstance"] != instance {
		t.Errorf("ack %v", ack.in)
	}
	pending := s.expect("SubmitTaskStateChange", status("PENDING"))
	running := s.expect("SubmitTaskStateChange", status("RUNNING"))
	if pending.in["task"] != arnOf(1) || running.in["cluster"] != cluster {
		t.Errorf("reports %v and %v", pending.in, running.in)
	}
	c := running.in["containers"].([]any)[0].(map[string]any)
	binding := c["networkBindings"].([]any)[0].(map[string]any)
	if c["containerName"] != "web" || c["status"] != "RUNNING" || len(c["runtimeId"].(string)) != 64 ||
		!strings.HasPrefix(c["imageDigest"].(string), "sha256:") || binding["containerPort"] != 80.0 || binding["hostPort"].(float64) < 1024 ||
		binding["protocol"] != "tcp" {
		t.Errorf("RUNNING with container %v", c)
	}

	s.send(&protocol.Heartbeat{MessageID: "h-1", Healthy: true})
	if ack := s.expect("HeartbeatAckRequest"); ack.in["messageId"] != "h-1" {
		t.Errorf("heartbeat ack %v", ack.in)
	}
	s.assign(protocol.Task{ARN: arnOf(1), DesiredStatus: "STOPPED"})
	stopped := s.expect("SubmitTaskStateChange", status("STOPPED"))
	c = stopped.in["containers"].([]any)[0].(map[string]any)
	if c["exitCode"] != 0.0 || c["runtimeId"] == nil || stopped.in["executionStoppedAt"] == nil || stopped.in["pullStartedAt"] == nil {
		t.Errorf("STOPPED: %v", stopped.in)
	}
}

func checkRegistration(t *testing.T, register heard) {
	t.Helper()
	if register.in["cluster"] != "default" || register.in["containerInstanceArn"] != nil {
		t.Errorf("register: %v", register.in)
	}
	attributes := map[string]any{}
	for _, a := range register.in["attributes"].([]any) {
		a := a.(map[string]any)
		attributes[a["name"].(string)] = a["value"]
	}
	if attributes["ecs.os-type"] != "linux" || attributes["havn.every-cluster"] != "true" || len(attributes["havn.node-id"].(string)) < 16 {
		t.Errorf("register: attributes %v", attributes)
	}
	if _, there := attributes["ecs.capability.full-sync"]; !there {
		t.Error("register: no ecs.capability.full-sync")
	}
	resources := map[string]map[string]any{}
	for _, r := range register.in["totalResources"].([]any) {
		r := r.(map[string]any)
		resources[r["name"].(string)] = r
	}
	if resources["CPU"]["integerValue"].(float64) < 1024 || resources["MEMORY"]["integerValue"].(float64) < 64 ||
		!slices.Equal(resources["PORTS"]["stringSetValue"].([]any), []any{"22"}) || resources["PORTS_UDP"]["type"] != "STRINGSET" {
		t.Errorf("register: resources %v", resources)
	}
}

func TestARestartedServerIsFoundAndToldWhatHappenedMeanwhile(t *testing.T) {
	s := newServer(t)
	startNode(t, s, nil)
	s.expect("connect")
	job := web("RUNNING")
	job.Containers[0].Image = "job"
	s.assign(job)
	s.expect("SubmitTaskStateChange", status("RUNNING"))
	s.down() // the job ends while nobody listens
	s.listen(s.addr)
	s.expect("SubmitTaskStateChange", status("STOPPED"))
}

func TestAConnectionThatEndsIsMadeAgainWithoutRegistering(t *testing.T) {
	s := newServer(t)
	startNode(t, s, nil)
	s.expect("connect")
	s.mu.Lock()
	s.conn.CloseNow()
	s.mu.Unlock()
	again := s.expect("connect", func(h heard) bool {
		if h.what == "RegisterContainerInstance" {
			t.Error("it registered again")
		}
		return true
	})
	if got := again.query.Get("sendCredentials"); got != "false" {
		t.Errorf("sendCredentials is %s on the second connection", got)
	}
}

func TestARestartedAgentAdoptsItsTasks(t *testing.T) {
	s := newServer(t)
	n := startNode(t, s, nil)
	s.expect("connect")
	s.assign(web("RUNNING"))
	s.expect("SubmitTaskStateChange", status("RUNNING"))
	n.end()
	n.runtime = n.runtime.Reopen()
	n.start()
	register := s.expect("RegisterContainerInstance")
	if register.in["containerInstanceArn"] != instance {
		t.Errorf("it registers again as %v", register.in["containerInstanceArn"])
	}
	s.expect("connect")
	s.assign(web("RUNNING")) // the server says it again, as servers do
	s.expect("AckRequest")
	s.assign(protocol.Task{ARN: arnOf(1), DesiredStatus: "STOPPED"})
	s.expect("SubmitTaskStateChange", status("STOPPED"))
	if n.end(); n.runtime.Starts(arnOf(1), "web") != 1 {
		t.Errorf("the process was started %d times", n.runtime.Starts(arnOf(1), "web"))
	}
}

func TestAnAgentThatLostItsJournalCleansUp(t *testing.T) {
	s := newServer(t)
	n := startNode(t, s, nil)
	s.expect("connect")
	s.assign(web("RUNNING"))
	s.expect("SubmitTaskStateChange", status("RUNNING"))
	n.end()
	if err := os.WriteFile(filepath.Join(n.config.DataDir, "journal.db"), []byte(strings.Repeat("damaged", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.runtime = n.runtime.Reopen()
	n.start()
	s.expect("SubmitTaskStateChange", status("STOPPED"), func(h heard) bool { return h.in["task"] == arnOf(1) })
	if n.end(); len(n.runtime.Running(arnOf(1))) > 0 {
		t.Error("the task still runs")
	}
}

func TestAManifestStopsWhatTheServerConfirms(t *testing.T) {
	s := newServer(t)
	startNode(t, s, nil)
	s.expect("connect")
	s.assign(web("RUNNING"))
	s.expect("SubmitTaskStateChange", status("RUNNING"))
	s.send(&protocol.Manifest{MessageID: "m-1", ClusterARN: cluster, ContainerInstanceARN: instance, Timeline: 1})
	ask := s.expect("TaskStopVerificationMessage")
	if candidates := ask.in["stopCandidates"].([]any); ask.in["messageId"] != "m-1" || len(candidates) != 1 ||
		candidates[0].(map[string]any)["taskArn"] != arnOf(1) {
		t.Errorf("verification %v", ask.in)
	}
	s.send(&protocol.StopVerificationAck{MessageID: "m-1", StopTasks: []protocol.TaskIdentity{{TaskARN: arnOf(1), ClusterARN: cluster, DesiredStatus: "STOPPED"}}})
	s.expect("SubmitTaskStateChange", status("STOPPED"))
}

func TestAReportIsSentUntilItIsAccepted(t *testing.T) {
	s := newServer(t)
	failures := 3
	s.answer = func(operation string, in map[string]any) string {
		if operation == "SubmitTaskStateChange" && failures > 0 {
			failures--
			return "ServerException"
		}
		return ""
	}
	startNode(t, s, nil)
	s.expect("connect")
	s.assign(web("RUNNING"))
	s.expect("SubmitTaskStateChange refused", status("PENDING"))
	s.expect("SubmitTaskStateChange", status("PENDING"))
	s.expect("SubmitTaskStateChange", status("RUNNING"))
}

func TestAReportThatIsInvalidIsDropped(t *testing.T) {
	s := newServer(t)
	s.answer = func(operation string, in map[string]any) string {
		if operation == "SubmitTaskStateChange" && in["status"] == "PENDING" {
			return "InvalidParameterException"
		}
		return ""
	}
	startNode(t, s, nil)
	s.expect("connect")
	s.assign(web("RUNNING"))
	s.expect("SubmitTaskStateChange refused", status("PENDING"))
	if next := s.expect("SubmitTaskStateChange"); next.in["status"] != "RUNNING" {
		t.Errorf("told %v after an invalid report", next.in["status"])
	}
}

func TestANodeThatIsRefusedSaysWhy(t *testing.T) {
	s := newServer(t)
	s.answer = func(string, map[string]any) string { return "ClusterNotFoundException" }
	n := startNode(t, s, func(c *agent.Config) { c.Cluster = "nowhere" })
	select {
	case err := <-n.done:
		if err == nil || !strings.Contains(err.Error(), "nowhere") {
			t.Errorf("error %v", err)
		}
		n.done <- err
	case <-time.After(patience):
		t.Fatal("the agent goes on")
	}
}

func TestTheDefaultClusterIsMadeWhereItIsMissing(t *testing.T) {
	s := newServer(t)
	made := false
	s.answer = func(operation string, in map[string]any) string {
		switch operation {
		case "CreateCluster":
			made = true
		case "RegisterContainerInstance":
			if !made {
				return "ClusterNotFoundException"
			}
		}
		return ""
	}
	startNode(t, s, nil)
	if create := s.expect("CreateCluster"); create.in["clusterName"] != "default" {
		t.Errorf("made cluster %v", create.in)
	}
	s.expect("connect")
}

func TestAServerThatLostTheInstanceGetsANewOne(t *testing.T) {
	s := newServer(t)
	n := startNode(t, s, nil)
	s.expect("connect")
	n.end()
	s.mu.Lock()
	s.answer = func(operation string, in map[string]any) string {
		if operation == "RegisterContainerInstance" && in["containerInstanceArn"] != nil {
			return "InvalidParameterException"
		}
		return ""
	}
	s.mu.Unlock()
	n.start()
	s.expect("RegisterContainerInstance refused")
	s.expect("RegisterContainerInstance")
	s.expect("connect")
}

func TestARefusedHandshakeSendsTheNodeBackToRegister(t *testing.T) {
	s := newServer(t)
	s.refuse = `{"InvalidInstanceException":"not one of mine"}`
	startNode(t, s, nil)
	s.expect("connect refused")
	s.expect("RegisterContainerInstance")
	s.mu.Lock()
	s.refuse = ""
	s.mu.Unlock()
	s.expect("connect")
}

func TestAFrameThatCannotBeReadEndsTheConnectionOnly(t *testing.T) {
	s := newServer(t)
	startNode(t, s, nil)
	s.expect("connect")
	s.mu.Lock()
	err := s.conn.Write(t.Context(), websocket.MessageText, []byte("{nonsense"))
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	s.expect("connect")
	s.send(&protocol.Heartbeat{MessageID: "h"})
	s.expect("HeartbeatAckRequest")
}
