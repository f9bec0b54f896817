package proxy

import (
	"bytes"
	"errors"
	"unsafe"
)

// The limits of Application Load Balancers. User Guide, "Troubleshoot your Application Load Balancers": 16 K for the
// request line, 16 K for a header field, 64 K for a request's head; 32 K for an answer's.
const (
	maxRequestLine  = 16 << 10
	maxField        = 16 << 10
	maxRequestHead  = 64 << 10
	maxResponseHead = 32 << 10
	maxMethod       = 127
)

var errMalformed = errors.New("it is malformed")

// field is a header field. Its strings show memory of the connection's buffer: they hold as long as the message is being
// handled.
type field struct {
	name, value string
	id          fieldID
}

// fieldID tells header fields apart that matter to a proxy.
type fieldID uint8

const (
	other fieldID = iota
	connection
	contentLength
	transferEncoding
	host
	expect
	upgrade
	te
	trailer
	keepAlive
	proxyConnection
	forwardedFor
	forwardedProto
	forwardedPort
	traceID
	cookie
	setCookie
	server
	date
	http2Settings
	userAgent
	contentType
)

var fieldNames = map[fieldID]string{connection: "connection", contentLength: "content-length", transferEncoding: "transfer-encoding",
	host: "host", expect: "expect", upgrade: "upgrade", te: "te", trailer: "trailer", keepAlive: "keep-alive",
	proxyConnection: "proxy-connection", forwardedFor: "x-forwarded-for", forwardedProto: "x-forwarded-proto",
	forwardedPort: "x-forwarded-port", traceID: "x-amzn-trace-id", cookie: "cookie", setCookie: "set-cookie", server: "server",
	date: "date", http2Settings: "http2-settings", userAgent: "user-agent", contentType: "content-type"}

// byLength are the fieldNames by their lengths: most are told apart by that.
var byLength = func() (table [32][]struct {
	name string
	id   fieldID
}) {
	for id, name := range fieldNames {
		table[len(name)] = append(table[len(name)], struct {
			name string
			id   fieldID
		}{name, id})
	}
	return table
}()

func identify(name string) fieldID {
	if len(name) >= len(byLength) {
		return other
	}
	for _, known := range byLength[len(name)] {
		if foldEqual(name, known.name) {
			return known.id
		}
	}
	return other
}

// foldEqual compares with a text in lower case.
func foldEqual(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// view shows bytes as a string, without copying them: the string holds as long as nobody writes to them.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// readHead reads up to the empty line that ends a head, and returns the head with the end of its last line. Empty lines
// before it are skipped (RFC 9112, 2.2). In the buffer it stays until settle.
func (s *side) readHead(limit int) ([]byte, error) {
	scanned := 0
	for {
		for s.r < s.w && scanned == 0 && (s.buf[s.r] == '\r' && s.r+1 < s.w && s.buf[s.r+1] == '\n') {
			s.r += 2
		}
		if i := bytes.Index(s.buf[s.r+scanned:s.w], []byte("\r\n\r\n")); i >= 0 {
			end := s.r + scanned + i
			if end-s.r > limit {
				return nil, errTooLong
			}
			head := s.buf[s.r : end+2 : end+2]
			s.r = end + 4
			s.base = s.r
			return head, nil
		}
		if s.buffered() > limit {
			return nil, errTooLong
		}
		scanned = max(0, s.buffered()-3)
		if err := s.fill(limit + smallBuffer); err != nil {
			return nil, err
		}
	}
}

// cutLine takes a line off a head.
func cutLine(head []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(head, '\n')
	if i < 1 || head[i-1] != '\r' {
		return nil, nil, false
	}
	return head[:i-1], head[i+1:], true
}

// parseFields reads the header fields of a head, after its first line. Lines that go on in the next, spaces before the
// colon, names that are no tokens, and control characters are refused, whoever sends them: they are how one message is
// made to look like two. With dropInvalid, fields with odd names are left out instead.
func parseFields(into []field, head []byte, dropInvalid bool) ([]field, error) {
	for len(head) > 0 {
		line, rest, ok := cutLine(head)
		if !ok {
			return into, errMalformed
		}
		head = rest
		if len(line) > maxField {
			return into, errTooLong
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return into, errMalformed
		}
		name, value := line[:colon], trim(line[colon+1:])
		plain, token := true, true
		for _, c := range name {
			class := classes[c]
			plain = plain && class&plainChar != 0
			token = token && class&tokenChar != 0
		}
		if !token {
			if bytes.ContainsAny(name, " \t") || !dropInvalid {
				return into, errMalformed
			}
			continue
		}
		for _, c := range value {
			if classes[c]&valueChar == 0 {
				return into, errMalformed
			}
		}
		if dropInvalid && !plain {
			continue
		}
		n := view(name)
		into = append(into, field{n, view(value), identify(n)})
	}
	return into, nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

const (
	tokenChar  = 1 << iota // RFC 9110, 5.6.2
	plainChar              // letters, digits and hyphens: the valid names of drop_invalid_header_fields
	valueChar              // RFC 9110, 5.5: no control characters but the tab
	targetChar             // no spaces and no control characters
)

var classes = func() (table [256]uint8) {
	for i := range 256 {
		c := byte(i)
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if alnum || c == '-' {
			table[i] |= plainChar
		}
		if alnum || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 {
			table[i] |= tokenChar
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			table[i] |= valueChar
		}
		if c > ' ' && c != 0x7f {
			table[i] |= targetChar
		}
	}
	return table
}()

// parseLength reads a Content-Length: digits only.
func parseLength(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// eachToken calls f with the elements of a list separated by commas.
func eachToken(list string, f func(token string)) {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ',' {
			end++
		}
		from, to := 0, end
		for from < to && (list[from] == ' ' || list[from] == '\t') {
			from++
		}
		for to > from && (list[to-1] == ' ' || list[to-1] == '\t') {
			to--
		}
		if from < to {
			f(list[from:to])
		}
		list = list[min(len(list), end+1):]
	}
}
