package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"havn/protocol"
	"havn/state"
)

const (
	// telemetryInterval is how often the server says something on a telemetry connection. An agent with
	// nothing to measure may be silent for ever, so that a ping tells whether it is there.
	telemetryInterval = 20 * time.Second
	pongTimeout       = 20 * time.Second
)

// report is a telemetry message.
type report struct {
	Type    string          `json:"type"`
	Message json.RawMessage `json:"message"`
}

// decodeReport takes a telemetry message out of its frame: header lines, an empty line, JSON. The headers
// sign the JSON once more; the handshake has been verified, so they are not looked at, and a frame without
// them will do.
func decodeReport(frame []byte) (report, error) {
	var r report
	body := bytes.TrimSpace(frame)
	if !bytes.HasPrefix(body, []byte("{")) {
		var found bool
		if _, body, found = bytes.Cut(frame, []byte("\r\n\r\n")); !found {
			return r, errors.New("cannot decode telemetry: no empty line after the headers")
		}
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("cannot decode telemetry: %w", err)
	}
	return r, nil
}

// receipt is the type of the message that acknowledges a report; empty where there is none.
func receipt(r report) string {
	switch r.Type {
	case "PublishMetricsRequest":
		return "AckPublishMetric"
	case "PublishHealthRequest":
		return "AckPublishHealth"
	case "PublishInstanceStatusRequest":
		return "AckPublishInstanceStatus"
	}
	return ""
}

func (s *Server) serveTCS(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	hello := Hello{Instance: q.Get("containerInstance"), Cluster: q.Get("cluster")}
	conn, ctx, done := s.accept(w, r, hello, &s.tcs)
	if conn == nil {
		return
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		err := s.pulse(ctx, conn, hello)
		s.config.Log.Debug("telemetry connection ends", "instance", hello.Instance, "why", err)
	}()
	err := s.readReports(ctx, conn, hello)
	s.config.Log.Debug("telemetry connection ended", "instance", hello.Instance, "why", err)
}

func (s *Server) readReports(ctx context.Context, conn *websocket.Conn, h Hello) error {
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		r, err := decodeReport(frame)
		if err != nil {
			s.config.Log.Warn("ignored telemetry", "error", err)
			continue
		}
		switch r.Type {
		case "PublishHealthRequest":
			s.observe(ctx, h, r.Message)
		case "PublishInstanceStatusRequest":
			s.observeCondition(ctx, h, r.Message)
		}
		if kind := receipt(r); kind != "" {
			if err := writeText(ctx, conn, fmt.Sprintf(`{"type":%q,"message":{"message":"ok"}}`, kind)); err != nil {
				return err
			}
		}
	}
}

// observe writes down what a report says of health. A write that fails is not tried again: the report is
// repeated.
func (s *Server) observe(ctx context.Context, h Hello, message json.RawMessage) {
	tasks, err := decodeHealth(message)
	if err != nil {
		s.config.Log.Warn("ignored what a report of health says", "instance", h.Instance, "error", err)
	}
	if len(tasks) == 0 {
		return
	}
	err = s.config.Store.Update(ctx, func(tx *state.Tx) error {
		_, n, err := admit(tx, h)
		if err != nil {
			return err
		}
		ObserveHealth(tx, n.ID, tasks)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.config.Log.Warn("cannot note the health of tasks", "instance", h.Instance, "error", err)
	}
}

// observeCondition writes down what a report says of the machine, likewise.
func (s *Server) observeCondition(ctx context.Context, h Hello, message json.RawMessage) {
	c, told, err := decodeCondition(message)
	if err != nil {
		s.config.Log.Warn("ignored what a report says of a machine", "instance", h.Instance, "error", err)
	}
	if !told {
		return
	}
	now := time.Now()
	err = s.config.Store.Update(ctx, func(tx *state.Tx) error {
		_, n, err := admit(tx, h)
		if err != nil {
			return err
		}
		ObserveCondition(tx, n.ID, c, now)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.config.Log.Warn("cannot note the condition of a machine", "instance", h.Instance, "error", err)
	}
}

// pulse keeps both ends sure of each other, and ends the connection of an instance that is no longer one.
func (s *Server) pulse(ctx context.Context, conn *websocket.Conn, h Hello) error {
	tick := time.NewTicker(telemetryInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		s.config.Store.View(func(r *state.Reader) { _, _, err = admit(r, h) })
		if err != nil {
			conn.Close(websocket.StatusPolicyViolation, "the container instance is no longer registered") //nolint:errcheck
			return err
		}
		if err := write(ctx, conn, &protocol.Heartbeat{Healthy: true}); err != nil {
			return err
		}
		pong, cancel := context.WithTimeout(ctx, pongTimeout)
		err = conn.Ping(pong)
		cancel()
		if err != nil {
			return err
		}
	}
}

func writeText(ctx context.Context, conn *websocket.Conn, frame string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, []byte(frame))
}
