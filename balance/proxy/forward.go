package proxy

import (
	"crypto/tls"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"havn/balance/route"
)

// maxForwarded is how many addresses X-Forwarded-For may have. User Guide, "HTTP 463".
const maxForwarded = 30

// splitHost cuts the port off a host, if it has one.
func splitHost(s string) (name, port string) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.IndexByte(s[colon:], ']') >= 0 {
		return s, ""
	}
	for i := colon + 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return s, ""
		}
	}
	return s[:colon], s[colon+1:]
}

// completeHost is the Host that targets see where it is not preserved: with the listener's port, unless that is its
// protocol's own. User Guide, "Host header preservation".
func (x *exchange) completeHost() string {
	name, port := splitHost(x.q.host)
	own := uint16(80)
	if x.tls != nil {
		own = 443
	}
	switch {
	case name == "":
		return x.local.String() // a client of HTTP/1.0 need not say
	case x.listener.Port == own && port == strconv.Itoa(int(own)):
		return name
	case x.listener.Port != own && port == "":
		return name + ":" + strconv.Itoa(int(x.listener.Port))
	}
	return x.q.host
}

// appendHead writes the head of the request as the target gets it.
func (x *exchange) appendHead(out []byte) []byte {
	q, s := x.q, &x.listener.Settings
	out = append(out, q.method...)
	out = append(out, ' ')
	out = append(out, x.target...)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, x.host...)
	out = append(out, "\r\n"...)
	out = x.appendForwarded(out)
	out = x.appendTrace(out)
	for i := range q.fields {
		f := &q.fields[i]
		switch f.id {
		case host, connection, keepAlive, proxyConnection, transferEncoding, contentLength, te, http2Settings, upgrade,
			forwardedProto, forwardedPort, traceID:
			continue
		case forwardedFor:
			continue
		case expect:
			if x.body != nil || x.source == nil {
				continue // the body is there
			}
		case other:
			if len(q.nominated) > 0 && q.drops(f.name) || s.TLSHeaders && (strings.EqualFold(f.name, s.TLSVersionName) || strings.EqualFold(f.name, s.TLSCipherName)) {
				continue
			}
		}
		out = appendField(out, f.name, f.value)
	}
	if s.TLSHeaders && x.tls != nil {
		out = appendField(out, s.TLSVersionName, tlsVersion(x.tls))
		out = appendField(out, s.TLSCipherName, tls.CipherSuiteName(x.tls.CipherSuite))
	}
	switch {
	case q.length < 0 && x.source != nil:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case q.length > 0 || q.length == 0 && bodied(q.method):
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, q.length, 10)
		out = append(out, "\r\n"...)
	}
	if q.upgrade != "" {
		out = appendField(append(out, "Connection: Upgrade\r\n"...), "Upgrade", q.upgrade)
	}
	return append(out, "\r\n"...)
}

// bodied methods have a Content-Length even if it is zero (RFC 9110, 8.6).
func bodied(method string) bool { return method == "POST" || method == "PUT" || method == "PATCH" }

// appendForwarded tells the target who asked, how and where. User Guide, "HTTP headers and Application Load Balancers".
func (x *exchange) appendForwarded(out []byte) []byte {
	s := &x.listener.Settings
	if s.ForwardedFor != route.Remove {
		before := len(out)
		out = append(out, "X-Forwarded-For: "...)
		start := len(out)
		for i := range x.q.fields {
			if f := &x.q.fields[i]; f.id == forwardedFor {
				if len(out) > start {
					out = append(out, ", "...)
				}
				out = append(out, f.value...)
			}
		}
		if s.ForwardedFor == route.Append {
			if len(out) > start {
				out = append(out, ", "...)
			}
			out = x.appendClient(out)
		}
		if len(out) == start {
			out = out[:before]
		} else {
			out = append(out, "\r\n"...)
		}
	}
	out = append(out, "X-Forwarded-Proto: "...)
	out = append(out, x.scheme()...)
	out = append(out, "\r\nX-Forwarded-Port: "...)
	out = strconv.AppendUint(out, uint64(x.listener.Port), 10)
	return append(out, "\r\n"...)
}

func (x *exchange) appendClient(out []byte) []byte {
	if !x.listener.Settings.ClientPort {
		return append(out, x.remoteIP...)
	}
	if x.remote.Addr().Is6() {
		out = append(append(append(out, '['), x.remoteIP...), ']')
	} else {
		out = append(out, x.remoteIP...)
	}
	return strconv.AppendUint(append(out, ':'), uint64(x.remote.Port()), 10)
}

// tooForwarded reports whether X-Forwarded-For has more addresses than AWS takes.
func (q *request) tooForwarded() bool {
	n := 0
	for i := range q.fields {
		if q.fields[i].id == forwardedFor {
			n += 1 + strings.Count(q.fields[i].value, ",")
		}
	}
	return n > maxForwarded
}

// appendTrace passes the trace on, or begins one. User Guide, "Request tracing": a request without a Root gets one; of a
// request with a Root, this hop is Self.
func (x *exchange) appendTrace(out []byte) []byte {
	given := ""
	for i := range x.q.fields {
		if x.q.fields[i].id == traceID {
			given = x.q.fields[i].value
			break
		}
	}
	out = append(out, "X-Amzn-Trace-Id: "...)
	start := len(out)
	if strings.Contains(given, "Root=") {
		out = append(out, "Self="...)
	} else {
		out = append(out, "Root="...)
	}
	out = appendTraceID(out)
	if rest := withoutSelf(given); rest != "" {
		out = append(append(out, ';'), rest...)
	}
	if x.logs() {
		x.record.trace = string(out[start:])
	}
	return append(out, "\r\n"...)
}

// withoutSelf takes the last hop's name out.
func withoutSelf(given string) string {
	if !strings.Contains(given, "Self=") {
		return given
	}
	kept := strings.FieldsFunc(given, func(r rune) bool { return r == ';' })
	out := kept[:0]
	for _, k := range kept {
		if !strings.HasPrefix(strings.TrimSpace(k), "Self=") {
			out = append(out, k)
		}
	}
	return strings.Join(out, ";")
}

// random tells things apart; it is no secret.
func (x *exchange) random() uint64 { return rand.Uint64() }

func appendTraceID(out []byte) []byte {
	out = append(out, "1-"...)
	out = appendHex(out, uint64(time.Now().Unix()), 8)
	out = append(out, '-')
	out = appendHex(out, rand.Uint64(), 16)
	return appendHex(out, rand.Uint64(), 8)
}

func appendHex(out []byte, n uint64, digits int) []byte {
	const hex = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		out = append(out, hex[n>>(4*i)&15])
	}
	return out
}

// tlsVersion is a version in the way of OpenSSL.
func tlsVersion(s *tls.ConnectionState) string {
	switch s.Version {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS10:
		return "TLSv1"
	}
	return "-"
}
