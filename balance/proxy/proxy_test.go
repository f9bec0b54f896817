package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/load"
	"havn/balance/route"
	"havn/state"
)

// site is a load balancer with a listener that forwards to a group.
type site struct {
	t        *testing.T
	gauges   load.Gauges
	proxy    *Proxy
	table    atomic.Pointer[route.Table]
	address  string
	secure   bool
	balancer map[string]string // attributes
	listener map[string]string
	group    state.TargetGroup
	rules    []route.Rule
	targets  []route.Target
	serving  sync.WaitGroup
}

const siteARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/site/1234567890abcdef"

func newSite(t *testing.T, targets ...string) *site {
	s := &site{t: t, group: state.TargetGroup{ARN: "group", Attributes: map[string]string{}}, balancer: map[string]string{}, listener: map[string]string{}}
	for _, address := range targets {
		s.targets = append(s.targets, target(address))
	}
	return s
}

func target(address string) route.Target {
	at := netip.MustParseAddrPort(address)
	return route.Target{Key: state.TargetKey("group", at.Addr().String(), int32(at.Port())), Address: at,
		Record: state.Target{Health: state.TargetHealth{State: elb.TargetHealthStateEnumHealthy}}}
}

// put puts a table of the site as it is now in force.
func (s *site) put() {
	g := &route.Group{Record: s.group, Targets: append([]route.Target(nil), s.targets...)}
	rules := append([]route.Rule(nil), s.rules...)
	rules = append(rules, route.Rule{Action: route.Action{Forward: &route.Forward{Groups: []route.Weighted{{Group: g, Weight: 1}}}}})
	port := uint16(80)
	if s.secure {
		port = 443
	}
	t := (&route.Table{
		Groups: map[string]*route.Group{"group": g},
		Listeners: map[string]*route.Listener{"listener": {ARN: "listener", Port: port, Rules: rules,
			Balancer: state.LoadBalancer{ARN: siteARN, Attributes: s.balancer}, Record: state.Listener{Attributes: s.listener}}},
	}).Ready()
	s.table.Store(t)
	if s.proxy != nil {
		s.proxy.Follow(t)
	}
}

// open starts to serve.
func (s *site) open() *site {
	if s.proxy == nil {
		s.proxy = New(Config{Gauges: &s.gauges, sweep: 20 * time.Millisecond})
	}
	s.put()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = l.Addr().String()
	var config *tls.Config
	if s.secure {
		config = &tls.Config{Certificates: []tls.Certificate{selfSigned(s.t)}, NextProtos: []string{"h2", "http/1.1"}}
	}
	s.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serving.Go(func() {
				if config != nil {
					secure := tls.Server(c, config)
					if secure.Handshake() != nil {
						c.Close()
						return
					}
					c = secure
				}
				s.proxy.Serve(c, s.table.Load, "listener")
			})
		}
	})
	s.t.Cleanup(func() {
		l.Close()
		s.table.Store(&route.Table{})
		s.proxy.Follow(&route.Table{})
		s.proxy.sweeper.mu.Lock()
		for w := range s.proxy.sweeper.watches {
			w.client.Close()
		}
		s.proxy.sweeper.mu.Unlock()
		s.serving.Wait()
		for _, t := range s.targets {
			if n := s.gauges.Of(t.Key).UnderWay.Load(); n != 0 {
				s.t.Errorf("%d requests are still counted on %s", n, t.Key)
			}
		}
	})
	return s
}

func (s *site) url(path string) string {
	if s.secure {
		return "https://" + s.address + path
	}
	return "http://" + s.address + path
}

func (s *site) client() *http.Client {
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: s.secure}}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.t.Cleanup(c.CloseIdleConnections)
	return c
}

// dial opens a connection to speak by hand.
func (s *site) dial() *talk {
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return &talk{s.t, c, bufio.NewReader(c)}
}

// talk is a connection that a test speaks HTTP on.
type talk struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (k *talk) say(text string) {
	k.t.Helper()
	if _, err := io.WriteString(k.Conn, text); err != nil {
		k.t.Fatalf("cannot say %q: %v", text, err)
	}
}

// hear reads an answer to a request of that method.
func (k *talk) hear(method string) (*http.Response, string) {
	k.t.Helper()
	r, err := http.ReadResponse(k.r, &http.Request{Method: method})
	if err != nil {
		k.t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		k.t.Fatalf("no whole body: %v after %q", err, body)
	}
	return r, string(body)
}

// ends expects that nothing else comes.
func (k *talk) ends() {
	k.t.Helper()
	if rest, _ := io.ReadAll(k.r); len(rest) > 0 {
		k.t.Errorf("the connection says more: %q", rest)
	}
}

// backend is a target that is a server of net/http.
func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// wild is a target that does what it likes with each connection.
func wild(t *testing.T, f func(c net.Conn, r *bufio.Reader)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				f(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

func selfSigned(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func hello(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %q", r.Method, r.Host, r.RequestURI, body)
}

func TestRequestsAreAnsweredByTheTarget(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := newSite(t, serve(t, hello))
		s.secure = secure
		s.open()
		c := s.client()
		for range 3 {
			r, body := get(t, c, s.url("/a?b=c"))
			if host := "127.0.0.1"; r.StatusCode != 200 || !strings.Contains(body, "GET "+host) || !strings.Contains(body, "/a?b=c") {
				t.Errorf("%d %q", r.StatusCode, body)
			}
		}
		long := strings.Repeat("x", 1<<20)
		r, err := c.Post(s.url("/post"), "text/plain", strings.NewReader(long))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != 200 || !strings.HasSuffix(string(body), long+`"`) {
			t.Errorf("%d, %d bytes", r.StatusCode, len(body))
		}
	}
}
