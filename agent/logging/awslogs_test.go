package logging

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// cloudWatch is a server that speaks as much of CloudWatch Logs as awslogs needs.
type cloudWatch struct {
	mu      sync.Mutex
	groups  map[string]bool
	streams map[string][]string // messages by GROUP STREAM
	failing int                 // so many further puts get no answer that helps
	told    chan struct{}       // after each put
}

func (c *cloudWatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var in struct {
		LogGroupName, LogStreamName string
		LogEvents                   []struct{ Message string }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	refuse := func(code, message string) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
	}
	stream := in.LogGroupName + " " + in.LogStreamName
	_, there := c.streams[stream]
	switch operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "Logs_20140328."); {
	case operation == "CreateLogGroup":
		c.groups[in.LogGroupName] = true
	case !c.groups[in.LogGroupName]:
		refuse("ResourceNotFoundException", "The specified log group does not exist.")
		return
	case operation == "CreateLogStream" && there:
		refuse("ResourceAlreadyExistsException", "The specified log stream already exists")
		return
	case operation == "CreateLogStream":
		c.streams[stream] = nil
	case c.failing > 0:
		c.failing--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	default:
		for _, e := range in.LogEvents {
			c.streams[stream] = append(c.streams[stream], e.Message)
		}
		defer func() { c.told <- struct{}{} }()
	}
	io.WriteString(w, "{}")
}

func (c *cloudWatch) got(stream string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.streams[stream], "|")
}

func newCloudWatch(t *testing.T) (*cloudWatch, *Shipper) {
	c := &cloudWatch{groups: map[string]bool{}, streams: map[string][]string{}, told: make(chan struct{}, 1000)}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	s, err := NewShipper(Config{Endpoint: server.URL, Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c, s
}

func TestAWSLogsGoesOnAfterAKill(t *testing.T) {
	cloud, s := newCloudWatch(t)
	c := container(t, "awslogs", map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream": "s", "awslogs-create-group": "true"})
	if err := s.Prepare(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	cloud.failing = 1
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Ship(ctx, c) }()
	logOf(t, c, "one\ntwo\n") // while it looks
	<-cloud.told
	kill()
	<-ended
	logOf(t, c, "three\n\nfour") // while nobody looks
	if err := s.Drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// A cursor that was not written sends some twice; none is left out.
	if got := cloud.got("g s"); got != "one|two|three|four" && got != "one|two|one|two|three|four" {
		t.Errorf("got %s", got)
	}
	before := cloud.got("g s")
	if err := s.Drain(t.Context(), c); err != nil || cloud.got("g s") != before {
		t.Errorf("what was shipped is shipped again: %s, %v", cloud.got("g s"), err)
	}
}

func TestAWSLogsWithoutItsGroup(t *testing.T) {
	cloud, s := newCloudWatch(t)
	c := container(t, "awslogs", map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream": "s"})
	err := s.Prepare(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException: The specified log group does not exist.") ||
		!strings.HasPrefix(err.Error(), "failed to initialize logging driver: failed to create Cloudwatch log stream: ") {
		t.Errorf("got %v", err)
	}
	cloud.groups["g"] = true
	if err := s.Prepare(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := s.Prepare(t.Context(), c); err != nil { // the stream is there
		t.Error(err)
	}
	c.Config.Config["awslogs-endpoint"] = "http://127.0.0.1:1"
	if err := s.Prepare(t.Context(), c); err != nil {
		t.Errorf("a destination that does not answer keeps the container from starting: %v", err)
	}
}

// A blocking spool is emptied while it ships: the Writer would wait for ever otherwise.
func TestABlockingLogIsShipped(t *testing.T) {
	cloud, s := newCloudWatch(t)
	c := container(t, "awslogs", map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream": "s",
		"awslogs-create-group": "true", "mode": "blocking", "max-buffer-size": "64k"})
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Ship(ctx, c) }()
	line := strings.Repeat("x", 1000)
	logOf(t, c, strings.Repeat(line+"\n", 500)) // several times what the spool holds
	kill()
	<-ended
	if err := s.Drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(cloud.got("g s"), line); n < 500 {
		t.Errorf("%d lines have arrived", n)
	}
}
