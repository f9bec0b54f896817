package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// TestNoRequestIsDropped: deployments, scaling in and out, and stopping a task lose no request and reset no connection,
// whatever is under way. HAVN_DEPLOYMENTS says how many deployments; at night there are 100.
func TestNoRequestIsDropped(t *testing.T) {
	needRoot(t)
	t.Parallel()
	deployments := 12
	if many := os.Getenv("HAVN_DEPLOYMENTS"); many != "" {
		n, err := strconv.Atoi(many)
		if err != nil {
			t.Fatal("HAVN_DEPLOYMENTS: ", err)
		}
		deployments = n
	}
	h := newSite(t).start(t, "--steady-after", "1s")
	h.load("origin.tar")
	s := h.balanced("shop", 3)
	l := s.load(t)
	for n := range deployments {
		s.deploy(fmt.Sprintf("v%d", n+2))
		switch n % 4 {
		case 1:
			s.scale(1)
		case 2:
			s.scale(4)
		case 3:
			s.stopOne()
		}
	}
	l.end(t)
}

// TestNoRequestIsDroppedByBlueGreen: nor does traffic that moves from one target group to another lose any.
func TestNoRequestIsDroppedByBlueGreen(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t, "--steady-after", "1s")
	h.load("origin.tar")
	s := h.shifting("shop", 2)
	l := s.load(t)
	for n := range 6 {
		s.deploy(fmt.Sprintf("v%d", n+2))
	}
	l.end(t)
}

// balanced is a service of the image origin behind an Application Load Balancer.
type balanced struct {
	*havnOf
	elb      *elb.Client
	name     string
	group    string
	listener string
	host     string // of its load balancer, with the port
	version  string
}

func (h *havnOf) balanced(name string, copies int32) *balanced {
	h.t.Helper()
	s := h.front(name)
	s.create(copies, nil, types.DeploymentConfiguration{})
	return s
}

// shifting is a balanced service whose deployments shift all traffic at once.
func (h *havnOf) shifting(name string, copies int32) *balanced {
	h.t.Helper()
	s := h.front(name)
	rules, err := s.elb.DescribeRules(within(h.t), &elb.DescribeRulesInput{ListenerArn: &s.listener})
	if err != nil {
		h.t.Fatal(err)
	}
	s.create(copies, &types.AdvancedConfiguration{
		AlternateTargetGroupArn: aws.String(s.newGroup(name + "-other")),
		ProductionListenerRule:  rules.Rules[0].RuleArn, // its only one, the default
		RoleArn:                 aws.String("arn:aws:iam::000000000000:role/ecs"),
	}, types.DeploymentConfiguration{Strategy: types.DeploymentStrategyBlueGreen, BakeTimeInMinutes: aws.Int32(0)})
	return s
}

// front is what is in front of a service: a load balancer, its listener, a target group.
func (h *havnOf) front(name string) *balanced {
	h.t.Helper()
	ctx := within(h.t)
	// One in 20,000 answers is cut short by the SDK's own hand ("use of closed network connection"), which it retries if it may.
	retrying := h.Options()
	retrying.RetryMaxAttempts, retrying.Retryer = 3, nil
	h.Client = ecs.New(retrying)
	s := &balanced{havnOf: h, name: name, version: "v1"}
	s.elb = elb.New(elb.Options{BaseEndpoint: &h.endpoint, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.StaticCredentialsProvider{Value: h.key}})
	s.group = s.newGroup(name)
	balancers, err := s.elb.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: &name})
	if err != nil {
		h.t.Fatal(err)
	}
	port, err := strconv.Atoi(freePort())
	if err != nil {
		h.t.Fatal(err)
	}
	s.host = fmt.Sprintf("%s:%d", *balancers.LoadBalancers[0].DNSName, port)
	listeners, err := s.elb.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: balancers.LoadBalancers[0].LoadBalancerArn, Port: aws.Int32(int32(port)),
		Protocol: elbtypes.ProtocolEnumHttp, DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &s.group}}})
	if err != nil {
		h.t.Fatal(err)
	}
	s.listener = *listeners.Listeners[0].ListenerArn
	return s
}

func (s *balanced) newGroup(name string) (arn string) {
	s.t.Helper()
	out, err := s.elb.CreateTargetGroup(within(s.t), &elb.CreateTargetGroupInput{Name: &name, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80),
		HealthCheckPath: aws.String("/health"), HealthCheckIntervalSeconds: aws.Int32(5)})
	if err != nil {
		s.t.Fatal(err)
	}
	return *out.TargetGroups[0].TargetGroupArn
}

func (s *balanced) create(copies int32, advanced *types.AdvancedConfiguration, configuration types.DeploymentConfiguration) {
	s.t.Helper()
	_, err := s.CreateService(within(s.t), &ecs.CreateServiceInput{ServiceName: &s.name, TaskDefinition: aws.String(s.register()), DesiredCount: &copies,
		DeploymentConfiguration: &configuration, LoadBalancers: []types.LoadBalancer{{TargetGroupArn: &s.group, ContainerName: aws.String("web"),
			ContainerPort: aws.Int32(80), AdvancedConfiguration: advanced}}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.steady()
}

func (s *balanced) register() string {
	out, err := s.RegisterTaskDefinition(within(s.t), &ecs.RegisterTaskDefinitionInput{Family: &s.name, ContainerDefinitions: []types.ContainerDefinition{{
		Name: aws.String("web"), Image: aws.String("havn/origin"), Memory: aws.Int32(32),
		Environment:  []types.KeyValuePair{{Name: aws.String("VERSION"), Value: &s.version}},
		PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
	}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return *out.TaskDefinition.TaskDefinitionArn
}

// deploy rolls another version out.
func (s *balanced) deploy(version string) {
	s.t.Helper()
	s.version = version
	if _, err := s.UpdateService(within(s.t), &ecs.UpdateServiceInput{Service: &s.name, TaskDefinition: aws.String(s.register())}); err != nil {
		s.t.Fatal(err)
	}
	s.steady()
}

func (s *balanced) scale(copies int32) {
	s.t.Helper()
	if _, err := s.UpdateService(within(s.t), &ecs.UpdateServiceInput{Service: &s.name, DesiredCount: &copies}); err != nil {
		s.t.Fatal(err)
	}
	s.steady()
}

// stopOne stops a task as a user does, and waits until it has stopped.
func (s *balanced) stopOne() {
	s.t.Helper()
	list, err := s.ListTasks(within(s.t), &ecs.ListTasksInput{ServiceName: &s.name})
	if err != nil || len(list.TaskArns) == 0 {
		s.t.Fatal("no task: ", err)
	}
	if _, err := s.StopTask(within(s.t), &ecs.StopTaskInput{Task: &list.TaskArns[0]}); err != nil {
		s.t.Fatal(err)
	}
	s.stopped(list.TaskArns[0])
	s.steady()
}

// steady waits until the service's deployment is complete, as many tasks as wanted run, and no other is left.
func (s *balanced) steady() {
	s.t.Helper()
	ctx := within(s.t)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for ; ; <-again.C {
		out, err := s.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{s.name}})
		if err != nil {
			var told []string
			if out, err := s.DescribeServices(context.Background(), &ecs.DescribeServicesInput{Services: []string{s.name}}); err == nil && len(out.Services) > 0 {
				for _, e := range out.Services[0].Events {
					told = append(told, *e.Message)
				}
			}
			s.t.Fatalf("the service is not steady: %v\n%s", err, strings.Join(told, "\n"))
		}
		service := out.Services[0]
		stopping, err := s.ListTasks(ctx, &ecs.ListTasksInput{ServiceName: &s.name, DesiredStatus: types.DesiredStatusStopped})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(service.Deployments) == 1 && service.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted &&
			service.RunningCount == service.DesiredCount && s.allStopped(ctx, stopping.TaskArns) {
			return
		}
	}
}

func (s *balanced) allStopped(ctx context.Context, tasks []string) bool {
	if len(tasks) == 0 {
		return true
	}
	out, err := s.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: tasks})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, t := range out.Tasks {
		if aws.ToString(t.LastStatus) != "STOPPED" {
			return false
		}
	}
	return true
}

// pressure is clients that never pause for long, each with a connection that it keeps.
type pressure struct {
	cancel  context.CancelFunc
	clients sync.WaitGroup
	asked   atomic.Int64
	mu      sync.Mutex
	failed  []string
}

// load begins with clients that ask quickly, slowly, and with something to send.
func (s *balanced) load(t *testing.T) *pressure {
	ctx, cancel := context.WithCancel(context.Background())
	l := &pressure{cancel: cancel}
	t.Cleanup(cancel)
	body := strings.Repeat("0123456789abcdef", 4<<10)
	for range 6 {
		l.client(ctx, s.host, 5*time.Millisecond, func() (*http.Request, string) { return ask("GET", "/", ""), "" })
	}
	for n := range 6 {
		path := fmt.Sprintf("/slow?ms=%d", 150*(n+1))
		l.client(ctx, s.host, time.Millisecond, func() (*http.Request, string) { return ask("GET", path, ""), "" })
	}
	for range 2 {
		l.client(ctx, s.host, 20*time.Millisecond, func() (*http.Request, string) { return ask("POST", "/echo", body), body })
	}
	return l
}

func ask(method, path, body string) *http.Request {
	r, err := http.NewRequest(method, "http://host"+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	return r
}

// client asks again and again. It does not forgive anything: http.Client would ask again by itself.
func (l *pressure) client(ctx context.Context, host string, pause time.Duration, next func() (*http.Request, string)) {
	l.clients.Go(func() {
		c := &caller{host: host}
		defer c.close()
		again := time.NewTicker(pause)
		defer again.Stop()
		for ; ctx.Err() == nil; <-again.C {
			r, want := next()
			began := time.Now()
			if err := c.ask(r, want); err != nil {
				l.mu.Lock()
				l.failed = append(l.failed, fmt.Sprintf("%s %s %s, after %v: %v", began.Format("05.000"), r.Method, r.URL.RequestURI(), time.Since(began), err))
				l.mu.Unlock()
				c.close()
			}
			l.asked.Add(1)
		}
	})
}

func (l *pressure) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.clients.Wait()
	t.Logf("%d requests", l.asked.Load())
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed:\n%s", len(l.failed), l.asked.Load(), strings.Join(l.failed[:min(len(l.failed), 40)], "\n"))
	}
	if l.asked.Load() < 100 {
		t.Errorf("only %d requests were made", l.asked.Load())
	}
}

// caller is a client with one connection, which it keeps until it is told to close it.
type caller struct {
	host string
	conn net.Conn
	in   *bufio.Reader
}

func (c *caller) ask(r *http.Request, want string) error {
	if c.conn == nil {
		_, port, err := net.SplitHostPort(c.host)
		if err != nil {
			return err
		}
		// Names in .localhost are this machine; Go's resolver need not know.
		if c.conn, err = net.Dial("tcp", net.JoinHostPort("127.0.0.1", port)); err != nil {
			return err
		}
		c.in = bufio.NewReader(c.conn)
	}
	r.Host = c.host
	if err := r.Write(c.conn); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.in, r)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s, then: %w", res.Status, err)
	}
	switch {
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(got))
	case want != "" && string(got) != want:
		return fmt.Errorf("%d bytes came back, not the %d that were sent", len(got), len(want))
	case want == "" && !strings.HasPrefix(string(got), "v"):
		return fmt.Errorf("it answered %q", got)
	}
	if res.Close {
		c.close()
	}
	return nil
}

func (c *caller) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
