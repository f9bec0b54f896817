package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"golang.org/x/net/http2"

	"havn/balance/route"
)

func serveHTTP2(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestGRPCStreamsBothWaysWithTrailers(t *testing.T) {
	s := newSite(t, serveHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("%s %v", r.Proto, r.Header)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		part := make([]byte, 4)
		for {
			n, err := io.ReadFull(r.Body, part)
			w.Write(part[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	s.secure, s.group.ProtocolVersion = true, "GRPC"
	s.open()
	to, body := io.Pipe()
	req, _ := http.NewRequest("POST", s.url("/pkg.Service/Method"), to)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	r, err := s.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 || r.ProtoMajor != 2 {
		t.Fatal(r.Status, r.Proto)
	}
	part := make([]byte, 4)
	for i := range 3 {
		fmt.Fprintf(body, "%04d", i)
		if _, err := io.ReadFull(r.Body, part); err != nil || string(part) != fmt.Sprintf("%04d", i) {
			t.Fatalf("%q %v", part, err)
		}
	}
	body.Close()
	if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 || r.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v %v", rest, err, r.Trailer)
	}
	if r, _ := get(t, s.client(), s.url("/")); r.StatusCode != 464 {
		t.Errorf("GET for gRPC: %s", r.Status)
	}
}

func TestHTTP2ClientsOfTargetsOfHTTP1(t *testing.T) {
	s := newSite(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
			c.Close()
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Proto", r.Proto+" "+r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Forwarded-Port")+" "+r.Host)
		hello(w, r)
		w.Header().Set("X-Sum", "1")
	}))
	s.secure = true
	c := s.open().client()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			sent := strings.Repeat("x", i*1000)
			req, _ := http.NewRequest("POST", s.url("/p?q"), io.MultiReader(strings.NewReader(sent)))
			req.Host = "example.com"
			r, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			if r.ProtoMajor != 2 || string(body) != fmt.Sprintf("POST example.com /p?q %q", sent) || r.Header.Get("X-Proto") != "HTTP/1.1 https 443 example.com" {
				t.Errorf("%s %d %v", r.Proto, len(body), r.Header)
			}
			if r.Trailer.Get("X-Sum") != "1" {
				t.Errorf("%v", r.Trailer)
			}
		})
	}
	all.Wait()
	r, err := c.Get(s.url("/cut"))
	if err == nil {
		_, err = io.ReadAll(r.Body)
		r.Body.Close()
	}
	if err == nil {
		t.Error("an answer that is cut off looks whole")
	}
}

func TestAStreamThatIsResetFreesTheTarget(t *testing.T) {
	for _, version := range []string{"HTTP1", "HTTP2"} {
		asked, gone := make(chan struct{}), make(chan struct{})
		h := func(w http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
			close(gone)
		}
		s := newSite(t)
		if version == "HTTP2" {
			s.targets = append(s.targets, target(serveHTTP2(t, h)))
		} else {
			s.targets = append(s.targets, target(serve(t, h)))
		}
		s.secure, s.group.ProtocolVersion = true, version
		s.open()
		cancelled := make(chan struct{})
		req, _ := http.NewRequest("GET", s.url("/"), nil)
		req.Cancel = cancelled
		go func() { <-asked; close(cancelled) }()
		if _, err := s.client().Do(req); err == nil {
			t.Error("it was answered")
		}
		<-gone
	}
}

func TestTargetsWithTLSAreNotAskedWhoTheyAre(t *testing.T) {
	backend := httptest.NewTLSServer(http.HandlerFunc(hello))
	t.Cleanup(backend.Close)
	s := newSite(t, backend.Listener.Addr().String())
	s.group.Protocol = elb.ProtocolEnumHttps
	s.open()
	for range 3 {
		if r, body := get(t, s.client(), s.url("/")); r.StatusCode != 200 || !strings.HasPrefix(body, "GET ") {
			t.Errorf("%s %s", r.Status, body)
		}
	}
}

func TestRequestsOfOneClientStayWithATarget(t *testing.T) {
	name := func(n string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				http.SetCookie(w, &http.Cookie{Name: "SESSION", Value: "1"})
			}
			io.WriteString(w, n)
		}
	}
	for _, kind := range []string{"lb_cookie", "app_cookie"} {
		s := newSite(t, serve(t, name("a")), serve(t, name("b")), serve(t, name("c")))
		s.group.Attributes = map[string]string{"stickiness.enabled": "true", "stickiness.type": kind, "stickiness.app_cookie.cookie_name": "SESSION"}
		s.open()
		c := s.client()
		r, first := get(t, c, s.url("/login"))
		var cookies []string
		for _, cookie := range r.Cookies() {
			cookies = append(cookies, cookie.Name+"="+cookie.Value)
		}
		want := map[string]string{"lb_cookie": `^SESSION=1;AWSALB=[\w-]+;AWSALBCORS=[\w-]+$`, "app_cookie": `^SESSION=1;AWSALBAPP-0=[\w-]+$`}[kind]
		if !regexp.MustCompile(want).MatchString(strings.Join(cookies, ";")) {
			t.Errorf("%s: %v", kind, cookies)
		}
		ask := func(cookie string) string {
			req, _ := http.NewRequest("GET", s.url("/"), nil)
			req.Header.Set("Cookie", cookie)
			r, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			return string(body)
		}
		for range 6 {
			if got := ask(strings.Join(cookies, "; ")); got != first {
				t.Errorf("%s: %s, then %s", kind, first, got)
			}
		}
		seen := map[string]bool{}
		for range 6 {
			seen[ask("SESSION=1; AWSALB=made-up; AWSALBAPP-0=made-up")] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s: a cookie that is made up is believed: %v", kind, seen)
		}
		for i := range s.targets { // the target drains: the client goes to another, and stays there
			if strings.Contains(first, string(rune('a'+i))) {
				s.targets[i].Draining = true
			}
		}
		s.put()
		if got := ask(strings.Join(cookies, "; ")); got == first {
			t.Errorf("%s: it stays with a target that drains", kind)
		}
	}
}

// Rolling through targets while clients ask: each is drained, and stopped as soon as the gauge says that nothing is
// under way. No request may fail, of any kind.
func TestNoRequestIsLostWhileTargetsComeAndGo(t *testing.T) {
	var made []*httptest.Server
	start := func() string {
		b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.URL.Path == "/slow" {
				w.Write([]byte("be"))
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
			hello(w, r)
		}))
		made = append(made, b)
		return b.Listener.Addr().String()
	}
	s := newSite(t, start(), start())
	s.open()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	var answered atomic.Int64
	for i := range 8 {
		asking.Go(func() {
			c := s.client()
			for {
				select {
				case <-stop:
					return
				default:
				}
				path, body := "/", ""
				if i%2 == 1 {
					path = "/slow"
				}
				if i%4 > 1 {
					body = "body"
				}
				r, err := c.Post(s.url(path), "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != 200 || !strings.HasSuffix(string(got), strconv.Quote(body)) {
					t.Errorf("%s %q %v", r.Status, got, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for round := range 20 {
		before := answered.Load()
		for answered.Load() < before+20 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		s.targets = append(s.targets, target(start()))
		s.put()
		s.targets[round].Draining = true
		s.put()
		idle := make(chan struct{})
		s.gauges.Of(s.targets[round].Key).WhenIdle(func() { close(idle) })
		<-idle
		made[round].CloseClientConnections() // as kill -9 would
		made[round].Close()
	}
	close(stop)
	asking.Wait()
	for _, b := range made {
		b.Close()
	}
}

func TestDrainingClosesIdleConnections(t *testing.T) {
	closed := make(chan struct{})
	s := newSite(t, wild(t, func(c net.Conn, r *bufio.Reader) {
		readUntilEmpty(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		r.ReadByte()
		close(closed)
	})).open()
	k := s.dial()
	k.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	k.hear("GET")
	s.targets[0].Draining = true
	s.put()
	<-closed
}

func TestConnectionsEndWithTheirListener(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := newSite(t, serve(t, hello))
		s.secure = secure
		s.open()
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if secure {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			fr := http2.NewFramer(c, c)
			io.WriteString(c, http2.ClientPreface)
			fr.WriteSettings()
			fr.WritePing(false, [8]byte{})
			for { // it serves when it has answered
				f, err := fr.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				if f.Header().Type == http2.FramePing {
					break
				}
			}
		} else {
			k := &talk{t, c, bufio.NewReader(c)}
			k.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			k.hear("GET")
		}
		s.table.Store(&route.Table{})
		for done := make(chan error, 1); ; {
			s.proxy.Follow(&route.Table{}) // again, for a connection may be busy with the end of its request
			go func() { _, err := io.Copy(io.Discard, c); done <- err }()
			select {
			case <-done:
			case <-time.After(100 * time.Millisecond):
				continue
			}
			break
		}
	}
}

func TestAccessLogs(t *testing.T) {
	s := newSite(t, serve(t, hello))
	var mu sync.Mutex
	var log bytes.Buffer
	s.proxy = New(Config{Gauges: &s.gauges, sweep: 20 * time.Millisecond, AccessLog: func(arn string, line []byte) {
		if arn != siteARN {
			t.Error(arn)
		}
		mu.Lock()
		defer mu.Unlock()
		log.Write(line)
	}})
	s.balancer["access_logs.s3.enabled"] = "true"
	s.open()
	k := s.dial()
	k.say("POST /a?b=\"c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl \"8\"\r\nContent-Length: 2\r\n\r\nab")
	k.hear("POST")
	s.targets[0].Draining = true
	s.put()
	k.say("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	k.hear("GET")
	k.say("GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
	k.hear("GET")
	k.ends()
	mu.Lock()
	lines := strings.Split(log.String(), "\n")
	mu.Unlock()
	const when, span = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`, `\d+\.\d{3}`
	for i, want := range []string{
		`^http ` + when + ` app/site/1234567890abcdef 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ ` + span + ` ` + span + ` ` + span + ` 200 200 \d+ \d+ "POST http://example\.com:80/a\?b=\\"c HTTP/1\.1" "curl \\"8\\"" - - group "Root=1-[0-9a-f]{8}-[0-9a-f]{24}" "-" "-" 0 ` + when + ` "forward" "-" "-" "127\.0\.0\.1:\d+" "200" "-" "-" TID_[0-9a-f]{32}$`,
		`^http ` + when + ` app/site/1234567890abcdef 127\.0\.0\.1:\d+ - -1 -1 -1 503 - \d+ \d+ "GET http://example\.com:80/ HTTP/1\.1" "-" - - - "-" "-" "-" 0 ` + when + ` "forward" "-" "-" "-" "-" "-" "-" TID_[0-9a-f]{32}$`,
	} {
		if !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("%s\nis not\n%s", lines[i], want)
		}
	}
}

// FuzzHead holds our parser against net/http's: what we take, it takes, and reads in the same way. It may take more.
func FuzzHead(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", "GET http://b/ HTTP/1.0\r\nA: b\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		client, server := net.Pipe()
		go func() { client.Write(in); client.Close() }()
		s := &side{c: server}
		defer func() { server.Close(); io.Copy(io.Discard, server) }()
		head, err := s.readHead(maxRequestHead)
		if err != nil {
			return
		}
		var q request
		l := newSite(nil)
		l.put()
		if q.parse(head, &l.table.Load().Listeners["listener"].Settings) != nil {
			return
		}
		var b body
		b.start(s, q.length)
		var got []byte
		var bodyErr error
		for bodyErr == nil {
			var part []byte
			part, bodyErr = b.next()
			got = append(got, part...)
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimLeft(in, "\r\n"))))
		if err != nil {
			// What it refuses for reasons of its own: URLs, which are the target's business.
			if strings.Contains(err.Error(), "parse ") || strings.Contains(err.Error(), "invalid URI") {
				return
			}
			t.Fatalf("we take what net/http refuses: %v", err)
		}
		want, theirErr := io.ReadAll(theirs.Body)
		if (bodyErr == io.EOF) != (theirErr == nil) {
			if bodyErr == io.EOF {
				t.Fatalf("we take a body that net/http refuses: %v", theirErr)
			}
			return
		}
		if q.method != theirs.Method || bodyErr == io.EOF && !bytes.Equal(got, want) {
			t.Fatalf("%s %q, and net/http: %s %q", q.method, got, theirs.Method, want)
		}
	})
}
