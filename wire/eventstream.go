package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/aws/smithy-go/eventstream"
)

// streamContentType is how an answer is written that goes on: a sequence of framed messages (smithy, "Amazon event
// stream specification"). The first is the operation's output, and then comes one for each event.
const streamContentType = "application/vnd.amazon.eventstream"

// messageTimeout is how long a caller may take to take one message. A caller that does not read would otherwise hold
// what the handler holds.
const messageTimeout = 30 * time.Second

// settleTime is how long the first byte of a stream is held back. smithy-go closes a request's body as soon as the answer
// begins (transport/http, ClientHandler), and Go's transport, if it is just then looking whether the body is at its
// end, takes that for a failure to send it and closes the connection under the stream. AWS is too far away for that to
// happen; a server on the same machine is not.
const settleTime = 10 * time.Millisecond

// HandleStream is Handle for an operation whose answer goes on: after the output, the caller gets each event that the
// handler's sequence yields. Event is the SDK's union of events, such as types.StartLiveTailResponseStream.
//
// The sequence is run in the goroutine of the request, and its context ends when the caller has gone. An error ends it:
// an exception of the SDK's reaches the caller as one, any other is a fault of ours. Only AWS JSON can do this.
func HandleStream[In, Out, Event any](a *API, h func(context.Context, *In) (*Out, iter.Seq2[Event, error], error)) {
	if _, ok := a.Dialect.(awsJSON); !ok {
		panic(fmt.Sprintf("wire: the dialect of %s has no event streams", a.Name))
	}
	a.codec.shapes = a.Shapes
	a.handle(operation{
		newInput: func() any { return new(In) },
		call: func(ctx context.Context, in any) (any, error) {
			out, events, err := h(ctx, in.(*In))
			if err != nil {
				return nil, err
			}
			if out == nil {
				out = new(Out)
			}
			return &streamed{out, func(yield func(any, error) bool) {
				for event, err := range events {
					if !yield(event, err) {
						return
					}
				}
			}}, nil
		},
		event: a.codec.eventPlan(reflect.TypeFor[Event]()),
	}, reflect.TypeFor[In](), reflect.TypeFor[Out]())
}

// streamed is what the handler of an operation with a stream has returned.
type streamed struct {
	out    any
	events iter.Seq2[any, error]
}

// eventPlan is the plan of a union of events.
func (c *codec) eventPlan(t reflect.Type) *valuePlan {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.value(t)
	if p.kind != kindUnion || len(p.members) == 0 {
		panic(fmt.Sprintf("wire: %s is no union of events", t))
	}
	return p
}

// stream is an answer on its way out, message by message.
type stream struct {
	w       http.ResponseWriter
	conn    *http.ResponseController
	encoder *eventstream.Encoder
	frame   bytes.Buffer
	body    []byte
}

// sendStream writes the whole answer to a call. Whoever calls has written nothing yet.
func (s *Server) sendStream(w http.ResponseWriter, r *http.Request, c *call, op *operation, answer *streamed) {
	out := &stream{w: w, conn: http.NewResponseController(w), encoder: eventstream.NewEncoder()}
	h := w.Header()
	h["X-Amzn-Requestid"] = []string{c.id}
	h["Content-Type"] = []string{streamContentType}
	select {
	case <-time.After(settleTime):
	case <-r.Context().Done():
		return
	}
	w.WriteHeader(http.StatusOK)
	err := s.sendEvents(out, op, answer)
	defer out.conn.SetWriteDeadline(time.Time{}) //nolint:errcheck // for the next call on the connection, if there is one
	if err == nil || r.Context().Err() != nil || errors.Is(err, errGone) {
		return
	}
	ans, known := op.api.answerTo(err)
	if !known {
		s.log.LogAttrs(r.Context(), slog.LevelError, "stream failed", slog.String("api", op.api.Name),
			slog.String("operation", c.name), slog.String("request", c.id), slog.String("error", err.Error()))
	}
	out.exception(op.api, ans) //nolint:errcheck // the caller has gone, and this was the last message
}

// errGone says that the caller does not take any more.
var errGone = errors.New("the caller has gone")

func (s *Server) sendEvents(out *stream, op *operation, answer *streamed) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	body, err := appendJSONStruct(nil, op.output, reflect.ValueOf(answer.out).Elem())
	if err != nil {
		return err
	}
	if err := out.event("initial-response", body); err != nil {
		return err
	}
	for event, err := range answer.events {
		if err != nil {
			return err
		}
		member, value := op.event.unionMember(reflect.ValueOf(&event).Elem())
		if member == nil {
			return fmt.Errorf("cannot write %T: not an event of %s", event, op.name)
		}
		if out.body, err = appendJSON(out.body[:0], member.value, value); err != nil {
			return err
		}
		if err := out.event(member.key, out.body); err != nil {
			return err
		}
	}
	return nil
}

func (out *stream) event(name string, body []byte) error {
	return out.send(body, eventstream.MessageTypeHeader, eventstream.EventMessageType, eventstream.EventTypeHeader, name)
}

func (out *stream) exception(a *API, ans answer) error {
	body, err := AWSJSON.encodeError(nil, a, ans, "")
	if err != nil {
		return err
	}
	return out.send(body, eventstream.MessageTypeHeader, eventstream.ExceptionMessageType, eventstream.ExceptionTypeHeader, ans.code)
}

// send writes one message with its headers, in pairs of name and text.
func (out *stream) send(body []byte, headers ...string) error {
	m := eventstream.Message{Payload: body}
	for i := 0; i < len(headers); i += 2 {
		m.Headers.Set(headers[i], eventstream.StringValue(headers[i+1]))
	}
	m.Headers.Set(eventstream.ContentTypeHeader, eventstream.StringValue("application/json"))
	out.frame.Reset()
	if err := out.encoder.Encode(&out.frame, m); err != nil {
		return fmt.Errorf("cannot frame a message: %w", err)
	}
	// The real clock: it is the network that is waited for.
	if err := out.conn.SetWriteDeadline(time.Now().Add(messageTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errors.Join(errGone, err)
	}
	if _, err := out.w.Write(out.frame.Bytes()); err != nil {
		return errors.Join(errGone, err)
	}
	if err := out.conn.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errors.Join(errGone, err)
	}
	return nil
}
