package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/coder/websocket"

	"havn/protocol"
)

const (
	callTimeout    = 30 * time.Second
	connectTimeout = 30 * time.Second
	writeTimeout   = 30 * time.Second
	// The agent hangs up when it has heard nothing for the first, and up to the second longer.
	heartbeatTimeout = time.Minute
	heartbeatJitter  = time.Minute
	// inactiveWait is how long an agent whose instance was deregistered waits before it asks again.
	inactiveWait = time.Hour
	// maxReplies is how many messages to the server may wait for the connection.
	maxReplies = 1024

	sha256OfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// session keeps a connection to the server:
//
//	register --> discover --> connect --> serve
//	                ^            |          |
//	                |    failed  |          | closed, silent
//	                +-- backoff <+----------+
//
// A server that says that it does not know the instance sends the agent back to register; one that says
// it was deregistered is left alone for an hour.
type session struct {
	config  *Config
	nodeID  string
	journal *journal
	api     *ecs.Client
	log     *slog.Logger

	instance  string // ARN
	endpoint  string // of ACS; empty = ask
	telemetry *telemetry
	tcs       string // the endpoint of TCS; empty = the server has none
	receive   func(context.Context, protocol.Message)
	anew      func(context.Context) // called when the node has become another instance
	out       chan protocol.Message
	connected signal
	greeted   bool // connected once in this process

	complaint    string // logged last
	complainedAt time.Time
}

func newSession(c *Config, nodeID string, j *journal) *session {
	s := &session{config: c, nodeID: nodeID, journal: j, log: c.Log, out: make(chan protocol.Message, maxReplies),
		api: ecs.New(ecs.Options{
			BaseEndpoint: aws.String(c.Server),
			Region:       c.Region,
			Credentials:  c.Credentials,
			Retryer:      aws.NopRetryer{}, // who calls knows better when to try again
			AppID:        "havn-agent",
		})}
	s.telemetry = newTelemetry(s)
	return s
}

// reply sends a message on the connection, if there is one. What is lost with a connection the server
// asks for again.
func (s *session) reply(m protocol.Message) {
	select {
	case s.out <- m:
	default:
		s.log.Warn("a message to the server is dropped: too many wait", "type", protocol.Kind(m))
	}
}

// run returns when ctx has ended, or with the reason why no server will have this node.
func (s *session) run(ctx context.Context) error {
	var wait backoff
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errRefused) && !s.greeted {
			return err
		}
		var told failureError
		if errors.As(err, &told) {
			switch told.Name {
			case protocol.InactiveInstance:
				s.log.Warn("the container instance was deregistered; the node stays away", "message", told.Message, "again", inactiveWait)
				sleep(ctx, inactiveWait)
				s.instance = ""
				continue
			case protocol.InvalidInstance, protocol.InvalidCluster:
				s.instance = "" // register again
			}
		}
		delay := wait.next(err, time.Since(begun))
		s.logFailure(err)
		sleep(ctx, delay)
	}
	return nil
}

// logFailure says once what stands in the way, and then once a minute: a server on this machine
// is looked for many times a second.
func (s *session) logFailure(err error) {
	now := time.Now()
	if err.Error() != s.complaint || now.Sub(s.complainedAt) >= time.Minute {
		s.complaint, s.complainedAt = err.Error(), now
		s.log.Warn("not connected to the server, and trying", "error", err)
	}
}

// once goes as far as it can: registers and discovers if that is due, connects, serves.
func (s *session) once(ctx context.Context) error {
	if s.instance == "" {
		if err := s.register(ctx); err != nil {
			return err
		}
		s.endpoint = ""
	}
	if s.endpoint == "" {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		out, err := s.api.DiscoverPollEndpoint(callCtx, &ecs.DiscoverPollEndpointInput{
			Cluster: aws.String(s.config.clusterName()), ContainerInstance: aws.String(s.instance)})
		cancel()
		if err != nil {
			return fmt.Errorf("cannot discover where to connect: %w", err)
		}
		s.endpoint, s.tcs = aws.ToString(out.Endpoint), aws.ToString(out.TelemetryEndpoint)
	}
	conn, err := s.connect(ctx)
	if err != nil {
		s.endpoint = "" // it may have moved
		return err
	}
	return s.serve(ctx, conn)
}

func (s *session) connect(ctx context.Context) (*websocket.Conn, error) {
	u, err := url.Parse(s.endpoint)
	if err != nil {
		return nil, fmt.Errorf("cannot use endpoint %q: %w", s.endpoint, err)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/ws"
	u.RawQuery = url.Values{
		"agentHash":            {"havn"},
		"agentVersion":         {s.config.Version},
		"clusterArn":           {s.config.clusterName()},
		"containerInstanceArn": {s.instance},
		"dockerVersion":        {"DockerVersion: " + s.config.RuntimeVersion},
		"protocolVersion":      {"2"},
		"sendCredentials":      {strconv.FormatBool(!s.greeted)},
		"seqNum":               {"1"},
	}.Encode()
	return s.dial(ctx, u)
}

// dial makes a signed handshake. A refusal that names an exception is a failureError.
func (s *session) dial(ctx context.Context, u *url.URL) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	header, err := s.sign(ctx, u, sha256OfNothing)
	if err != nil {
		return nil, err
	}
	conn, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		if resp != nil {
			defer resp.Body.Close()
			if f := refusedHandshake(resp.Body); f != nil {
				return nil, failureError{f}
			}
		}
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	conn.SetReadLimit(protocol.MaxFrame)
	return conn, nil
}

// sign returns the headers that sign the GET of the handshake, with a body of that SHA-256.
func (s *session) sign(ctx context.Context, u *url.URL, sum string) (http.Header, error) {
	credentials, err := s.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot get credentials: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot use endpoint: %w", err)
	}
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, sum, "ecs", s.config.Region, time.Now()); err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	return req.Header, nil
}

// serve reads and writes until one of the two fails.
func (s *session) serve(ctx context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.CloseNow()
	for len(s.out) > 0 {
		<-s.out // meant for an earlier connection
	}
	s.greeted = true
	s.log.Info("connected to the server", "endpoint", s.endpoint, "containerInstance", s.instance)
	s.connected.send()
	if s.config.Connected != nil {
		s.config.Connected()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		s.write(ctx, conn)
	})
	if s.tcs != "" {
		wg.Go(func() { s.telemetry.run(ctx, s.tcs) })
	}
	silence := heartbeatTimeout + rand.N(heartbeatJitter)
	for {
		m, err := read(ctx, conn, silence)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case nil:
		case *protocol.Failure:
			return failureError{m}
		default:
			s.receive(ctx, m)
		}
	}
}

// read returns the next message; nil if it is one that this version does not know.
func read(ctx context.Context, conn *websocket.Conn, silence time.Duration) (protocol.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_, frame, err := conn.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("connection ended: %w", err)
	}
	m, err := protocol.Decode(frame)
	if err != nil {
		return nil, fmt.Errorf("cannot understand the server: %w", err)
	}
	return m, nil
}

func (s *session) write(ctx context.Context, conn *websocket.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.out:
			frame, err := protocol.Encode(m)
			if err != nil {
				s.log.Error("cannot send", "error", err)
				continue
			}
			writeCtx, cancel := context.WithTimeout(ctx, writeTimeout)
			err = conn.Write(writeCtx, websocket.MessageText, frame)
			cancel()
			if err != nil {
				return
			}
		}
	}
}

// failureError is an exception that the server sent.
type failureError struct{ *protocol.Failure }

func (f failureError) Error() string { return f.Name + ": " + f.Message }

// refusedHandshake finds the exception in the body of a refused handshake: {"NAME": "text"}, or in an
// envelope.
func refusedHandshake(body io.Reader) *protocol.Failure {
	b, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil {
		return nil
	}
	if m, err := protocol.Decode(b); err == nil {
		if f, ok := m.(*protocol.Failure); ok {
			return f
		}
	}
	var named map[string]json.RawMessage
	if json.Unmarshal(b, &named) != nil {
		return nil
	}
	for name, text := range named {
		m, err := protocol.Decode([]byte(`{"type":` + strconv.Quote(name) + `}`))
		if f, ok := m.(*protocol.Failure); ok && err == nil {
			_ = json.Unmarshal(text, &f.Message)
			return f
		}
	}
	return nil
}

// backoff is the delay before the next connection. It is short at first, so that a server that was only
// restarted is found at once; and on this machine, where a refused connection costs nothing, it stays so.
type backoff struct{ delay time.Duration }

const (
	firstDelay    = 25 * time.Millisecond
	lastDelay     = 2 * time.Minute
	loopbackDelay = 50 * time.Millisecond
	longEnough    = 10 * time.Second // a connection that lasted this long was a good one
)

func (b *backoff) next(err error, lasted time.Duration) time.Duration {
	if lasted > longEnough || b.delay == 0 {
		b.delay = firstDelay
	} else {
		b.delay = min(b.delay*3/2, lastDelay)
	}
	delay := b.delay
	if nobodyHere(err) {
		delay = min(delay, loopbackDelay)
	}
	return delay*9/10 + rand.N(delay/5+1)
}

// nobodyHere reports whether a connection to this machine itself was refused by the kernel.
func nobodyHere(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return false
	}
	addr, ok := op.Addr.(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// signal wakes all who wait.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
