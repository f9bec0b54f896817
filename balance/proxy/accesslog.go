package proxy

import (
	"crypto/tls"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// record is what an access log says of an exchange.
type record struct {
	begun, sentAt, answeredAt time.Time
	target                    netip.AddrPort
	group                     string
	status, targetStatus      int
	received                  int64 // bytes of the answer's body
	sentBytes                 int64 // bytes of the request's body
	trace                     string
	redirect                  string
	on                        bool
}

func (r *record) start(at time.Time) { r.on, r.begun = true, at }

// sent is that the request is on its way to the target.
func (r *record) sent() {
	if r.on {
		r.sentAt = now()
	}
}

// answered is that the target has answered.
func (r *record) answered(status int) {
	if r.on {
		r.answeredAt, r.targetStatus = now(), status
	}
}

func now() time.Time { return time.Now() }

// logs reports whether the load balancer wants access logs.
func (x *exchange) logs() bool {
	return x.p.AccessLog != nil && x.listener.Balancer.Attributes["access_logs.s3.enabled"] == "true"
}

// log writes the exchange's entry. User Guide, "Access log entries"; the fields are in its order.
func (x *exchange) log() {
	r := &x.record
	if r.status == 0 {
		r.status = 460
	}
	end := now()
	var b []byte
	word := func(s string) { b = append(append(b, s...), ' ') }
	inQuotes := func(s string) { b = append(appendQuoted(b, s), ' ') }
	word(x.kind())
	word(end.UTC().Format("2006-01-02T15:04:05.000000Z"))
	word(idOf(x.listener.Balancer.ARN))
	word(x.remote.String())
	target := "-"
	if r.target.IsValid() {
		target = r.target.String()
	}
	word(target)
	// Of a request that no answer came for, or that was not sent, the times are -1.
	span := func(from, to time.Time) {
		if from.IsZero() || to.IsZero() {
			word("-1")
			return
		}
		word(strconv.FormatFloat(max(0, to.Sub(from).Seconds()), 'f', 3, 64))
	}
	span(r.begun, r.sentAt)
	span(r.sentAt, r.answeredAt)
	span(r.answeredAt, end)
	word(strconv.Itoa(r.status))
	targetStatus := "-"
	if r.targetStatus > 0 {
		targetStatus = strconv.Itoa(r.targetStatus)
	}
	word(targetStatus)
	word(strconv.FormatInt(x.requestSize()+r.sentBytes, 10))
	word(strconv.FormatInt(r.received, 10))
	inQuotes(x.requestLine())
	agent := "-"
	for i := range x.q.fields {
		if x.q.fields[i].id == userAgent {
			agent = x.q.fields[i].value
		}
	}
	inQuotes(agent)
	cipher, version, domain := "-", "-", "-"
	if x.tls != nil {
		cipher, version = tls.CipherSuiteName(x.tls.CipherSuite), tlsVersion(x.tls)
		if x.tls.ServerName != "" {
			domain = x.tls.ServerName
		}
	}
	word(cipher)
	word(version)
	word(or(r.group, "-"))
	inQuotes(or(r.trace, "-"))
	inQuotes(domain)
	inQuotes(x.certificate())
	priority := "0"
	if x.rule != nil {
		priority = strconv.Itoa(int(x.rule.Priority))
	}
	word(priority)
	word(r.begun.UTC().Format("2006-01-02T15:04:05.000000Z"))
	inQuotes(x.actions())
	inQuotes(or(r.redirect, "-"))
	inQuotes("-") // error_reason: of authentication and Lambda only
	inQuotes(target)
	inQuotes(targetStatus)
	inQuotes("-") // classification
	inQuotes("-") // classification_reason
	b = append(b, "TID_"...)
	b = appendHex(b, x.random(), 16)
	b = appendHex(b, x.random(), 16)
	x.p.AccessLog(x.listener.Balancer.ARN, append(b, '\n'))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// kind is the type of the connection.
func (x *exchange) kind() string {
	switch {
	case x.record.status == 101 && x.tls != nil:
		return "wss"
	case x.record.status == 101:
		return "ws"
	case x.http2 && x.grpc():
		return "grpcs"
	case x.http2:
		return "h2"
	}
	return x.scheme()
}

func (x *exchange) grpc() bool {
	for i := range x.q.fields {
		if f := &x.q.fields[i]; f.id == contentType && strings.HasPrefix(f.value, "application/grpc") {
			return true
		}
	}
	return false
}

func (x *exchange) requestLine() string {
	version := " HTTP/1.1"
	switch {
	case x.http2:
		version = " HTTP/2.0"
	case x.q.minor == 0:
		version = " HTTP/1.0"
	}
	name, _ := splitHost(x.q.host)
	return x.q.method + " " + x.scheme() + "://" + name + ":" + strconv.Itoa(int(x.listener.Port)) + x.q.target + version
}

// requestSize is about what the client has sent: the head, and the body as far as it is known.
func (x *exchange) requestSize() int64 {
	n := len(x.q.method) + len(x.q.target) + 14
	for i := range x.q.fields {
		n += len(x.q.fields[i].name) + len(x.q.fields[i].value) + 4
	}
	return int64(n) + max(0, x.q.length)
}

func (x *exchange) certificate() string {
	if x.tls != nil && len(x.listener.Certificates) > 0 {
		return x.listener.Certificates[0].ARN
	}
	return "-"
}

func (x *exchange) actions() string {
	switch {
	case x.rule == nil:
		return "-"
	case x.rule.Action.Redirect != nil:
		return "redirect"
	case x.rule.Action.Fixed != nil:
		return "fixed-response"
	}
	return "forward"
}

// appendQuoted escapes what would end the field or the line.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', 'x')
			b = appendHex(b, uint64(c), 2)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
