package balance

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"havn/state"
)

func TestProbes(t *testing.T) {
	var agent, host string
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, host = r.UserAgent(), r.Host
		switch r.URL.Path {
		case "/ok":
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plain, secure := httptest.NewServer(page), httptest.NewTLSServer(page)
	defer plain.Close()
	defer secure.Close()
	h2c := httptest.NewUnstartedServer(page)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	defer h2c.Close()

	calls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer()
	healthpb.RegisterHealthServer(rpc, health.NewServer())
	go rpc.Serve(calls) //nolint:errcheck // it ends with Stop
	defer rpc.Stop()

	deaf, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()

	at := func(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }
	for name, c := range map[string]struct {
		at       netip.AddrPort
		protocol elb.ProtocolEnum
		version  string
		path     string
		codes    string
		want     verdict
	}{
		"http":                  {at(plain.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP1", "/ok", "200", verdict{}},
		"http, another code":    {at(plain.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP1", "/broken", "200-299", mismatch(503)},
		"http, a redirect":      {at(plain.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP1", "/moved", "200", mismatch(302)},
		"http, a code of them":  {at(plain.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP1", "/broken", "200,503", verdict{}},
		"https":                 {at(secure.Listener.Addr()), elb.ProtocolEnumHttps, "HTTP1", "/ok", "200", verdict{}},
		"https, but plain":      {at(plain.Listener.Addr()), elb.ProtocolEnumHttps, "HTTP1", "/ok", "200", failed},
		"http2":                 {at(h2c.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP2", "/ok", "200", verdict{}},
		"http2, another code":   {at(h2c.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP2", "/broken", "200", mismatch(503)},
		"http2, but an old one": {at(plain.Listener.Addr()), elb.ProtocolEnumHttp, "HTTP2", "/ok", "200", failed},
		"grpc, no such method":  {at(calls.Addr()), elb.ProtocolEnumHttp, "GRPC", "", "", verdict{}},
		"grpc":                  {at(calls.Addr()), elb.ProtocolEnumHttp, "GRPC", "/grpc.health.v1.Health/Check", "0", verdict{}},
		"grpc, another code":    {at(calls.Addr()), elb.ProtocolEnumHttp, "GRPC", "/grpc.health.v1.Health/Check", "12", mismatch(0)},
		"tcp":                   {at(deaf.Addr()), elb.ProtocolEnumTcp, "", "", "", verdict{}},
		"tcp, nobody":           {at(dead.Addr()), elb.ProtocolEnumTcp, "", "", "", failed},
		"http, nobody":          {at(dead.Addr()), elb.ProtocolEnumHttp, "HTTP1", "/", "200", failed},
		"http, silence":         {at(deaf.Addr()), elb.ProtocolEnumHttp, "HTTP1", "/", "200", timedOut},
		"http2, silence":        {at(deaf.Addr()), elb.ProtocolEnumHttp, "HTTP2", "/", "200", timedOut},
	} {
		patience := 10 * time.Second
		if c.want == timedOut {
			patience = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		got := probe(ctx, check{c.at, c.version, state.HealthCheck{Protocol: c.protocol, Port: "traffic-port", Path: c.path, HTTPCodes: c.codes, GRPCCodes: c.codes}})
		cancel()
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if name == "http" && (agent != "ELB-HealthChecker/2.0" || host != c.at.String()) {
			t.Errorf("it calls itself %q and asks for %q", agent, host)
		}
	}
	if got := (check{address: at(dead.Addr()), record: state.HealthCheck{Port: "81"}}).at(); got != "127.0.0.1:81" {
		t.Errorf("with a port of its own it goes to %s", got)
	}
}

// answering is a target that says that it is well.
func answering(t testing.TB) (at netip.AddrPort, stop func()) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return netip.MustParseAddrPort(s.Listener.Addr().String()), s.Close
}
