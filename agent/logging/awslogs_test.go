package logging

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
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
	told    chan struct{}       // when a put has been taken
	hold    chan struct{}       // its answer comes when this is closed; nil: at once
	refused string              // a put with an event that has this is refused
}

func (c *cloudWatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	type event struct{ Message string }
	var in struct {
		LogGroupName, LogStreamName string
		LogEvents                   []event
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
	case c.refused != "" && slices.ContainsFunc(in.LogEvents, func(e event) bool { return strings.Contains(e.Message, c.refused) }):
		refuse("InvalidParameterException", "Log event too large")
		return
	default:
		for _, e := range in.LogEvents {
			c.streams[stream] = append(c.streams[stream], e.Message)
		}
		c.told <- struct{}{}
		if c.hold != nil {
			<-c.hold
		}
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
	if got := cloud.got("g s"); got != "one|two|three|four" {
		t.Errorf("got %s", got)
	}
	before := cloud.got("g s")
	if err := s.Drain(t.Context(), c); err != nil || cloud.got("g s") != before {
		t.Errorf("what was shipped is shipped again: %s, %v", cloud.got("g s"), err)
	}
}

// Of a container that ends while a put is under way every line arrives once.
func TestAWSLogsSendsNothingTwiceWhenAContainerEnds(t *testing.T) {
	cloud, s := newCloudWatch(t)
	c := container(t, "awslogs", map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream": "s", "awslogs-create-group": "true"})
	var want []string
	for i := range 100 {
		answer := make(chan struct{})
		cloud.mu.Lock()
		cloud.hold = answer
		cloud.mu.Unlock()
		before, after := fmt.Sprint("before ", i), fmt.Sprint("after ", i)
		want = append(want, before, before, after)
		logOf(t, c, before+"\n"+before+"\n")
		ctx, kill := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Ship(ctx, c) }()
		<-cloud.told
		logOf(t, c, after+"\n")
		kill()
		close(answer)
		<-ended
		if err := s.Drain(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		<-cloud.told
	}
	if got := cloud.got("g s"); got != strings.Join(want, "|") {
		t.Errorf("got %s", got)
	}
}

// Of a put that is refused for some of its events, the others arrive.
func TestAWSLogsLeavesOutOnlyWhatIsRefused(t *testing.T) {
	for name, one := range map[string]struct {
		refused func(i int) bool
		most    int // that many lines are left out
	}{
		"the first": {func(i int) bool { return i == 0 }, 1},
		"some":      {func(i int) bool { return i%100 == 37 }, 5},
		"all":       {func(i int) bool { return true }, 500},
	} {
		cloud, s := newCloudWatch(t)
		said := make(chan string, 1000)
		s.config.Log = slog.New(complaints{slog.DiscardHandler, said})
		cloud.refused = "bad"
		c := container(t, "awslogs", map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream": "s", "awslogs-create-group": "true"})
		var lines, want []string
		for i := range 500 {
			line := fmt.Sprint("good ", i)
			if one.refused(i) {
				line = "bad"
			} else {
				want = append(want, line)
			}
			lines = append(lines, line)
		}
		logOf(t, c, strings.Join(lines, "\n"))
		if err := s.Drain(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := cloud.got("g s"); got != strings.Join(want, "|") {
			t.Errorf("%s: got %s", name, got)
		}
		close(said)
		var complaints []string
		for text := range said {
			complaints = append(complaints, text)
		}
		if len(complaints) == 0 || len(complaints) > min(one.most, mostParts) || !strings.Contains(complaints[0], "Log event too large") ||
			!strings.Contains(complaints[0], "stream=s") || strings.Contains(complaints[0], "bad") {
			t.Errorf("%s: it says %q", name, complaints)
		}
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
