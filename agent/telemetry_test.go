package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"havn/agent"
	"havn/protocol"
	"havn/sim"
)

// serveTCS hears telemetry until the agent goes away.
func (s *server) serveTCS(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		s.Errorf("accept: %v", err)
		return
	}
	s.mu.Lock()
	s.tcs = conn
	s.mu.Unlock()
	s.heard <- heard{what: "telemetry", query: r.URL.Query(), auth: r.Header.Get("Authorization")}
	for {
		_, frame, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		head, body, found := bytes.Cut(frame, []byte("\r\n\r\n"))
		var e struct {
			Type    string
			Message map[string]any
		}
		if err := json.Unmarshal(body, &e); err != nil || !found {
			s.Errorf("frame %s: %v", frame, err)
		}
		s.heard <- heard{what: e.Type, in: e.Message, auth: string(head)}
	}
}

// healthIs: the first container of the first task.
func healthIs(want string) func(heard) bool {
	return func(h heard) bool {
		task := h.in["tasks"].([]any)[0].(map[string]any)
		c := task["containers"].([]any)[0].(map[string]any)
		return task["taskArn"] == arnOf(1) && c["containerName"] == "web" && c["healthStatus"] == want
	}
}

func TestHealthIsToldWhenItChangesAndWhenAConnectionBegins(t *testing.T) {
	s := newServer(t)
	startNode(t, s, nil)
	s.expect("connect")
	telemetry := s.expect("telemetry")
	if telemetry.query.Get("cluster") != "default" || telemetry.query.Get("containerInstance") != instance || !strings.Contains(telemetry.auth, "/ecs/aws4_request") {
		t.Errorf("telemetry: %v, %q", telemetry.query, telemetry.auth)
	}
	doc := web("RUNNING")
	doc.Containers[0].DockerConfig = &protocol.DockerConfig{Config: `{"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000}}`}
	s.assign(doc)
	s.expect("SubmitTaskStateChange", status("RUNNING"))
	told := s.expect("PublishHealthRequest", healthIs("HEALTHY"))
	for _, header := range []string{"Authorization: AWS4-HMAC-SHA256 ", "Host: " + s.addr, "X-Amz-Date: ", "X-Amz-Security-Token: TOKEN"} {
		if !strings.Contains(told.auth, header) {
			t.Errorf("the frame's headers are %q, without %q", told.auth, header)
		}
	}
	task := told.in["tasks"].([]any)[0].(map[string]any)
	c := task["containers"].([]any)[0].(map[string]any)
	if since, ok := c["statusSince"].(float64); !ok || since < 1e9 || c["statusMessage"] != "exit 0" || task["taskDefinitionFamily"] != "web" {
		t.Errorf("told %v", told.in)
	}
	if about := told.in["metadata"].(map[string]any); about["containerInstance"] != instance || about["fin"] != true {
		t.Errorf("told by %v", about)
	}

	s.mu.Lock()
	s.tcs.CloseNow()
	s.mu.Unlock()
	s.expect("telemetry") // again, though the other connection is still there
	s.expect("PublishHealthRequest", healthIs("HEALTHY"))
}

// cramped is a Runtime on a disk that is full.
type cramped struct{ agent.Runtime }

func (cramped) Housekeep(context.Context, time.Time) (full bool, err error) { return true, nil }

func TestAFullDiskIsTold(t *testing.T) {
	s := newServer(t)
	startNode(t, s, func(c *agent.Config) {
		c.Runtime = cramped{sim.NewRuntime(sim.RuntimeConfig{Seed: 1, Programs: programs})}
	})
	told := s.expect("PublishInstanceStatusRequest")
	if about := told.in["metadata"].(map[string]any); about["containerInstance"] != instance || about["requestId"] == "" {
		t.Errorf("told by %v", about)
	}
	one := told.in["statuses"].([]any)[0].(map[string]any)
	if one["type"] != "ContainerRuntime" || one["status"] != "IMPAIRED" || one["statusReason"] != "the disk is full" || one["lastUpdated"].(float64) < 1e9 {
		t.Errorf("told %v", one)
	}
}
