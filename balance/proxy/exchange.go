package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"havn/balance/route"
)

// front is what an exchange's answer is given to: the client's end.
type front interface {
	// interim passes on an answer before the answer.
	interim(a *response) error
	// begin starts the answer. length is of its body; negative is unknown.
	begin(a *response, more []field, length int64) error
	// part is a part of its body; flush sends what begin and part have kept.
	part(p []byte) error
	flush() error
	// end is the end of it.
	end(trailers []field) error
	// upgrade is that the client's connection and u are one from now on.
	upgrade(x *exchange, u *upstream) error
}

// source is where the body of a request comes from.
type source interface {
	next() ([]byte, error) // io.EOF at its end
	ready() bool
	after() []field // trailers, at its end
	spent() bool    // next has returned all of it, as far as one can tell
	// whole returns the body if all of it has come, and takes it.
	whole() ([]byte, bool)
}

// exchange is one request and its answer.
type exchange struct {
	*entry
	front  front
	watch  *watch
	q      *request
	source source // nil = no body
	http2  bool   // the client speaks it

	table    *route.Table
	listener *route.Listener
	rule     *route.Rule
	match    route.Request
	stands   func() bool // whether table is still in force

	host, target string // as they go to the target
	sticky       sticky
	body         []byte // of the request, when it has come whole
	replayable   bool   // nothing of the request is lost if it has to be sent again
	pump         *pump
	begun        bool // the client has been given the start of an answer
	broken       bool // the client's connection can take no other request
	suspicious   bool // a connection that was idle has turned out to be dead
	refusedBy    int  // the target that has refused a connection; -1 = none
	tries        int
	record       record
}

// maxTries is how many targets may refuse a connection before the client is told. AWS tells it at the first; but nothing
// has been sent by then, and a task that has just died is no reason to fail a request that another can answer.
const maxTries = 3

func (x *exchange) reset() {
	*x = exchange{entry: x.entry, front: x.front, watch: x.watch, q: x.q, http2: x.http2, stands: x.stands, refusedBy: -1,
		sticky: sticky{fields: x.sticky.fields[:0]}}
}

// run answers the request.
func (x *exchange) run() {
	x.tidy()
	if x.logs() {
		x.record.start(time.Now())
		defer x.log()
	}
	for x.route() {
	}
}

// tidy makes the request ready to be matched.
func (x *exchange) tidy() {
	name, _ := splitHost(x.q.host)
	x.match = route.Request{Method: x.q.method, Host: name, Path: x.q.path, Query: x.q.query, Source: x.remote.Addr(), Header: x.q}
}

// route does what the rule says. It reports whether the table has changed meanwhile, so that all is to be done again.
func (x *exchange) route() (again bool) {
	x.rule = x.listener.Match(&x.match)
	if x.rule == nil {
		x.refuse(503)
		return false
	}
	switch a := &x.rule.Action; {
	case a.Redirect != nil:
		x.redirect(a.Redirect)
	case a.Fixed != nil:
		x.fixed(a.Fixed)
	case a.Forward != nil:
		return x.forward(a.Forward)
	default:
		x.refuse(503)
	}
	return false
}

// forward sends the request to a target.
func (x *exchange) forward(f *route.Forward) (again bool) {
	g := x.chooseGroup(f)
	if g == nil || len(g.Open) == 0 {
		// "The target groups for the load balancer have no registered targets, or all are in an unused state."
		x.refuse(503)
		return false
	}
	m := x.p.members(x.table, g)
	i := x.chooseTarget(g, m)
	b := m.backends[i]
	if !b.gauge.Begin(x.stands) {
		return x.renew()
	}
	defer b.gauge.End()
	if !x.fits(g) || !x.rewrite() {
		return false
	}
	if x.sticky.group != nil {
		x.sticky.mark = route.Mark(g.Targets[i].Key)
	}
	x.record.target, x.record.group = g.Targets[i].Address, g.Record.ARN
	if g.Record.ProtocolVersion == "HTTP2" || g.Record.ProtocolVersion == "GRPC" {
		x.overHTTP2(b)
		return false
	}
	for {
		u, err := x.connect(b)
		if err == nil {
			retry := x.over(u)
			if !retry {
				return false
			}
			x.suspicious = true
			continue
		}
		if x.tries++; x.tries < maxTries && len(g.Open) > 1 && !timeout(err) {
			x.refusedBy = i
			return true
		}
		if timeout(err) {
			x.refuse(504)
		} else {
			x.refuse(502)
		}
		return false
	}
}

// renew takes the table that is in force now. The target that was chosen may not be there any more.
func (x *exchange) renew() bool {
	t, l := x.look()
	if l == nil {
		x.refuse(503)
		return false
	}
	x.table, x.listener, x.refusedBy = t, l, -1
	return true
}

// fits reports whether the client speaks what the group does. User Guide, "HTTP 464".
func (x *exchange) fits(g *route.Group) bool {
	switch {
	case g.Record.ProtocolVersion == "GRPC" && (!x.http2 || x.q.method != "POST"), g.Record.ProtocolVersion == "HTTP2" && !x.http2:
		x.refuse(464)
		return false
	}
	return true
}

func (x *exchange) chooseTarget(g *route.Group, m *members) int {
	if g.Stickiness.For > 0 {
		if i := x.stuck(g); i >= 0 && i != x.refusedBy {
			return i
		}
	}
	return g.Choose(route.Chance{Turn: m.turn.Add(1), Random: x.random(), Now: x.clock(g), UnderWay: m.underWay, Not: x.refusedBy})
}

// clock is the time, for groups whose choices hang on it.
func (x *exchange) clock(g *route.Group) time.Time {
	if g.SlowStart > 0 {
		return time.Now()
	}
	return time.Time{}
}

func (x *exchange) rewrite() bool {
	x.host, x.target = x.q.host, x.q.target
	if !x.listener.Settings.PreserveHost {
		x.host = x.completeHost()
	}
	if !x.rule.Rewrites() {
		return true
	}
	name, port := splitHost(x.host)
	var ok bool
	if name, x.target, ok = x.rule.Rewrite(name, x.target); !ok {
		x.refuse(500) // "If there is a pattern match but the transform fails, we return an HTTP 500 error."
		return false
	}
	x.host = name
	if port != "" {
		x.host += ":" + port
	}
	return true
}

func (x *exchange) connect(b *backend) (*upstream, error) {
	tick := x.p.sweeper.tick.Load()
	if u := b.take(tick, x.suspicious || !idempotent(x.q.method)); u != nil {
		return u, nil
	}
	return b.dial()
}

// idempotent: sending the request twice is as good as once. RFC 9110, 9.2.2.
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// over sends the request over a connection and passes the answer on. It reports whether it has to be done again: the
// connection had been idle and was dead, and nothing is lost.
func (x *exchange) over(u *upstream) (retry bool) {
	if !x.watch.attach(u) {
		u.c.Close()
		x.expired()
		return false
	}
	keep := false
	defer func() {
		if clean := x.watch.detach(); keep && clean && !retry {
			tick := x.p.sweeper.tick.Load()
			u.b.give(u, tick, u.keeps(x.p, x.watch))
		} else {
			u.c.Close()
		}
	}()
	x.take()
	u.out = x.appendHead(u.out[:0])
	u.out = append(u.out, x.body...)
	x.record.sent()
	if err := u.flush(); err != nil && x.body == nil {
		return x.failed(u, err)
	}
	if x.source != nil && x.body == nil {
		x.replayable = false
		x.pump = startPump(x, u)
		defer func() { keep = x.stopPump(u) && keep }()
	}
	for {
		err := x.readAnswer(u)
		if err != nil {
			return x.failed(u, err)
		}
		x.record.answered(u.answer.status)
		if u.answer.status == 101 {
			x.switchProtocols(u)
			return false
		}
		if u.answer.status >= 200 {
			break
		}
		if u.answer.status != 100 || x.q.expects {
			if err := x.front.interim(&u.answer); err != nil {
				x.broken = true
				return false
			}
		}
		u.base = 0
	}
	keep = x.pass(u)
	return false
}

// take takes the request's body, if it has come whole: then it can be sent with the head, and again.
func (x *exchange) take() {
	if x.source == nil {
		x.replayable = idempotent(x.q.method)
		return
	}
	if x.body == nil && !x.q.expects && x.pump == nil {
		if body, ok := x.source.whole(); ok {
			x.body = body
			x.replayable = idempotent(x.q.method)
		}
	}
}

func (x *exchange) readAnswer(u *upstream) error {
	head, err := u.readHead(maxResponseHead)
	if err != nil {
		return err
	}
	return u.answer.parse(head, x.q.method)
}

// failed is that no answer has come. It reports whether to try again.
func (x *exchange) failed(u *upstream, err error) (retry bool) {
	timedOut, gone := x.watch.outcome()
	switch {
	case gone || timedOut:
		x.expired()
	case u.reused && x.replayable && u.buffered() == 0 && closedByPeer(err):
		return true
	case x.pump != nil && x.pump.clientFailed():
		x.abandon()
	default:
		x.refuse(502)
	}
	return false
}

// expired answers a request that took too long, or that nobody waits for.
func (x *exchange) expired() {
	_, gone := x.watch.outcome()
	switch {
	case gone:
		x.abandon()
	case x.pump != nil && !x.pump.sent.Load():
		x.broken = true
		x.refuse(408) // the client has not sent the rest of its body
	default:
		x.refuse(504)
	}
}

// abandon is that the client has gone. User Guide, "HTTP 460": only the access log sees it.
func (x *exchange) abandon() {
	x.broken = true
	x.record.status = 460
}

// pass gives the target's answer to the client. It reports whether the target's connection can take another request.
func (x *exchange) pass(u *upstream) (keep bool) {
	a := &u.answer
	u.body.start(&u.side, a.length)
	x.begun = true
	x.record.status = a.status
	x.stick(a)
	if err := x.front.begin(a, x.sticky.fields, a.length); err != nil {
		x.abandon()
		return false
	}
	for {
		if !u.body.ready() && !u.body.over {
			if err := x.front.flush(); err != nil {
				x.abandon()
				return false
			}
		}
		part, err := u.body.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			x.broken = true // the client sees that the answer is cut off
			return false
		}
		if err := x.front.part(part); err != nil {
			x.abandon()
			return false
		}
	}
	x.record.received = u.body.count
	if err := x.front.end(u.body.trailers); err != nil {
		x.abandon()
		return false
	}
	return !a.close && u.buffered() == 0 && !x.q.ambiguous
}

func (x *exchange) switchProtocols(u *upstream) {
	if x.q.upgrade == "" {
		x.refuse(502)
		return
	}
	x.begun, x.broken = true, true
	x.record.status = 101
	if err := x.front.upgrade(x, u); err != nil {
		x.record.status = 460
	}
}

// chooseGroup chooses a group by its weight, or the one that the client has been with.
func (x *exchange) chooseGroup(f *route.Forward) *route.Group {
	if f.Stickiness > 0 && len(f.Groups) > 1 {
		return x.stuckGroup(f)
	}
	return f.Choose(x.random())
}

func timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// closedByPeer reports whether a connection failed as one does that the other end had closed already.
func closedByPeer(err error) bool {
	return err == io.EOF || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
