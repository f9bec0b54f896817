package proxy

import (
	"bytes"
	"errors"
	"strings"

	"havn/balance/route"
)

// request is the head of a request.
type request struct {
	method string
	target string // as it goes to a target: the path and the query, or *
	path   string
	query  string
	host   string // as the client sent it, with its port
	minor  int    // of HTTP/1
	fields []field
	length int64 // of the body; -1 = it is chunked
	// nominated are fields that Connection names: they end here.
	nominated []string
	close     bool   // the client wants no other request on its connection
	expects   bool   // 100-continue
	upgrade   string // the protocol that it would rather speak
	// ambiguous: servers read it in different ways, so no connection that it went through is used again.
	ambiguous bool
	odd       bool // not as RFC 9112 has it, though harmless
}

// refusal is why a request is answered by the load balancer.
type refusal struct{ status int }

func (r refusal) Error() string { return statusText(r.status) }

// parse reads a head. The error is a refusal.
func (q *request) parse(head []byte, s *route.Settings) error {
	*q = request{fields: q.fields[:0], nominated: q.nominated[:0]}
	line, rest, ok := cutLine(head)
	if !ok {
		return refusal{400}
	}
	if len(line) > maxRequestLine {
		return refusal{414}
	}
	if err := q.parseLine(line); err != nil {
		return err
	}
	var err error
	if q.fields, err = parseFields(q.fields, rest, s.DropInvalid); err != nil {
		return refusal{400}
	}
	return q.frame(s.Desync)
}

func (q *request) parseLine(line []byte) error {
	space := bytes.IndexByte(line, ' ')
	last := bytes.LastIndexByte(line, ' ')
	if space <= 0 || last == space {
		return refusal{400}
	}
	method, target, version := line[:space], line[space+1:last], line[last+1:]
	for _, c := range method {
		if classes[c]&tokenChar == 0 {
			return refusal{400}
		}
	}
	for _, c := range target {
		if classes[c]&targetChar == 0 {
			return refusal{400}
		}
	}
	switch v := view(version); {
	case v == "HTTP/1.1":
		q.minor = 1
	case v == "HTTP/1.0":
	case strings.HasPrefix(v, "HTTP/") && len(v) == 8:
		return refusal{505}
	default:
		return refusal{400}
	}
	q.method = view(method)
	if len(q.method) > maxMethod || q.method == "TRACE" || q.method == "CONNECT" {
		return refusal{405}
	}
	return q.setTarget(view(target))
}

// setTarget takes a request target of any form (RFC 9112, 3.2) but CONNECT's.
func (q *request) setTarget(target string) error {
	if target == "*" && q.method == "OPTIONS" {
		q.target, q.path = target, target
		return nil
	}
	if target == "" {
		return refusal{400}
	}
	if target[0] != '/' {
		scheme, rest, ok := strings.Cut(target, "://")
		if !ok || !foldEqual(scheme, "http") && !foldEqual(scheme, "https") {
			return refusal{400}
		}
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if q.host, target = rest[:end], rest[end:]; q.host == "" {
			return refusal{400}
		}
		if target == "" || target[0] == '?' {
			target = "/" + target
		}
	}
	q.odd = q.odd || strings.IndexByte(target, '#') >= 0
	q.target = target
	q.path, q.query, _ = strings.Cut(target, "?")
	return nil
}

// frame finds out where the body ends, and what is for this connection only. A request that can be read in two ways is
// refused; with the mode monitor it is read as RFC 9112, 6.3 says, and its connections are closed.
func (q *request) frame(mode route.Desync) error {
	absolute, hosts, lengths, codings := q.host != "", 0, 0, 0
	var length int64
	persist := false
	for i := range q.fields {
		f := &q.fields[i]
		switch f.id {
		case host:
			if hosts++; hosts > 1 || !validHost(f.value) {
				return refusal{400}
			}
			if !absolute {
				q.host = f.value
			}
		case contentLength:
			n, ok := parseLength(f.value)
			if !ok || lengths > 0 && n != length {
				return refusal{400}
			}
			length = n
			if lengths++; lengths > 1 {
				q.odd = true
			}
		case transferEncoding:
			if codings++; codings > 1 || !foldEqual(f.value, "chunked") {
				return refusal{400}
			}
		case connection:
			eachToken(f.value, func(token string) {
				switch {
				case foldEqual(token, "close"):
					q.close = true
				case foldEqual(token, "keep-alive"):
					persist = true
				case foldEqual(token, "upgrade"):
					q.upgrade = "?"
				case identify(token) == other:
					q.nominated = append(q.nominated, token)
				}
			})
		case expect:
			if !foldEqual(f.value, "100-continue") {
				return refusal{417}
			}
			q.expects = q.minor == 1
		}
	}
	if q.upgrade != "" {
		q.upgrade = ""
		for _, f := range q.fields {
			// h2c would be spoken past all that is done here.
			if f.id == upgrade && !foldEqual(f.value, "h2c") {
				q.upgrade = f.value
			}
		}
	}
	if hosts == 0 && q.minor == 1 || absolute && !validHost(q.host) {
		return refusal{400}
	}
	switch {
	case codings > 0 && q.minor == 0:
		return refusal{400}
	case codings > 0:
		if lengths > 0 {
			q.ambiguous = true
		}
		q.length = -1
	default:
		q.length = length
	}
	if q.length != 0 && (q.method == "GET" || q.method == "HEAD") {
		q.odd = true
	}
	if q.ambiguous && mode != route.Monitor || q.odd && mode == route.Strictest {
		return refusal{400}
	}
	q.close = q.close || q.minor == 0 && !persist || q.ambiguous
	return nil
}

func validHost(s string) bool {
	for i := range len(s) {
		if c := s[i]; classes[c]&targetChar == 0 || c == '/' || c == '?' || c == '#' || c == '@' || c == ',' || c == '\\' {
			return false
		}
	}
	return true
}

// Values is for route.
func (q *request) Values(name string, f func(string) bool) {
	for i := range q.fields {
		if foldEqual(q.fields[i].name, name) && !f(q.fields[i].value) {
			return
		}
	}
}

// drops reports whether Connection says that a field ends here.
func (q *request) drops(name string) bool {
	for _, n := range q.nominated {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// response is the head of an answer.
type response struct {
	status    int
	reason    string
	fields    []field
	length    int64 // -1 = it is chunked, -2 = it ends with the connection
	nominated []string
	close     bool
	idle      int // the seconds that the target keeps an idle connection, if it says so
}

var errBadAnswer = errors.New("the target's answer is malformed")

// parse reads the head of an answer to a request of that method.
func (a *response) parse(head []byte, method string) error {
	*a = response{fields: a.fields[:0], nominated: a.nominated[:0]}
	line, rest, ok := cutLine(head)
	if !ok || len(line) < 12 || view(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return errBadAnswer
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return errBadAnswer
		}
		a.status = a.status*10 + int(c-'0')
	}
	if a.status < 100 {
		return errBadAnswer
	}
	if len(line) > 13 {
		a.reason = view(line[13:])
		for _, c := range line[13:] {
			if classes[c]&valueChar == 0 {
				return errBadAnswer
			}
		}
	}
	var err error
	if a.fields, err = parseFields(a.fields, rest, false); err != nil {
		return errBadAnswer
	}
	return a.frame(line[7] == '1', method)
}

func (a *response) frame(persistent bool, method string) error {
	lengths, codings := 0, 0
	a.length = -2
	keep := false
	for i := range a.fields {
		f := &a.fields[i]
		switch f.id {
		case contentLength:
			n, ok := parseLength(f.value)
			if !ok || lengths > 0 && n != a.length {
				return errBadAnswer
			}
			lengths, a.length = lengths+1, n
		case transferEncoding:
			if codings++; codings > 1 || !foldEqual(f.value, "chunked") {
				return errBadAnswer
			}
		case connection:
			eachToken(f.value, func(token string) {
				switch {
				case foldEqual(token, "close"):
					a.close = true
				case foldEqual(token, "keep-alive"):
					keep = true
				case identify(token) == other:
					a.nominated = append(a.nominated, token)
				}
			})
		case keepAlive:
			eachToken(f.value, func(token string) {
				if n, ok := parseLength(strings.TrimPrefix(token, "timeout=")); ok && n < 1<<20 && len(token) > 8 {
					a.idle = int(n)
				}
			})
		}
	}
	a.close = a.close || !persistent && !keep
	if codings > 0 {
		if lengths > 0 {
			return errBadAnswer // of two lengths, one is somebody else's
		}
		a.length = -1
	}
	if method == "HEAD" || a.status < 200 || a.status == 204 || a.status == 304 {
		a.length = 0
	}
	a.close = a.close || a.length == -2
	return nil
}

func (a *response) drops(name string) bool {
	for _, n := range a.nominated {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
