package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Config is what a Server is made of.
type Config struct {
	APIs []*API
	// Credentials finds the secret of an access key; see Verifier.
	Credentials func(ctx context.Context, accessKeyID, sessionToken string) (Credential, error)
	Region      string // the only one that signatures may be for; any when empty
	Account     string // of those who call without a signature, where they may
	Now         func() time.Time
	Fallback    http.Handler // answers what is not an AWS call; 404 when nil
	Log         *slog.Logger
}

// Server is an http.Handler that answers the calls of AWS clients, for all its
// APIs on one port.
type Server struct {
	verifier Verifier
	account  string
	now      func() time.Time
	fallback http.Handler
	log      *slog.Logger

	byTarget  map[string]*API   // AWS JSON
	byService map[string][]*API // Query, by the service in the credential scope
}

// NewServer returns a Server. Unset parts of the config get what a program wants
// by default: the system's clock, the default logger, no fallback.
func NewServer(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Fallback == nil {
		c.Fallback = http.NotFoundHandler()
	}
	s := &Server{
		verifier:  Verifier{Credentials: c.Credentials, Region: c.Region, Now: c.Now},
		account:   c.Account,
		now:       c.Now,
		fallback:  c.Fallback,
		log:       c.Log,
		byTarget:  make(map[string]*API),
		byService: make(map[string][]*API),
	}
	for _, a := range c.APIs {
		if a.Dialect == nil {
			panic("wire: " + a.Name + " has no dialect")
		}
		if a.Target != "" {
			s.byTarget[a.Target] = a
		} else {
			s.byService[a.signingName()] = append(s.byService[a.signingName()], a)
		}
	}
	return s
}

// call is one request on its way through the server.
type call struct {
	id      string
	now     time.Time
	dialect Dialect
	api     *API   // nil when the request is for none that is served here
	name    string // of the operation
	raw     []byte // the body as sent
	body    []byte // the same, decompressed; for query: the parameters
}

// Request ids are no secret, so the random bytes that wait in memory to become some may be seen there.
func init() { uuid.EnableRandPool() }

// bodyTimeout is how long a caller may take to send the body. It is read before it is known who calls,
// because the signature covers it: without a limit anybody could keep connections open for nothing.
const bodyTimeout = 30 * time.Second

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the size of the largest buffer that is kept for another request.
const maxPooled = 64 << 10

func release(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	read := buffers.Get().(*bytes.Buffer)
	defer release(read)
	c := call{now: s.now()}
	form := false
	switch {
	case len(r.Header["X-Amz-Target"]) > 0:
		c.dialect = AWSJSON
		target, name, _ := cutLast(r.Header.Get("X-Amz-Target"), '.')
		c.api, c.name = s.byTarget[target], name
	case isForm(r):
		form = true
		c.dialect = Query
		c.api = s.scopedAPI(r)
	default:
		s.fallback.ServeHTTP(w, r)
		return
	}
	c.id = uuid.NewString() // as AWS's request ids are

	err := c.read(w, r, read) // within the time that it may take, also for an answer that needs none of it
	if err == nil {
		err = c.spoken(r)
	}
	if err == nil && form {
		var ours bool
		if ours, err = s.routeForm(&c, r); !ours && err == nil {
			r.Body = io.NopCloser(bytes.NewReader(c.raw))
			s.fallback.ServeHTTP(w, r)
			return
		}
	}
	if c.api != nil {
		c.dialect = c.api.Dialect
	}
	write := buffers.Get().(*bytes.Buffer)
	defer release(write)
	b := write.AvailableBuffer()
	status := http.StatusOK
	if err == nil {
		var events *streamed
		if b, events, err = s.answer(b, &c, r); events != nil {
			s.sendStream(w, r, &c, c.api.handlers[c.name], events)
			return
		}
	}
	if err != nil {
		b, status = s.refuse(b[:0], &c, r, err)
	}
	h := w.Header()
	h["X-Amzn-Requestid"] = []string{c.id}
	h["Content-Type"] = []string{c.dialect.contentType()}
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.WriteHeader(status)
	w.Write(b)     //nolint:errcheck // the caller has gone
	write.Write(b) // so that the pool keeps what was grown
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "call", slog.String("operation", c.name),
			slog.Int("status", status), slog.String("request", c.id))
	}
}

// spoken checks that a call of AWS JSON came as one. A browser that is made to send one from another site
// sends a form or plain text.
func (c *call) spoken(r *http.Request) error {
	if c.dialect != AWSJSON {
		return nil
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Method == http.MethodPost && strings.EqualFold(strings.TrimSpace(kind), AWSJSON.contentType()) {
		return nil
	}
	return &Error{UnknownProtocol, "A call with the header X-Amz-Target must be a POST with Content-Type: " + AWSJSON.contentType()}
}

// isForm reports whether a request can be a Query call.
func isForm(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost:
		return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	case http.MethodGet:
		return strings.Contains(r.URL.RawQuery, "Action=")
	}
	return false
}

// scopedAPI finds the Query API that a request's signature is for.
func (s *Server) scopedAPI(r *http.Request) *API {
	sig, err := parseSignature(r)
	if err != nil {
		return nil
	}
	if apis := s.byService[sig.service]; len(apis) > 0 {
		return apis[0]
	}
	return nil
}

// read takes in the body, and unpacks it, within the API's limit.
func (c *call) read(w http.ResponseWriter, r *http.Request, into *bytes.Buffer) error {
	limit := int64(DefaultBodyLimit)
	if c.api != nil {
		limit = c.api.bodyLimit()
	}
	tooLarge := &Error{BodyTooLarge, fmt.Sprintf("Request size exceeds the limit of %d bytes", limit)}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return tooLarge
	}
	if err := receive(w, r, into, limit); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return tooLarge
		}
		w.Header().Set("Connection", "close")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return badBody(fmt.Sprintf("the request body was not sent within %v", bodyTimeout))
		}
		return badBody("cannot read request body: " + err.Error())
	}
	c.raw = into.Bytes()
	c.body = c.raw
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity", "amz-1.0": // old Java SDKs say amz-1.0 and mean nothing by it
		return nil
	case "gzip":
		zr, err := gzip.NewReader(bytes.NewReader(c.raw))
		if err != nil {
			return badBody("cannot decompress request body: " + err.Error())
		}
		c.body, err = io.ReadAll(io.LimitReader(zr, limit+1))
		if err != nil {
			return badBody("cannot decompress request body: " + err.Error())
		}
		if int64(len(c.body)) > limit {
			return tooLarge
		}
		return nil
	default:
		return badBody("unsupported Content-Encoding: " + encoding)
	}
}

// receive takes the body from the network. After an error the deadline stays, so that
// net/http does not wait for what was not sent either.
func receive(w http.ResponseWriter, r *http.Request, into *bytes.Buffer, limit int64) error {
	if r.Body == http.NoBody {
		return nil
	}
	conn := http.NewResponseController(w)
	// The real clock: it is the network that is waited for. A writer that has no connection has no deadline.
	if err := conn.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := into.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// routeForm finds the operation that a form names, and its API when the signature
// did not tell. It returns false for a form that is no AWS call.
func (s *Server) routeForm(c *call, r *http.Request) (bool, error) {
	if r.Method == http.MethodGet {
		c.body = []byte(r.URL.RawQuery)
	}
	root, err := parseQuery(c.body)
	if err != nil {
		return c.api != nil, err
	}
	action, version := root.members["Action"], root.members["Version"]
	if action == nil {
		if c.api == nil {
			return false, nil
		}
		return true, &Error{UnknownOperation, "The request must contain the parameter Action."}
	}
	c.name = action.text
	if c.api != nil && version == nil {
		return true, nil
	}
	if c.api != nil {
		for _, a := range s.byService[c.api.signingName()] {
			if a.Version == version.text {
				c.api = a
				return true, nil
			}
		}
		return true, &Error{UnknownOperation, fmt.Sprintf("Could not find operation %s for version %s", c.name, version.text)}
	}
	if version == nil {
		return false, nil
	}
	for _, apis := range s.byService { // unsigned: by what the form names
		for _, a := range apis {
			if a.Version == version.text && slices.Contains(a.Operations, c.name) {
				c.api = a
			}
		}
	}
	return true, nil
}

// answer does the call and appends what it returns, or returns it, if it goes on.
func (s *Server) answer(b []byte, c *call, r *http.Request) ([]byte, *streamed, error) {
	caller, err := s.authenticate(c, r)
	if err != nil {
		return b, nil, err
	}
	if c.api == nil {
		return b, nil, &Error{UnknownOperation, fmt.Sprintf("Could not find operation %s of an API that is served here", c.name)}
	}
	op := c.api.handlers[c.name]
	if op == nil {
		if slices.Contains(c.api.Operations, c.name) {
			return b, nil, &Error{UnknownOperation, fmt.Sprintf("Havn does not do the operation %s of %s yet", c.name, c.api.Name)}
		}
		return b, nil, &Error{UnknownOperation, fmt.Sprintf("Could not find operation %s of %s", c.name, c.api.Name)}
	}
	in := op.newInput()
	value := reflect.ValueOf(in).Elem()
	if err := c.dialect.decode(op, c.body, value); err != nil {
		return b, nil, err
	}
	if text := op.input.check(value); text != "" {
		return b, nil, &Error{BadInput, text}
	}
	ctx := WithRequest(r.Context(), Request{Caller: caller, ID: c.id, Now: c.now, Endpoint: endpoint(r)})
	out, err := s.perform(ctx, op, in)
	if err != nil {
		return b, nil, err
	}
	if events, ok := out.(*streamed); ok {
		return b, events, nil
	}
	b, err = c.dialect.encode(b, op, reflect.ValueOf(out).Elem(), c.id)
	return b, nil, err
}

func (s *Server) authenticate(c *call, r *http.Request) (Principal, error) {
	service := ""
	if c.api != nil {
		service = c.api.signingName()
		if slices.Contains(c.api.Unsigned, c.name) && r.Header.Get("Authorization") == "" {
			return Principal{Account: s.account}, nil
		}
	}
	return s.verifier.verify(r, c.raw, service, c.now)
}

// perform calls the handler. A panic in it costs the one request.
func (s *Server) perform(ctx context.Context, op *operation, in any) (out any, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		err = panicked(p)
	}()
	return op.call(ctx, in)
}

func panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }

// nowhere stands for the API of requests that are for none.
var nowhere = map[Dialect]*API{AWSJSON: {Dialect: AWSJSON}, Query: {Dialect: Query}}

// refuse appends the answer to a call that ended in err.
func (s *Server) refuse(b []byte, c *call, r *http.Request, err error) ([]byte, int) {
	a := c.api
	if a == nil {
		a = nowhere[c.dialect]
	}
	ans, known := a.answerTo(err)
	if !known && !(errors.Is(err, context.Canceled) && r.Context().Err() != nil) {
		s.log.LogAttrs(r.Context(), slog.LevelError, "call failed", slog.String("api", a.Name),
			slog.String("operation", c.name), slog.String("request", c.id), slog.String("error", err.Error()))
	}
	b, err = c.dialect.encodeError(b, c.api, ans, c.id)
	if err != nil {
		s.log.LogAttrs(r.Context(), slog.LevelError, "cannot write error", slog.String("request", c.id), slog.String("error", err.Error()))
	}
	return b, ans.status
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

func endpoint(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
