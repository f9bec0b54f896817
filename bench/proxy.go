package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	_ "net/http/pprof" // for whoever looks at the proxy while it is measured
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/proxy"
	"havn/balance/route"
	"havn/state"
)

// The load balancer's data plane beside others: the same client, the same backend, in turns of a few seconds. The
// backend answers with 100 bytes; 64 connections ask one request after the other, and keep alive. On a machine that is
// shared, requests per second say how much was left of it; what a request costs the proxy in CPU is what compares.

const (
	proxyConnections = 64
	proxyTurn        = time.Second
	proxyTurns       = 5
	roleVariable     = "HAVN_BENCH_ROLE"
)

// contender is a proxy that is measured, in a process of its own. Its configuration names its listeners.
type contender struct {
	name  string
	start func(ctx context.Context, dir string, plain, secure, backend string) (*exec.Cmd, error)
}

var contenders = []contender{
	{"havn", role("proxy")},
	{"nginx", func(ctx context.Context, dir, plain, secure, backend string) (*exec.Cmd, error) {
		conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/nginx.log; user root;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
upstream b { server %[4]s; keepalive 128; keepalive_requests 100000000; }
server { listen %[2]s; listen %[3]s ssl; ssl_certificate %[1]s/both.pem; ssl_certificate_key %[1]s/both.pem; ssl_session_tickets off;
location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port; } } }
`, dir, plain, secure, backend)
		return command(ctx, dir, "nginx.conf", conf, "nginx", "-c")
	}},
	{"haproxy", func(ctx context.Context, dir, plain, secure, backend string) (*exec.Cmd, error) {
		conf := fmt.Sprintf(`global
  nbthread 2
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 10s
  option forwardfor
  http-reuse always
frontend f
  bind %[2]s
  bind %[3]s ssl crt %[1]s/both.pem
  http-request set-header X-Forwarded-Proto %%[ssl_fc,iif(https,http)]
  default_backend b
backend b
  server s %[4]s
`, dir, plain, secure, backend)
		return command(ctx, dir, "haproxy.cfg", conf, "haproxy", "-db", "-f")
	}},
	{"caddy", func(ctx context.Context, dir, plain, secure, backend string) (*exec.Cmd, error) {
		conf := fmt.Sprintf(`{
	admin off
	auto_https off
}
http://:%[2]s {
	bind 127.0.0.1
	reverse_proxy %[4]s
}
https://:%[3]s {
	bind 127.0.0.1
	tls %[1]s/both.pem %[1]s/both.pem
	reverse_proxy %[4]s
}
`, dir, strings.TrimPrefix(plain, "127.0.0.1:"), strings.TrimPrefix(secure, "127.0.0.1:"), backend)
		return command(ctx, dir, "Caddyfile", conf, "caddy", "run", "--adapter", "caddyfile", "--config")
	}},
	{"httputil.ReverseProxy", role("httputil")},
}

// command is a program with a configuration file, which is its last argument.
func command(ctx context.Context, dir, file, conf, program string, args ...string) (*exec.Cmd, error) {
	file = filepath.Join(dir, file)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	path, err := exec.LookPath(program)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil {
			return nil, err
		}
	}
	return exec.CommandContext(ctx, path, append(args, file)...), nil
}

// role is this program as something else.
func role(name string) func(context.Context, string, string, string, string) (*exec.Cmd, error) {
	return func(ctx context.Context, dir, plain, secure, backend string) (*exec.Cmd, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, self, plain, secure, backend, filepath.Join(dir, "both.pem"))
		cmd.Env = append(os.Environ(), roleVariable+"="+name)
		return cmd, nil
	}
}

// running is a contender with its listeners.
type running struct {
	contender
	pid           int
	plain, secure string
	turns         map[bool][]turn
}

// turn is what one turn of a contender's has shown.
type turn struct {
	perSecond float64
	p99       time.Duration
	cpu       time.Duration // of the proxy, for a request
}

func measureProxy(ctx context.Context, _ config) ([]result, error) {
	dir, err := os.MkdirTemp("", "havn-bench-proxy-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := writeBoth(filepath.Join(dir, "both.pem")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var started []*exec.Cmd
	defer func() {
		cancel()
		for _, cmd := range started {
			cmd.Wait() //nolint:errcheck // it was killed
		}
	}()
	start := func(make func(context.Context, string, string, string, string) (*exec.Cmd, error), plain, secure, backend string) (int, error) {
		cmd, err := make(ctx, dir, plain, secure, backend)
		if err != nil {
			return 0, err
		}
		if os.Getenv("HAVN_BENCH_VERBOSE") != "" {
			cmd.Stderr = os.Stderr
		}
		// Asked to end, nginx ends its workers; killed, it would leave them.
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 5 * time.Second
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		started = append(started, cmd)
		return cmd.Process.Pid, awaitListener(ctx, plain)
	}
	backend := freeAddress()
	if _, err := start(role("backend"), backend, "", ""); err != nil {
		return nil, fmt.Errorf("cannot start the backend: %w", err)
	}
	var all []*running
	for _, c := range contenders {
		if only := os.Getenv("HAVN_BENCH_CONTENDERS"); only != "" && !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		r := &running{contender: c, plain: freeAddress(), secure: freeAddress(), turns: map[bool][]turn{}}
		r.pid, err = start(c.start, r.plain, r.secure, backend)
		switch {
		case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
			fmt.Fprintf(os.Stderr, "no %s here\n", c.name)
		case err != nil:
			return nil, fmt.Errorf("cannot start %s: %w", c.name, err)
		default:
			all = append(all, r)
		}
	}
	for range proxyTurns {
		for _, secure := range []bool{false, true} {
			for _, r := range all {
				t, err := r.turn(ctx, secure)
				if err != nil {
					return nil, fmt.Errorf("cannot measure %s: %w", r.name, err)
				}
				r.turns[secure] = append(r.turns[secure], t)
			}
		}
	}
	return proxyResults(all), nil
}

func proxyResults(all []*running) (results []result) {
	median := func(turns []turn, f func(turn) float64) float64 {
		var values []float64
		for _, t := range turns {
			values = append(values, f(t))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "TLS"}[secure]
		var beside float64
		for _, r := range all {
			if r.name == "nginx" {
				beside = median(r.turns[secure], func(t turn) float64 { return float64(t.cpu) })
			}
		}
		for _, r := range all {
			cpu := median(r.turns[secure], func(t turn) float64 { return float64(t.cpu) })
			value := fmt.Sprintf("%.0f/s, p99 %s, %.1f µs CPU/request", median(r.turns[secure], func(t turn) float64 { return t.perSecond }),
				millis(time.Duration(median(r.turns[secure], func(t turn) float64 { return float64(t.p99) }))), cpu/1000)
			aim := ""
			if beside > 0 {
				value += fmt.Sprintf(" (nginx × %.2f)", cpu/beside)
			}
			if r.name == "havn" {
				aim = "nginx's CPU per request"
			}
			results = append(results, result{"proxy, " + name + ": " + r.name, value, aim})
		}
	}
	return results
}

// turn asks as many requests as it can.
func (r *running) turn(ctx context.Context, secure bool) (turn, error) {
	address := r.plain
	if secure {
		address = r.secure
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asking sync.WaitGroup
	var counting atomic.Bool
	times := make([][]time.Duration, proxyConnections)
	errs := make(chan error, proxyConnections)
	for i := range proxyConnections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return turn{}, err
		}
		if secure {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		}
		context.AfterFunc(ctx, func() { conn.Close() }) // one that waits for ever, too
		asking.Go(func() {
			for ctx.Err() == nil {
				at := time.Now()
				if err := askOnce(conn); err != nil {
					if ctx.Err() == nil {
						errs <- err
					}
					return
				}
				if counting.Load() {
					times[i] = append(times[i], time.Since(at))
				}
			}
		})
	}
	time.Sleep(proxyTurn / 8) // connections are made, handshakes are over
	before, err := cpuOf(r.pid)
	if err != nil {
		return turn{}, err
	}
	began := time.Now()
	counting.Store(true)
	select {
	case <-time.After(proxyTurn):
	case err := <-errs:
		return turn{}, err
	}
	counting.Store(false)
	took := time.Since(began)
	after, err := cpuOf(r.pid)
	cancel()
	asking.Wait()
	all := slices.Concat(times...)
	if err != nil || len(all) == 0 {
		return turn{}, errors.Join(err, errors.New("no request was answered"))
	}
	return turn{float64(len(all)) / took.Seconds(), percentile(all, 99), (after - before) / time.Duration(len(all))}, nil
}

var proxyRequest = []byte("GET /hello?a=b HTTP/1.1\r\nHost: example.com\r\nUser-Agent: havn-bench\r\nAccept: */*\r\n\r\n")

// askOnce asks one request. The answer is small: it is read until it is whole.
func askOnce(conn net.Conn) error {
	if _, err := conn.Write(proxyRequest); err != nil {
		return err
	}
	var buf [4096]byte
	n := 0
	for {
		more, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += more
		end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if end >= 0 && n >= end+4+proxyBody {
			if !bytes.HasPrefix(buf[:], []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("the answer is %q", buf[:end])
			}
			return nil
		}
	}
}

// cpuOf is what a process and its children that run have used.
func cpuOf(pid int) (time.Duration, error) {
	total := time.Duration(0)
	pids := []string{strconv.Itoa(pid)}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	pids = append(pids, strings.Fields(string(children))...)
	for _, p := range pids {
		tasks, err := filepath.Glob("/proc/" + p + "/task/*/schedstat")
		if err != nil || len(tasks) == 0 {
			return 0, fmt.Errorf("process %s has ended", p)
		}
		for _, task := range tasks {
			text, err := os.ReadFile(task)
			if err != nil {
				continue // the thread has ended
			}
			n, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			total += time.Duration(n)
		}
	}
	return total, nil
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitListener(ctx context.Context, address string) error {
	for range 100 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("nothing listens on %s", address)
}

// writeBoth writes a certificate and its key.
func writeBoth(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...), 0o600)
}

const proxyBody = 100

// play is this program in a role, as another process. It does not return if there is one.
func play() {
	name := os.Getenv(roleVariable)
	if name == "" {
		return
	}
	plain, secure, backend, both := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	var err error
	switch name {
	case "backend":
		err = playBackend(plain)
	case "proxy":
		err = playProxy(plain, secure, backend, both)
	case "httputil":
		err = playHTTPUtil(plain, secure, backend, both)
	}
	fmt.Fprintln(os.Stderr, "bench:", name+":", err)
	os.Exit(1)
}

// playBackend answers every request with the same 100 bytes, at the least cost.
func playBackend(address string) error {
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", proxyBody, strings.Repeat("x", proxyBody))
	return acceptAll(address, func(c net.Conn) {
		defer c.Close()
		var buf [4096]byte
		for {
			n, err := c.Read(buf[:])
			if err != nil || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

func acceptAll(address string, f func(net.Conn)) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go f(c)
	}
}

func playProxy(plain, secure, backend, both string) error {
	certificate, err := tls.LoadX509KeyPair(both, both)
	if err != nil {
		return err
	}
	at := netip.MustParseAddrPort(backend)
	group := &route.Group{Record: state.TargetGroup{ARN: "group"}, Targets: []route.Target{{Key: "target", Address: at,
		Record: state.Target{Health: state.TargetHealth{State: elb.TargetHealthStateEnumHealthy}}}}}
	rules := []route.Rule{{Action: route.Action{Forward: &route.Forward{Groups: []route.Weighted{{Group: group, Weight: 1}}}}}}
	table := (&route.Table{Groups: map[string]*route.Group{"group": group}, Listeners: map[string]*route.Listener{
		"plain": {ARN: "plain", Port: 80, Rules: rules}, "secure": {ARN: "secure", Port: 443, Rules: rules}}}).Ready()
	p := proxy.New(proxy.Config{})
	get := func() *route.Table { return table }
	if profile := os.Getenv("HAVN_BENCH_PPROF"); profile != "" {
		go http.ListenAndServe(profile, nil) //nolint:errcheck // it is looked at, or not
	}
	go acceptAll(secure, func(c net.Conn) { //nolint:errcheck // the other one reports
		t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
		if t.Handshake() == nil {
			p.Serve(t, get, "secure")
		}
	})
	return acceptAll(plain, func(c net.Conn) { p.Serve(c, get, "plain") })
}

func playHTTPUtil(plain, secure, backend, both string) error {
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: backend})
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 1024}
	p.ErrorLog = nil
	go http.ListenAndServeTLS(secure, both, both, p) //nolint:errcheck // the other one reports
	return http.ListenAndServe(plain, p)
}
