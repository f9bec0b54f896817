package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"havn/balance/route"
)

// conn is a client's connection of HTTP/1.
type conn struct {
	*entry
	side
	body
	at      watch
	q       request
	x       exchange
	begun   bool // the answer's head is on its way
	chunked bool // the answer is
	closes  bool // the connection ends with the answer
	nobody  bool // the answer has no body, whatever its length says: HEAD
	born    time.Time
}

// serveHTTP1 serves requests until the connection is over.
func (p *Proxy) serveHTTP1(client net.Conn, at *entry) {
	c := &conn{entry: at, born: time.Now()}
	c.side.c = client
	c.at.touch = c.touched
	c.side.moved = c.at.touch
	c.at.arn, c.at.client = at.arn, client
	c.at.leave = func() { client.Close() }
	if sys, ok := at.raw.(syscall.Conn); ok {
		c.at.peek, _ = sys.SyscallConn()
	}
	c.at.quit = func() { client.SetReadDeadline(time.Unix(1, 0)) }
	c.at.dies.Store(1 << 62)
	c.x = exchange{entry: at, front: c, watch: &c.at, q: &c.q, stands: c.stands}
	p.configure(c)
	c.at.rest(p.sweeper.tick.Load())
	p.watch(&c.at)
	defer func() {
		p.unwatch(&c.at)
		client.Close()
	}()
	for c.one() {
	}
	if c.unread() {
		c.linger()
	}
}

// configure takes over what the listener says of connections.
func (p *Proxy) configure(c *conn) {
	if _, l := c.look(); l != nil {
		c.at.idle.Store(p.ticks(l.Settings.IdleTimeout))
		c.at.dies.Store(p.sweeper.tick.Load() + p.ticks(l.Settings.ClientKeepAlive-time.Since(c.born)))
	}
}

// touched is told of every read and write. While a request is waited for, and while its head comes, time does not start
// anew with every byte: a client that sends them one by one is cut off.
func (c *conn) touched() {
	tick := c.p.sweeper.tick.Load()
	switch phase(c.at.phase.Load()) {
	case busy:
		c.at.moved.Store(tick)
	case waiting:
		c.at.moved.Store(tick)
		c.at.phase.Store(int32(reading))
	}
}

func (c *conn) stands() bool { return c.entry.table() == c.x.table }

// one serves one request. It reports whether there can be another.
func (c *conn) one() bool {
	tick := &c.p.sweeper.tick
	c.at.rest(tick.Load())
	if c.buffered() > 0 {
		c.at.phase.Store(int32(reading)) // a part of it has come with the one before
	}
	before := c.now
	head, err := c.readHead(maxRequestHead)
	c.begun, c.closes = false, false
	c.x.reset()
	if err != nil {
		c.headless(err)
		return false
	}
	c.at.busy(tick.Load())
	t, l := c.look()
	if l == nil {
		return false
	}
	if t != before {
		c.p.configure(c)
	}
	c.x.table, c.x.listener = t, l
	c.nobody = false
	if err := c.q.parse(head, &l.Settings); err != nil {
		c.x.broken = true
		c.x.refuseUnread(err)
		return false
	}
	c.nobody = c.q.method == "HEAD"
	c.body.start(&c.side, c.q.length)
	if !c.body.over {
		c.x.source = c
	}
	c.closes = c.q.close || time.Since(c.born) > l.Settings.ClientKeepAlive
	if c.q.tooForwarded() {
		c.x.refuse(463)
	} else {
		c.x.run()
	}
	if c.x.broken || c.closes {
		return false
	}
	if !c.body.over && !c.skip() {
		return false
	}
	c.settle()
	return true
}

// headless is that no head came, or none that can be read.
func (c *conn) headless(err error) {
	_, l := c.look()
	if c.buffered() == 0 || l == nil {
		return
	}
	c.x.table, c.x.listener = c.now, l
	switch {
	case errors.Is(err, errTooLong):
		c.at.busy(c.p.sweeper.tick.Load())
		c.x.broken = true
		if i := strings.IndexByte(view(c.buf[c.r:c.side.w]), '\n'); i < 0 || i > maxRequestLine {
			c.x.refuseUnread(refusal{414})
		} else {
			c.x.refuseUnread(refusal{400})
		}
	case timeout(err):
		c.at.busy(c.p.sweeper.tick.Load())
		c.x.broken = true
		c.x.refuseUnread(refusal{408}) // "The client did not send data before the idle timeout period expired."
	}
}

// skip drops the rest of a request's body, if it has come.
func (c *conn) skip() bool {
	if c.q.expects {
		return false // it may come or not: nobody can tell what it would be
	}
	for !c.body.over {
		if !c.body.ready() {
			return false
		}
		if _, err := c.body.next(); err != nil && err != io.EOF {
			return false
		}
	}
	return true
}

// unread reports whether the client may still be sending: a connection that is closed with unread data is reset, and the
// answer would be lost.
func (c *conn) unread() bool { return c.begun && (c.x.broken || !c.body.over) }

// linger waits a little for the client to have read the answer. RFC 9112, 9.6.
func (c *conn) linger() {
	if secure, ok := c.side.c.(*tls.Conn); ok {
		secure.SetWriteDeadline(time.Now().Add(time.Second))
		secure.CloseWrite()
	}
	half, ok := c.entry.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.entry.raw.SetReadDeadline(time.Now().Add(time.Second))
	io.CopyN(io.Discard, c.entry.raw, 256<<10)
}

// The request's body.

func (c *conn) after() []field { return c.body.trailers }

func (c *conn) spent() bool { return c.body.over }

func (c *conn) whole() ([]byte, bool) {
	if c.q.length <= 0 || int64(c.buffered()) < c.q.length {
		return nil, false
	}
	body, err := c.body.next()
	return body, err == nil
}

// The answer.

func (c *conn) interim(a *response) error {
	if c.q.minor == 0 {
		return nil
	}
	c.out = appendStatus(c.out, a.status, a.reason)
	for i := range a.fields {
		if f := &a.fields[i]; !hopByHop(f.id) && f.id != contentLength && !a.drops(f.name) {
			c.out = appendField(c.out, f.name, f.value)
		}
	}
	c.out = append(c.out, "\r\n"...)
	return c.side.flush()
}

// hopByHop reports whether a field of an answer is of one connection only.
func hopByHop(id fieldID) bool {
	switch id {
	case connection, keepAlive, proxyConnection, transferEncoding, upgrade, http2Settings:
		return true
	}
	return false
}

func (c *conn) begin(a *response, more []field, length int64) error {
	c.begun = true
	c.chunked = length < 0 && c.q.minor == 1
	if length < 0 && !c.chunked {
		c.closes = true
	}
	s := &c.x.listener.Settings
	out := appendStatus(c.out, a.status, a.reason)
	dated := false
	for i := range a.fields {
		f := &a.fields[i]
		switch f.id {
		case connection, keepAlive, proxyConnection, transferEncoding, upgrade, http2Settings:
			continue
		case contentLength:
			if a.length < 0 || a.status == 204 {
				continue
			}
		case date:
			dated = true
		case server:
			if s.HideServer {
				continue
			}
		case other:
			if len(a.nominated) > 0 && a.drops(f.name) || len(s.Answer) > 0 && replaces(s.Answer, f.name) {
				continue
			}
		}
		out = appendField(out, f.name, f.value)
	}
	if !dated {
		out = appendField(out, "Date", c.p.dates.text(time.Now()))
	}
	out = appendFields(out, more)
	for _, f := range s.Answer {
		out = appendField(out, f.Name, f.Value)
	}
	switch {
	case c.chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	if c.closes || c.x.broken {
		out = append(out, "Connection: close\r\n"...)
	} else if c.q.minor == 0 || c.q.close {
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	c.out = append(out, "\r\n"...)
	return nil
}

func replaces(set []route.Field, name string) bool {
	for _, f := range set {
		if strings.EqualFold(f.Name, name) {
			return true
		}
	}
	return false
}

func (c *conn) part(p []byte) error {
	switch {
	case c.chunked:
		c.out = appendChunk(c.out, p)
	case len(p) >= smallBuffer:
		if err := c.side.flush(); err != nil {
			return err
		}
		return c.write(p)
	default:
		c.out = append(c.out, p...)
	}
	if len(c.out) >= bigBuffer/2 {
		return c.side.flush()
	}
	return nil
}

func (c *conn) end(trailers []field) error {
	if c.chunked {
		c.out = append(c.out, "0\r\n"...)
		c.out = appendFields(c.out, trailers)
		c.out = append(c.out, "\r\n"...)
	}
	return c.side.flush()
}

func appendStatus(out []byte, status int, reason string) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(out, reason...)
	return append(out, "\r\n"...)
}

// upgrade passes bytes both ways until both ends have said all.
func (c *conn) upgrade(x *exchange, u *upstream) error {
	c.begun = true
	c.out = appendStatus(c.out, 101, u.answer.reason)
	for i := range u.answer.fields {
		if f := &u.answer.fields[i]; !hopByHop(f.id) && f.id != contentLength && !u.answer.drops(f.name) {
			c.out = appendField(c.out, f.name, f.value)
		}
	}
	c.out = append(c.out, "Connection: Upgrade\r\n"...)
	for _, f := range u.answer.fields {
		if f.id == upgrade {
			c.out = appendField(c.out, "Upgrade", f.value)
		}
	}
	c.out = append(c.out, "\r\n"...)
	if err := c.side.flush(); err != nil {
		return err
	}
	var both sync.WaitGroup
	both.Go(func() {
		x.record.sentBytes += pour(u, &c.side)
		if !halfClose(u.c) {
			c.at.quit()
		}
	})
	x.record.received += pour(&c.side, &u.side)
	halfClose(c.side.c)
	both.Wait()
	return nil
}

// pour passes all that comes from one side to the other.
func pour(to interface{ write([]byte) error }, from *side) (count int64) {
	for {
		if n := from.buffered(); n > 0 {
			if to.write(from.buf[from.r:from.w]) != nil {
				from.c.SetReadDeadline(time.Unix(1, 0))
				return count
			}
			count += int64(n)
			from.r = from.w
		}
		if err := from.fill(max(len(from.buf), from.base+smallBuffer)); err != nil {
			return count
		}
	}
}

// halfClose says that no more will be said.
func halfClose(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}
