package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"havn/balance/route"
)

// maxStreams of a client's connection. User Guide, "Listeners": "up to 128 requests in parallel".
const maxStreams = 128

// serveHTTP2 serves the streams of a client's connection.
func (p *Proxy) serveHTTP2(client net.Conn, at *entry) {
	defer client.Close()
	_, l := at.look()
	if l == nil {
		return
	}
	base := &http.Server{MaxHeaderBytes: maxRequestHead, ReadHeaderTimeout: l.Settings.IdleTimeout}
	server := &http2.Server{MaxConcurrentStreams: maxStreams, IdleTimeout: l.Settings.IdleTimeout, MaxReadFrameSize: 64 << 10}
	if err := http2.ConfigureServer(base, server); err != nil {
		p.Log.Error("cannot speak HTTP/2", "error", err)
		return
	}
	// The connection is watched for its age, and for its listener's end: streams that are under way are finished.
	over := watch{arn: at.arn, client: client, leave: sync.OnceFunc(func() {
		go base.Shutdown(context.Background()) //nolint:errcheck // it has no listeners to close
	})}
	over.idle.Store(1 << 62)
	over.dies.Store(p.sweeper.tick.Load() + p.ticks(l.Settings.ClientKeepAlive))
	p.watch(&over)
	defer p.unwatch(&over)
	server.ServeConn(client, &http2.ServeConnOpts{
		BaseConfig: base,
		Handler:    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serveStream(client, *at, w, r) }),
	})
}

// stream is a request of HTTP/2.
type stream struct {
	w      http.ResponseWriter
	r      *http.Request
	buf    *[bigBuffer]byte
	exact  bool // the answer's length is known
	listen *route.Settings
	moved  func()
	count  int64 // of the body that next has returned
}

func (p *Proxy) serveStream(client net.Conn, at entry, w http.ResponseWriter, r *http.Request) {
	at.now, at.listener = nil, nil
	t, l := at.look()
	if l == nil {
		panic(http.ErrAbortHandler)
	}
	tick := &p.sweeper.tick
	var watched watch
	watched.arn, watched.client = at.arn, client
	watched.idle.Store(p.ticks(l.Settings.IdleTimeout))
	watched.touch = func() { watched.moved.Store(tick.Load()) }
	watched.quit = func() { r.Body.Close() }
	watched.busy(tick.Load())
	p.watch(&watched)
	defer p.unwatch(&watched)
	defer context.AfterFunc(r.Context(), func() { watched.end(true) })()

	s := &stream{w: w, r: r, listen: &l.Settings, moved: watched.touch}
	defer s.free()
	x := &exchange{entry: &at, front: s, watch: &watched, q: &request{}, http2: true, table: t, listener: l, refusedBy: -1}
	x.stands = func() bool { return at.table() == x.table }
	if err := s.read(x.q, &l.Settings); err != nil {
		x.refuseUnread(err)
		return
	}
	if x.q.length != 0 {
		x.source = s
	}
	if x.q.tooForwarded() {
		x.refuse(463)
	} else {
		x.run()
	}
	if x.broken {
		panic(http.ErrAbortHandler) // the stream is reset: nobody takes the answer for whole
	}
}

// read makes the request what it is in HTTP/1.
func (s *stream) read(q *request, settings *route.Settings) error {
	r := s.r
	q.method, q.host, q.minor, q.length = r.Method, r.Host, 1, r.ContentLength
	if r.Body == http.NoBody {
		q.length = 0
	}
	if q.method == "TRACE" || q.method == "CONNECT" || len(q.method) > maxMethod {
		return refusal{405}
	}
	if len(r.RequestURI) > maxRequestLine {
		return refusal{414}
	}
	for name, values := range r.Header {
		if settings.DropInvalid && !plainName(name) {
			continue
		}
		for _, v := range values {
			q.fields = append(q.fields, field{name, v, identify(name)})
		}
	}
	for i := range len(r.RequestURI) {
		if classes[r.RequestURI[i]]&targetChar == 0 {
			return refusal{400}
		}
	}
	if q.host == "" || !validHost(q.host) {
		return refusal{400}
	}
	return q.setTarget(r.RequestURI)
}

func plainName(name string) bool {
	for i := range len(name) {
		if classes[name[i]]&plainChar == 0 {
			return false
		}
	}
	return true
}

func (s *stream) buffer() []byte {
	if s.buf == nil {
		s.buf = bigBuffers.Get().(*[bigBuffer]byte)
	}
	return s.buf[:]
}

func (s *stream) free() {
	if s.buf != nil {
		bigBuffers.Put(s.buf)
		s.buf = nil
	}
}

// The request's body. It has a buffer of its own: the answer's may be in use.

func (s *stream) next() ([]byte, error) {
	for {
		n, err := s.r.Body.Read(s.buffer())
		if n > 0 {
			s.moved()
			s.count += int64(n)
			return s.buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *stream) ready() bool           { return false }
func (s *stream) spent() bool           { return s.count == s.r.ContentLength }
func (s *stream) whole() ([]byte, bool) { return nil, false }

func (s *stream) after() (fields []field) {
	for name, values := range s.r.Trailer {
		for _, v := range values {
			fields = append(fields, field{name, v, other})
		}
	}
	return fields
}

// The answer.

func (s *stream) interim(a *response) error {
	if a.status == 100 {
		return nil // it is sent when the body is read
	}
	h := s.w.Header()
	for _, f := range a.fields {
		if !hopByHop(f.id) && f.id != contentLength && !a.drops(f.name) {
			h.Add(f.name, strings.Clone(f.value))
		}
	}
	s.w.WriteHeader(a.status)
	clear(h)
	return nil
}

func (s *stream) begin(a *response, more []field, length int64) error {
	h := s.w.Header()
	for _, f := range a.fields {
		switch {
		case hopByHop(f.id), f.id == contentLength && (a.length < 0 || a.status == 204), f.id == server && s.listen.HideServer, a.drops(f.name):
			continue
		}
		h.Add(strings.Clone(f.name), strings.Clone(f.value))
	}
	for _, f := range more {
		h.Add(f.name, f.value)
	}
	for _, f := range s.listen.Answer {
		h.Set(f.Name, f.Value)
	}
	s.exact = length >= 0
	s.w.WriteHeader(a.status)
	return nil
}

func (s *stream) part(p []byte) error {
	_, err := s.w.Write(p)
	s.moved()
	return err
}

func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }

func (s *stream) end(trailers []field) error {
	for _, f := range trailers {
		s.w.Header().Add(http.TrailerPrefix+strings.Clone(f.name), strings.Clone(f.value))
	}
	return nil // the handler's return sends it
}

func (s *stream) upgrade(*exchange, *upstream) error { return errMalformed }

// speaker is the transport of HTTP/2 to a target.
func (b *backend) speaker() *http2.Transport {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.h2 == nil {
		b.h2 = &http2.Transport{AllowHTTP: true, DisableCompression: true, MaxHeaderListSize: maxResponseHead, IdleConnTimeout: time.Minute,
			DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, dialTimeout)
				defer cancel()
				if b.secure {
					d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}}
					return d.DialContext(ctx, network, address)
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}}
	}
	return b.h2
}

// overHTTP2 sends the request to a target that speaks HTTP/2, and passes the answer on.
func (x *exchange) overHTTP2(b *backend) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	x.watch.mu.Lock()
	x.watch.stop = cancel
	x.watch.mu.Unlock()
	defer func() {
		x.watch.mu.Lock()
		x.watch.stop = nil
		x.watch.mu.Unlock()
	}()
	s := x.front.(*stream)
	at, err := url.ParseRequestURI(x.target)
	if err != nil {
		x.refuse(400)
		return
	}
	at.Scheme, at.Host = "http", b.address
	if b.secure {
		at.Scheme = "https"
	}
	r := (&http.Request{Method: x.q.method, URL: at, Host: x.host, Header: x.header(), ContentLength: x.q.length, Trailer: s.r.Trailer}).WithContext(ctx)
	if x.source != nil {
		r.Body = moving{s.r.Body, s.moved}
	}
	x.record.sent()
	answer, err := b.speaker().RoundTrip(r)
	if err != nil {
		switch _, gone := x.watch.outcome(); {
		case gone:
			x.abandon()
		case timeout(err), errors.Is(err, context.Canceled):
			x.refuse(504)
		default:
			x.refuse(502)
		}
		return
	}
	defer answer.Body.Close()
	x.record.answered(answer.StatusCode)
	x.passHTTP2(answer)
}

// moving tells of each read.
type moving struct {
	io.ReadCloser
	moved func()
}

func (m moving) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.moved()
	return n, err
}

// header is the request's head as the target gets it, for HTTP/2.
func (x *exchange) header() http.Header {
	h := http.Header{}
	head := view(x.appendHead(nil))
	_, head, _ = strings.Cut(head, "\r\n")
	for head != "\r\n" && head != "" {
		var line string
		line, head, _ = strings.Cut(head, "\r\n")
		name, value, _ := strings.Cut(line, ": ")
		switch identify(name) {
		case host, connection, transferEncoding, contentLength, upgrade, expect:
		default:
			h.Add(name, value)
		}
	}
	for _, f := range x.q.fields {
		if f.id == te && strings.Contains(f.value, "trailers") {
			h.Set("Te", "trailers")
		}
	}
	return h
}

func (x *exchange) passHTTP2(from *http.Response) {
	a := &response{status: from.StatusCode, reason: http.StatusText(from.StatusCode), length: from.ContentLength}
	for name, values := range from.Header {
		for _, v := range values {
			a.fields = append(a.fields, field{name, v, identify(name)})
		}
	}
	if from.ContentLength >= 0 && from.Header.Get("Content-Length") == "" && x.q.method != "HEAD" && from.ContentLength > 0 {
		a.fields = append(a.fields, field{"Content-Length", strconv.FormatInt(from.ContentLength, 10), contentLength})
	}
	x.begun = true
	x.record.status = a.status
	x.stick(a)
	if err := x.front.begin(a, x.sticky.fields, a.length); err != nil {
		x.abandon()
		return
	}
	buf := bigBuffers.Get().(*[bigBuffer]byte)
	defer bigBuffers.Put(buf)
	if from.Body != http.NoBody {
		x.front.flush() // the client may be waiting for the head before it says more
	}
	for {
		n, err := from.Body.Read(buf[:])
		x.record.received += int64(n)
		if n > 0 && x.front.part(buf[:n]) != nil {
			x.abandon()
			return
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			x.broken = true
			return
		}
		x.front.flush()
	}
	var trailers []field
	for name, values := range from.Trailer {
		for _, v := range values {
			trailers = append(trailers, field{name, v, other})
		}
	}
	x.front.end(trailers)
}
