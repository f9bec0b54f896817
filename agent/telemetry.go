package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"havn/lifecycle"
	"havn/protocol"
)

// healthInterval is how often the health of all containers is told though it has not changed: the server
// may have lost it, or given up a write.
const healthInterval = time.Minute

// telemetry is the connection that tells the server of the health of containers and of the machine: all of it when
// it begins and now and then, and what changes at once. It lives as long as the connection for assignments does. No
// metrics are sent: nothing demands them.
type telemetry struct {
	session *session
	// all asks the loop for the health of all tasks that have any.
	all func(context.Context) []protocol.TaskHealth

	mu        sync.Mutex
	connected bool
	pending   map[string]protocol.TaskHealth // changed since it was told, by task ARN
	condition protocol.Condition             // of the machine; empty = not known yet
	changed   bool                           // the condition has, since it was told
	news      chan struct{}                  // holds one
}

func newTelemetry(s *session) *telemetry {
	return &telemetry{session: s, pending: map[string]protocol.TaskHealth{}, news: make(chan struct{}, 1)}
}

// note takes what has changed. While there is no connection it is dropped: the next one begins with everything.
func (t *telemetry) note(changed []protocol.TaskHealth) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.connected || len(changed) == 0 {
		return
	}
	for _, task := range changed {
		t.pending[task.TaskARN] = task
	}
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// noteCondition takes what is now known of the machine.
func (t *telemetry) noteCondition(c protocol.Condition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := protocol.Epoch{Time: time.Now()}
	c.Updated, c.LastChange = now, t.condition.LastChange
	if c.Status != t.condition.Status {
		c.LastChange, t.changed = now, true
		select {
		case t.news <- struct{}{}:
		default:
		}
	}
	t.condition = c
}

// takeCondition is what must be told of the machine: now and then all, else what has changed.
func (t *telemetry) takeCondition(all bool) (c protocol.Condition, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	due = t.condition.Status != "" && (all || t.changed)
	t.changed = t.changed && !due
	return t.condition, due
}

// connect forgets what was pending, and says whether there is somebody to tell.
func (t *telemetry) connect(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connected = yes
	clear(t.pending)
}

func (t *telemetry) take() []protocol.TaskHealth {
	t.mu.Lock()
	defer t.mu.Unlock()
	var changed []protocol.TaskHealth
	for _, arn := range slices.Sorted(maps.Keys(t.pending)) {
		changed = append(changed, t.pending[arn])
	}
	clear(t.pending)
	return changed
}

// run keeps the connection until ctx ends.
func (t *telemetry) run(ctx context.Context, endpoint string) {
	var wait backoff
	for ctx.Err() == nil {
		begun := time.Now()
		err := t.once(ctx, endpoint)
		if ctx.Err() != nil {
			return
		}
		t.session.log.Debug("telemetry connection ended", "error", err)
		sleep(ctx, wait.next(err, time.Since(begun)))
	}
}

func (t *telemetry) once(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u, err := t.url(endpoint)
	if err != nil {
		return err
	}
	conn, err := t.session.dial(ctx, u)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	t.connect(true)
	defer t.connect(false)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	failed := make(chan error, 1)
	wg.Go(func() {
		silence := heartbeatTimeout + rand.N(heartbeatJitter)
		for { // what the server says matters only in that it says something
			m, err := read(ctx, conn, silence)
			if f, ok := m.(*protocol.Failure); ok && err == nil {
				err = failureError{f}
			}
			if err != nil {
				failed <- err
				return
			}
		}
	})
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for tasks, all := t.all(ctx), true; ; {
		if err := t.publishHealth(ctx, conn, u, tasks); err != nil {
			return err
		}
		if c, due := t.takeCondition(all); due {
			if err := t.publish(ctx, conn, u, t.conditionReport(c)); err != nil {
				return err
			}
		}
		select {
		case err := <-failed:
			return err
		case <-t.news:
			tasks, all = t.take(), false
		case <-tick.C:
			tasks, all = t.all(ctx), true
		}
	}
}

func (t *telemetry) url(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("cannot use telemetry endpoint %q: %w", endpoint, err)
	}
	s := t.session
	u.Path = strings.TrimSuffix(u.Path, "/") + "/ws"
	u.RawQuery = url.Values{
		"agentHash":         {"havn"},
		"agentVersion":      {s.config.Version},
		"cluster":           {s.config.clusterName()},
		"containerInstance": {s.instance},
		"dockerVersion":     {s.config.RuntimeVersion},
	}.Encode()
	return u, nil
}

// publishHealth tells of tasks, a few in each message.
func (t *telemetry) publishHealth(ctx context.Context, conn *websocket.Conn, u *url.URL, tasks []protocol.TaskHealth) error {
	for len(tasks) > 0 {
		some := tasks[:min(len(tasks), protocol.MaxHealthTasks)]
		tasks = tasks[len(some):]
		if err := t.publish(ctx, conn, u, &protocol.HealthReport{Tasks: some, Timestamp: protocol.Epoch{Time: time.Now()},
			Metadata: protocol.HealthMetadata{Cluster: t.session.config.clusterName(), ContainerInstance: t.session.instance,
				MessageID: uuid.NewString(), Fin: len(tasks) == 0}}); err != nil {
			return err
		}
	}
	return nil
}

func (t *telemetry) conditionReport(c protocol.Condition) *protocol.ConditionReport {
	return &protocol.ConditionReport{Statuses: []protocol.Condition{c}, Timestamp: protocol.Epoch{Time: time.Now()},
		Metadata: protocol.ConditionMetadata{Cluster: t.session.config.clusterName(), ContainerInstance: t.session.instance,
			RequestID: uuid.NewString()}}
}

func (t *telemetry) publish(ctx context.Context, conn *websocket.Conn, u *url.URL, m protocol.Message) error {
	body, err := protocol.Encode(m)
	if err != nil {
		return err
	}
	frame, err := t.signed(ctx, u, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, frame); err != nil {
		return fmt.Errorf("cannot send telemetry: %w", err)
	}
	return nil
}

// signed puts before a message the headers that sign it, as if it were the body of the handshake's request.
func (t *telemetry) signed(ctx context.Context, u *url.URL, body []byte) ([]byte, error) {
	sum := sha256.Sum256(body)
	header, err := t.session.sign(ctx, u, hex.EncodeToString(sum[:]))
	if err != nil {
		return nil, err
	}
	header.Set("Host", u.Host)
	var b bytes.Buffer
	if err := header.Write(&b); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes(), nil
}

// healthOf is what the server is told of a task; false if none of its containers has a health check, or all
// is over.
func healthOf(arn string, t *task) (protocol.TaskHealth, bool) {
	h := protocol.TaskHealth{TaskARN: arn, ClusterARN: t.doc.ClusterARN, Family: t.doc.Family, Version: t.doc.Version}
	for _, c := range t.life.Containers {
		if !c.Check.On() || c.StartedAt.IsZero() {
			continue
		}
		one := protocol.ContainerHealth{Name: c.Name, Status: string(cmp.Or(c.Health.Status, lifecycle.UnknownHealth)),
			Message: lifecycle.Clip(c.Health.Output)}
		if !c.Health.Since.IsZero() {
			one.Since = protocol.Epoch{Time: c.Health.Since}
		}
		h.Containers = append(h.Containers, one)
	}
	return h, len(h.Containers) > 0 && t.life.Last != lifecycle.Stopped
}

// Health is what the server is told of all tasks now and then.
func (c *Core) Health() []protocol.TaskHealth {
	var all []protocol.TaskHealth
	for _, arn := range c.ARNs() {
		if h, any := healthOf(arn, c.tasks[arn]); any {
			all = append(all, h)
		}
	}
	return all
}
