package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
)

// echo answers with the head and the body that it got.
func echo(t *testing.T) string {
	return wild(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, err := readUntilEmpty(r)
			if err != nil {
				return
			}
			var body []byte
			lower := strings.ToLower(head)
			if i := strings.Index(lower, "content-length: "); i >= 0 {
				var n int
				fmt.Sscanf(lower[i+16:], "%d", &n)
				body = make([]byte, n)
				io.ReadFull(r, body)
			} else if strings.Contains(lower, "transfer-encoding: chunked") {
				raw, _ := readUntilEmpty(r)
				body = []byte(raw)
			}
			text := head + string(body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Secret: mine\r\nConnection: X-Secret, keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n%s", len(text), text)
		}
	})
}

func readUntilEmpty(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

func TestWhatTheTargetSees(t *testing.T) {
	const start = "GET /x?y HTTP/1.1\r\nHost: example.com\r\n"
	for _, c := range []struct {
		name, say  string
		attributes map[string]string
		has, lacks []string
	}{
		{"forwarded", start + "\r\n", nil, []string{"GET /x?y HTTP/1.1\r\nHost: example.com\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Port: 80\r\n", "X-Amzn-Trace-Id: Root=1-"}, nil},
		{"forwarded for another", start + "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\r\n", nil, []string{"X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1\r\n"}, []string{"x-forwarded-for"}},
		{"preserve", start + "X-Forwarded-For: 1.2.3.4\r\n\r\n", map[string]string{"routing.http.xff_header_processing.mode": "preserve"}, []string{"X-Forwarded-For: 1.2.3.4\r\n"}, nil},
		{"preserve nothing", start + "\r\n", map[string]string{"routing.http.xff_header_processing.mode": "preserve"}, nil, []string{"X-Forwarded-For"}},
		{"remove", start + "X-Forwarded-For: 1.2.3.4\r\n\r\n", map[string]string{"routing.http.xff_header_processing.mode": "remove"}, nil, []string{"X-Forwarded-For"}},
		{"client port", start + "\r\n", map[string]string{"routing.http.xff_client_port.enabled": "true"}, []string{"X-Forwarded-For: 127.0.0.1:"}, nil},
		{"a lie about the protocol", start + "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n\r\n", nil, []string{"X-Forwarded-Proto: http\r\n"}, []string{"https", "Port: 1\r\n"}},
		{"a trace that goes on", start + "X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678\r\n\r\n", nil, []string{"X-Amzn-Trace-Id: Self=1-", ";Root=1-67891233-abcdef012345678912345678\r\n"}, nil},
		{"a trace of two hops", start + "X-Amzn-Trace-Id: Self=1-2-3;Root=1-67891233-abcdef012345678912345678\r\n\r\n", nil, []string{";Root=1-67891233-abcdef012345678912345678\r\n"}, []string{"1-2-3"}},
		{"hop by hop", start + "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\nProxy-Connection: x\r\nX-Yours: 2\r\n\r\n", nil, []string{"X-Yours: 2\r\n"}, []string{"X-Mine", "Keep-Alive", "TE:", "Proxy-Connection", "Connection:"}},
		{"what Connection may not take away", start + "Connection: X-Forwarded-For, Host\r\n\r\n", nil, []string{"X-Forwarded-For: 127.0.0.1\r\n", "Host: example.com\r\n"}, nil},
		{"absolute form", "GET http://other.example/p HTTP/1.1\r\nHost: example.com\r\n\r\n", nil, []string{"GET /p HTTP/1.1\r\nHost: other.example\r\n"}, []string{"Host: example.com"}},
		{"own port", "GET / HTTP/1.1\r\nHost: example.com:80\r\n\r\n", nil, []string{"Host: example.com\r\n"}, nil},
		{"host preserved", "GET / HTTP/1.1\r\nHost: example.com:80\r\n\r\n", map[string]string{"routing.http.preserve_host_header.enabled": "true"}, []string{"Host: example.com:80\r\n"}, nil},
		{"odd names", start + "x_y: 1\r\n\r\n", nil, []string{"x_y: 1\r\n"}, nil},
		{"odd names dropped", start + "x_y: 1\r\na-b: 2\r\n\r\n", map[string]string{"routing.http.drop_invalid_header_fields.enabled": "true"}, []string{"a-b: 2\r\n"}, []string{"x_y"}},
		{"a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", nil, []string{"Content-Length: 3\r\n", "\r\n\r\nabc"}, nil},
		{"no body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", nil, []string{"Content-Length: 0\r\n"}, nil},
		{"chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-After: 1\r\nContent-Length: 2\r\n\r\n", nil, []string{"Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-After: 1\r\n\r\n"}, []string{"x=y", "Content-Length"}},
		{"empty lines before", "\r\n\r\n" + start + "\r\n", nil, []string{"GET /x?y HTTP/1.1\r\n"}, nil},
		{"monitor", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", map[string]string{"routing.http.desync_mitigation_mode": "monitor"}, []string{"Transfer-Encoding: chunked\r\n"}, []string{"Content-Length"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, echo(t))
			s.balancer = c.attributes
			k := s.open().dial()
			k.say(c.say)
			r, got := k.hear("GET")
			if r.StatusCode != 200 {
				t.Fatalf("%d %s", r.StatusCode, got)
			}
			for _, h := range c.has {
				if !strings.Contains(got, h) {
					t.Errorf("%q is not in %q", h, got)
				}
			}
			for _, l := range c.lacks {
				if strings.Contains(got, l) {
					t.Errorf("%q is in %q", l, got)
				}
			}
			if r.Header.Get("X-Secret") != "" || r.Header.Get("Keep-Alive") != "" {
				t.Errorf("the client sees what is between balancer and target: %v", r.Header)
			}
		})
	}
}

func TestRequestsThatCanBeReadInTwoWaysAreRefused(t *testing.T) {
	const host = "Host: a\r\n"
	long := strings.Repeat("x", 17<<10)
	for say, want := range map[string]int{
		"GET / HTTP/1.1\r\n\r\n": 400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":           400,
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab":                          400,
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\na":                                             400,
		"POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\na":                                               400,
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\na":                                              400,
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n":                                       400,
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, identity\r\n\r\n":                              400,
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n":                                       400,
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n":                              400,
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n":                              400,
		"POST / HTTP/1.1\r\n" + host + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                      400,
		"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                               400,
		"GET / HTTP/1.1\r\n" + host + host + "\r\n":                                                                400,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                                                      400,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                                      400,
		"GET / HTTP/1.1\nHost: a\n\r\n\r\n":                                                                        400,
		"GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n":                                                          400,
		"GET / HTTP/1.1\r\n" + host + "X: a\rb\r\n\r\n":                                                            400,
		"GET / HTTP/1.1\r\n" + host + "X@Y: a\r\n\r\n":                                                             400,
		"GET / HTTP/1.1\r\n" + host + ": a\r\n\r\n":                                                                400,
		"GET / HTTP/1.1\r\n" + host + "nothing\r\n\r\n":                                                            400,
		"GET  / HTTP/1.1\r\n" + host + "\r\n":                                                                      400,
		"GET / x HTTP/1.1\r\n" + host + "\r\n":                                                                     400,
		"GET x HTTP/1.1\r\n" + host + "\r\n":                                                                       400,
		"GET ftp://a/ HTTP/1.1\r\n" + host + "\r\n":                                                                400,
		"GET http://u@a/ HTTP/1.1\r\n" + host + "\r\n":                                                             400,
		"G@T / HTTP/1.1\r\n" + host + "\r\n":                                                                       400,
		"hello\r\n\r\n":                                                                                            400,
		"GET / HTTP/2.0\r\n" + host + "\r\n":                                                                       505,
		"GET / HTTP/1.2\r\n" + host + "\r\n":                                                                       505,
		"TRACE / HTTP/1.1\r\n" + host + "\r\n":                                                                     405,
		"CONNECT a:1 HTTP/1.1\r\n" + host + "\r\n":                                                                 405,
		strings.Repeat("M", 128) + " / HTTP/1.1\r\n" + host + "\r\n":                                               405,
		"GET / HTTP/1.1\r\n" + host + "Expect: 200-maybe\r\n\r\n":                                                  417,
		"GET /" + long + " HTTP/1.1\r\n" + host + "\r\n":                                                           414,
		"GET /" + strings.Repeat(long, 5) + " HTTP/1.1\r\n":                                                        414,
		"GET / HTTP/1.1\r\n" + host + "X: " + long + "\r\n\r\n":                                                    400,
		"GET / HTTP/1.1\r\n" + host + strings.Repeat("X: "+long[:10<<10]+"\r\n", 7):                                400,
		"GET / HTTP/1.1\r\n" + host + "X-Forwarded-For: 1" + strings.Repeat(",1", 30) + "\r\n\r\n":                 463,
	} {
		asked := atomic.Bool{}
		s := newSite(t, serve(t, func(http.ResponseWriter, *http.Request) { asked.Store(true) })).open()
		k := s.dial()
		k.say(say)
		r, body := k.hear("GET")
		if r.StatusCode != want || asked.Load() {
			t.Errorf("%.80q: %d, want %d; the target was asked: %v", say, r.StatusCode, want, asked.Load())
		}
		if r.Header.Get("Server") != "awselb/2.0" || !strings.Contains(body, fmt.Sprint("<center><h1>", want, " ")) {
			t.Errorf("%.80q: %v %q", say, r.Header, body)
		}
		if want != 463 {
			k.ends()
		}
		k.Close()
	}
}

func TestStrictestRefusesWhatIsOnlyOdd(t *testing.T) {
	for _, say := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		for mode, want := range map[string]int{"defensive": 200, "strictest": 400} {
			s := newSite(t, echo(t))
			s.balancer["routing.http.desync_mitigation_mode"] = mode
			k := s.open().dial()
			k.say(say)
			if r, body := k.hear("GET"); r.StatusCode != want {
				t.Errorf("%s: %q: %d %s", mode, say, r.StatusCode, body)
			}
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	s := newSite(t, serve(t, hello)).open()
	k := s.dial()
	var all strings.Builder
	for i := range 50 {
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d", i, i)
	}
	k.say(all.String())
	for i := range 50 {
		if _, body := k.hear("POST"); body != fmt.Sprintf(`POST a /%d "%02d"`, i, i) {
			t.Fatalf("%d: %s", i, body)
		}
	}
}

func TestAnswersOfAllShapes(t *testing.T) {
	for _, c := range []struct{ name, say, answer, status, body string }{
		{"length", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "200 OK", "ab"},
		{"chunks", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "200 OK", "ab"},
		{"until the end", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n\r\nab", "200 OK", "ab"},
		{"old target", "GET / HTTP/1.1\r\n", "HTTP/1.0 200 Fine\r\n\r\nab", "200 Fine", "ab"},
		{"old client", "GET / HTTP/1.0\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "200 OK", "ab"},
		{"no reason", "GET / HTTP/1.1\r\n", "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", "299 ", ""},
		{"no content", "GET / HTTP/1.1\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "204 No Content", ""},
		{"not modified", "GET / HTTP/1.1\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 Not Modified", ""},
		{"head", "HEAD / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "200 OK", ""},
		{"hints", "GET / HTTP/1.1\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "200 OK", "ab"},
		{"two lengths", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "502 Bad Gateway", ""},
		{"no HTTP", "GET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "502 Bad Gateway", ""},
		{"not whole", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nConten", "502 Bad Gateway", ""},
		{"nothing", "GET / HTTP/1.1\r\n", "", "502 Bad Gateway", ""},
		{"folded", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "502 Bad Gateway", ""},
		{"a head too long", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 33<<10) + "\r\n\r\n", "502 Bad Gateway", ""},
		{"unasked protocols", "GET / HTTP/1.1\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "502 Bad Gateway", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, wild(t, func(conn net.Conn, r *bufio.Reader) {
				if _, err := readUntilEmpty(r); err == nil {
					io.WriteString(conn, c.answer)
				}
			})).open()
			k := s.dial()
			k.say(c.say + "Host: a\r\n\r\n")
			method, _, _ := strings.Cut(c.say, " ")
			r, body := k.hear(method)
			if r.Status != c.status || !strings.HasPrefix(c.status, "502") && body != c.body {
				t.Errorf("%s %q", r.Status, body)
			}
			if r.Header.Get("Date") == "" {
				t.Error("no date")
			}
			if strings.Contains(c.say, "1.0") {
				k.ends()
				return
			}
			k.say(c.say + "Host: a\r\n\r\n") // the client's connection is as good as before
			if r, _ := k.hear(method); r.Status != c.status {
				t.Errorf("the second time: %s", r.Status)
			}
		})
	}
}

func TestAnAnswerThatIsCutOffIsSeenToBe(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"} {
		s := newSite(t, wild(t, func(conn net.Conn, r *bufio.Reader) {
			readUntilEmpty(r)
			io.WriteString(conn, answer)
		})).open()
		k := s.dial()
		k.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, err := http.ReadResponse(k.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %q, %v", answer, body, err)
		}
	}
}

func TestBodiesStreamBothWays(t *testing.T) {
	s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		part := make([]byte, 10)
		for {
			n, err := r.Body.Read(part)
			w.Write(part[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	})).open()
	k := s.dial()
	k.say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
	r, err := http.ReadResponse(k.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 2)
	for _, more := range []string{"2\r\ncd\r\n", "2\r\nef\r\n", "0\r\n\r\n"} {
		if _, err := io.ReadFull(r.Body, part); err != nil {
			t.Fatal(err)
		}
		k.say(more) // said only when the part before has come back
	}
	if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	k.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	k.hear("GET")
}

// TestConnectionsOutliveBodies: a target may answer in the very moment in which it has all of a body. Neither its
// connection nor the client's is any the worse for it.
func TestConnectionsOutliveBodies(t *testing.T) {
	s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Write(body)
	})).open()
	k := s.dial()
	body := strings.Repeat("0123456789abcdef", 4<<10)
	for n := range 1000 {
		k.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
		if res, got := k.hear("POST"); res.StatusCode != 200 || got != body {
			t.Fatalf("request %d: %s, %d bytes", n, res.Status, len(got))
		}
	}
}

func TestAHeadComesBeforeItsBody(t *testing.T) {
	for _, secure := range []bool{false, true} {
		heard := make(chan struct{})
		s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-heard
		}))
		s.secure = secure
		r, err := s.open().client().Get(s.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		close(heard)
		io.ReadAll(r.Body)
		r.Body.Close()
	}
}

func TestTrailersArePassedOn(t *testing.T) {
	s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "ab")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "3")
	})).open()
	r, _ := get(t, s.client(), s.url("/"))
	if r.Trailer.Get("X-Sum") != "3" {
		t.Errorf("%v", r.Trailer)
	}
}

func TestContinueIsTheTargetsToSay(t *testing.T) {
	s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(403)
			return
		}
		hello(w, r)
	})).open()
	const rest = " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	k := s.dial()
	k.say("PUT /" + rest)
	if line, _ := readUntilEmpty(k.r); line != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q", line)
	}
	k.say("abc")
	if _, body := k.hear("PUT"); body != `PUT a / "abc"` {
		t.Error(body)
	}
	k.say("PUT /no" + rest)
	if r, _ := k.hear("PUT"); r.StatusCode != 403 {
		t.Error(r.Status)
	}
	k.ends() // the body may come or not
}

func TestAnEarlyAnswerReachesTheClient(t *testing.T) {
	s := newSite(t, wild(t, func(c net.Conn, r *bufio.Reader) {
		readUntilEmpty(r)
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		io.Copy(io.Discard, r)
	})).open()
	k := s.dial()
	k.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			if _, err := k.Conn.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	if r, body := k.hear("POST"); r.StatusCode != 413 || body != "no" {
		t.Errorf("%d %s", r.StatusCode, body)
	}
	k.Close()
	sending.Wait()
}

func TestWebSocketsBecomeOne(t *testing.T) {
	s := newSite(t, wild(t, func(c net.Conn, r *bufio.Reader) {
		head, _ := readUntilEmpty(r)
		if !strings.Contains(head, "Upgrade: websocket\r\n") || !strings.Contains(head, "Connection: Upgrade\r\n") {
			io.WriteString(c, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nfirst")
		io.Copy(c, r)
	})).open()
	k := s.dial()
	k.say("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
	head, _ := readUntilEmpty(k.r)
	if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Upgrade: websocket") || !strings.Contains(head, "Sec-WebSocket-Accept: x") {
		t.Fatal(head)
	}
	said := make([]byte, 10)
	if _, err := io.ReadFull(k.r, said); err != nil || string(said) != "firstearly" {
		t.Errorf("%q %v", said, err)
	}
	if n := s.gauges.Of(s.targets[0].Key).UnderWay.Load(); n != 1 {
		t.Errorf("%d are counted while it is open", n)
	}
	k.say("more")
	k.Conn.(*net.TCPConn).CloseWrite()
	if rest, _ := io.ReadAll(k.r); string(rest) != "more" {
		t.Errorf("%q", rest)
	}
}

func TestRefusalsOfTheLoadBalancer(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ask := func(s *site) int {
		k := s.open().dial()
		k.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, _ := k.hear("GET")
		return r.StatusCode
	}
	if got := ask(newSite(t)); got != 503 {
		t.Errorf("no targets: %d", got)
	}
	if got := ask(newSite(t, closed.Addr().String())); got != 502 {
		t.Errorf("a refused connection: %d", got)
	}
	if got := ask(newSite(t, closed.Addr().String(), serve(t, hello))); got != 200 {
		t.Errorf("a refused connection, and another target: %d", got)
	}
	silent := newSite(t, wild(t, func(c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }))
	silent.balancer["idle_timeout.timeout_seconds"] = "1"
	if got := ask(silent); got != 504 {
		t.Errorf("a silent target: %d", got)
	}
	grpc := newSite(t, serve(t, hello))
	grpc.group.ProtocolVersion = "GRPC"
	if got := ask(grpc); got != 464 {
		t.Errorf("HTTP/1 for gRPC: %d", got)
	}
	draining := newSite(t, serve(t, hello))
	draining.targets[0].Draining = true
	if got := ask(draining); got != 503 {
		t.Errorf("a target that drains: %d", got)
	}
	sick := newSite(t, serve(t, hello))
	sick.targets[0].Record.Health.State = elb.TargetHealthStateEnumUnhealthy
	if got := ask(sick); got != 200 {
		t.Errorf("none is healthy, so all are asked: %d", got)
	}
}

func TestClientsThatTakeTooLong(t *testing.T) {
	for say, want := range map[string]int{
		"":                         0,
		"GET / HTTP/1.1\r\nHost: ": 408,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab": 408,
	} {
		s := newSite(t, serve(t, hello))
		s.balancer["idle_timeout.timeout_seconds"] = "1"
		k := s.open().dial()
		k.say(say)
		if want > 0 {
			if r, _ := k.hear("GET"); r.StatusCode != want {
				t.Errorf("%q: %d", say, r.StatusCode)
			}
		}
		k.ends()
	}
}

func TestASlowHeadIsCutOffThoughBytesKeepComing(t *testing.T) {
	s := newSite(t, serve(t, hello))
	s.balancer["idle_timeout.timeout_seconds"] = "1"
	k := s.open().dial()
	k.say("GET / HTTP/1.1\r\nHost: a\r\n")
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				if _, err := io.WriteString(k.Conn, "X: y\r\n"); err != nil {
					return
				}
			}
		}
	})
	if r, _ := k.hear("GET"); r.StatusCode != 408 {
		t.Error(r.Status)
	}
	close(stop)
	sending.Wait()
}

func TestAClientThatGoesFreesTheTarget(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(gone)
	})).open()
	k := s.dial()
	k.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-asked
	k.Close()
	<-gone
}

func TestADeadIdleConnectionCostsNoRequest(t *testing.T) {
	var served atomic.Int64
	s := newSite(t, wild(t, func(c net.Conn, r *bufio.Reader) {
		// It answers one request, and closes the connection without having said so.
		if _, err := readUntilEmpty(r); err == nil {
			served.Add(1)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})).open()
	k := s.dial()
	for i := range 100 {
		method := "GET"
		if i%3 == 2 {
			method = "POST"
		}
		k.say(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		if r, _ := k.hear(method); method == "GET" && r.StatusCode != 200 {
			t.Fatalf("%d: %s", i, r.Status)
		}
	}
}

func TestRulesRedirectAndAnswer(t *testing.T) {
	s := newSite(t, serve(t, hello))
	text := func(s string) *string { return &s }
	s.rules = []route.Rule{
		{Priority: 1, Conditions: []elb.RuleCondition{{Field: text("path-pattern"), Values: []string{"/old/*"}}},
			Action: route.Action{Redirect: &elb.RedirectActionConfig{StatusCode: elb.RedirectActionStatusCodeEnumHttp301, Protocol: text("HTTPS"), Port: text("443"), Path: text("/new/#{path}")}}},
		{Priority: 2, Conditions: []elb.RuleCondition{{Field: text("path-pattern"), Values: []string{"/fixed"}}},
			Action: route.Action{Fixed: &elb.FixedResponseActionConfig{StatusCode: text("418"), ContentType: text("text/plain"), MessageBody: text("teapot")}}},
	}
	s.listener["routing.http.response.strict_transport_security.header_value"] = "max-age=1"
	s.open()
	c := s.client()
	if r, _ := get(t, c, s.url("/old/a?b")); r.StatusCode != 301 || r.Header.Get("Location") != "https://127.0.0.1:443/new/old/a?b" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	if r, body := get(t, c, s.url("/fixed")); r.StatusCode != 418 || body != "teapot" || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %q %v", r.StatusCode, body, r.Header)
	}
	if r, _ := get(t, c, s.url("/")); r.StatusCode != 200 || r.Header.Get("Strict-Transport-Security") != "max-age=1" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	k := s.dial()
	k.say("POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	k.hear("POST")
	if _, body := k.hear("GET"); body != `GET a / ""` {
		t.Error(body)
	}
}
