package balance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/load"
	"havn/balance/route"
	"havn/state"
)

// TestMain demands that every data plane that has ended has left nothing running.
func TestMain(m *testing.M) {
	code := m.Run()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "havn/balance.(*") {
			fmt.Fprintf(os.Stderr, "left running:\n%s\n", stack)
			code = 1
		}
	}
	os.Exit(code)
}

// world is a data plane over a state of its own.
type world struct {
	t     *testing.T
	store *state.Store
	b     *Balance
	stop  func()
}

// names answers each HTTP connection with the name of the load balancer that it came to.
type names struct{}

func (names) Serve(conn net.Conn, table func() *route.Table, listener string) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body := table().Listeners[listener].Balancer.Name + " " + req.Host
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// Follow has nothing to close.
func (names) Follow(*route.Table) {}

func newStore(t *testing.T) *state.Store {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); store.Wait() }) //nolint:errcheck // it ends because we say so
	return store
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: newStore(t)}
	w.start()
	return w
}

// start runs a data plane on the state, as Havn does when it starts.
func (w *world) start(change ...func(*Balance)) {
	w.b = New(Config{Store: w.store, Log: slog.New(slog.DiscardHandler), HTTP: names{}, Gauges: &load.Gauges{}, Outside: []netip.Addr{}})
	for _, c := range change {
		c(w.b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b := w.b
	go func() { defer close(done); b.Run(ctx) }() //nolint:errcheck // it ends because we say so
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	w.t.Cleanup(w.stop)
}

// update writes to the state.
func (w *world) update(f func(*state.Tx)) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// await returns when the state is so. A state that never becomes so is the test's timeout.
func (w *world) await(so func(*state.Reader) bool) {
	w.t.Helper()
	var seen state.Revision
	is := false
	look := func() bool {
		w.store.View(func(r *state.Reader) { seen, is = r.Revision(), so(r) })
		return is
	}
	if look() {
		return
	}
	for range w.store.Watch(w.t.Context(), seen) {
		if look() {
			return
		}
	}
	w.t.Fatal("the state did not become so")
}

// made is a load balancer with one listener and one target group.
type made struct {
	balancer, listener, group string
	port                      int
	name                      string
}

var made0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// balancer makes one; the first made is the oldest.
func (w *world) balancer(name string, port int, protocol elb.ProtocolEnum, change ...func(*state.LoadBalancer, *state.Listener, *state.TargetGroup)) made {
	w.t.Helper()
	m := made{"lb/" + name, "listener/" + name, "tg/" + name, port, name + "-1234.us-east-1.elb.localhost"}
	age := 0
	w.store.View(func(r *state.Reader) { age = state.LoadBalancers.Count(r) })
	l := state.LoadBalancer{ARN: m.balancer, Name: name, DNSName: m.name, Scheme: elb.LoadBalancerSchemeEnumInternetFacing, CreatedAt: made0.Add(time.Duration(age) * time.Second),
		State: elb.LoadBalancerState{Code: elb.LoadBalancerStateEnumProvisioning}}
	g := state.TargetGroup{ARN: m.group, Type: elb.TargetTypeEnumIp, Protocol: protocol, HealthCheck: state.HealthCheck{
		Enabled: true, Protocol: elb.ProtocolEnumTcp, Port: "traffic-port", IntervalSeconds: 30, TimeoutSeconds: 5, Healthy: 5, Unhealthy: 2,
	}, Attributes: map[string]string{}}
	on := state.Listener{ARN: m.listener, LoadBalancerARN: m.balancer, Port: int32(port), Protocol: protocol,
		DefaultActions: []elb.Action{{Type: elb.ActionTypeEnumForward, TargetGroupArn: aws.String(m.group)}}}
	for _, c := range change {
		c(&l, &on, &g)
	}
	w.update(func(tx *state.Tx) {
		state.LoadBalancers.Put(tx, l)
		state.Listeners.Put(tx, on)
		state.TargetGroups.Put(tx, g)
	})
	return m
}

// settled returns when a load balancer has its state, and that.
func (w *world) settled(m made) (l state.LoadBalancer) {
	w.t.Helper()
	w.await(func(r *state.Reader) bool {
		l, _ = state.LoadBalancers.Get(r, m.balancer)
		return l.State.Code != elb.LoadBalancerStateEnumProvisioning && l.Address != ""
	})
	return l
}

// target registers one.
func (w *world) target(m made, at net.Addr) string {
	a := addrPort(at)
	t := state.Target{TargetGroupARN: m.group, ID: a.Addr().String(), Port: int32(a.Port()), RegisteredAt: time.Now()}
	w.update(func(tx *state.Tx) { state.Targets.Put(tx, t) })
	return state.TargetKey(t.TargetGroupARN, t.ID, t.Port)
}

// is returns when a target is in a state.
func (w *world) is(key string, s elb.TargetHealthStateEnum) (found state.Target) {
	w.t.Helper()
	w.await(func(r *state.Reader) bool {
		found, _ = state.Targets.Get(r, key)
		return found.Health.State == s
	})
	return found
}

// freePort is one that nobody has now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// get asks for a host at an address, and returns what is answered.
func get(t *testing.T, address string, port int, host string) string {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nUser-Agent: test\r\nHost: %s\r\n\r\n", host)
	return answer(t, conn)
}

func answer(t *testing.T, conn net.Conn) string {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	return string(body)
}

// echo is a target that sends back what it is sent, until that ends, and says "bye" then.
func echo(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)         //nolint:errcheck // the client tells
				io.WriteString(conn, "bye") //nolint:errcheck // as above
			}()
		}
	}()
	return l
}
