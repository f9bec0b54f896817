// Command start runs a task definition as a service of two copies behind a load balancer, on the Havn that the environment
// points at, with the stock AWS SDK and nothing of Havn's own, and prints the URL at which it answers. Run again, it
// finds what it made.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

const (
	// name is that of the service, and of what stands before it.
	name   = "web"
	copies = 2
	// patience is how long each part may take; a first start may have to make much anew.
	patience = 2 * time.Minute
)

func main() {
	definition := flag.String("definition", "", "task definition file")
	havn := flag.String("havn", "havn", "how to call havn in the advice")
	flag.Parse()
	if err := start(context.Background(), *definition, *havn); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, file, havn string) error {
	sdk, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	e := example{ecs: ecs.NewFromConfig(sdk), elb: elb.NewFromConfig(sdk)}
	url, err := e.entry(ctx)
	if err != nil {
		return err
	}
	if err := e.service(ctx, file); err != nil {
		return err
	}
	fmt.Println("waiting for the service to answer behind its load balancer")
	if err := e.ready(ctx); err != nil {
		return fmt.Errorf("the service is not ready; see: %s ps --all, and aws ecs describe-services --services %s: %w", havn, name, err)
	}
	if err := answers(url); err != nil {
		return fmt.Errorf("the service runs but does not answer: %w", err)
	}
	fmt.Printf(`
The example answers at   %s
The AWS endpoint is      %s

Now type:
  export PATH="$(dirname "$(realpath %s)"):$PATH"
  eval "$(havn env)"
  curl %s
  aws ecs update-service --service %s --desired-count 4
  aws ecs describe-services --services %s
  havn ps
`, url, os.Getenv("AWS_ENDPOINT_URL"), havn, url, name, name)
	return nil
}

// example is what is made.
type example struct {
	ecs   *ecs.Client
	elb   *elb.Client
	group string // the ARN of the target group
}

// entry makes the target group, the load balancer and its listener, and returns the listener's URL.
func (e *example) entry(ctx context.Context) (string, error) {
	// Both of these find what is there already with the same settings.
	groups, err := e.elb.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String(name), Protocol: elbtypes.ProtocolEnumHttp,
		Port: aws.Int32(80), TargetType: elbtypes.TargetTypeEnumInstance, HealthCheckPath: aws.String("/health"),
		HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(2)})
	if err != nil {
		return "", err
	}
	e.group = *groups.TargetGroups[0].TargetGroupArn
	balancers, err := e.elb.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String(name)})
	if err != nil {
		return "", err
	}
	balancer := balancers.LoadBalancers[0]
	listeners, err := e.elb.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: balancer.LoadBalancerArn})
	if err != nil {
		return "", err
	}
	var port int32
	if len(listeners.Listeners) > 0 {
		port = *listeners.Listeners[0].Port
	} else {
		if port, err = freePort(); err != nil {
			return "", err
		}
		_, err := e.elb.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: balancer.LoadBalancerArn, Port: &port,
			Protocol:       elbtypes.ProtocolEnumHttp,
			DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &e.group}}})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("http://%s:%d", *balancer.DNSName, port), nil
}

// freePort is a port that nothing on this machine listens on.
func freePort() (int32, error) {
	for port := int32(8080); port < 8180; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			l.Close()
			return port, nil
		}
	}
	return 0, errors.New("none of the ports from 8080 to 8179 is free")
}

// service makes the service, unless it is there.
func (e *example) service(ctx context.Context, file string) error {
	found, err := e.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{name}})
	if err != nil {
		return err
	}
	for _, s := range found.Services {
		if aws.ToString(s.Status) == "ACTIVE" {
			return nil
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var in ecs.RegisterTaskDefinitionInput
	if err := json.Unmarshal(content, &in); err != nil {
		return fmt.Errorf("cannot read %s: %w", file, err)
	}
	registered, err := e.ecs.RegisterTaskDefinition(ctx, &in)
	if err != nil {
		return err
	}
	first := in.ContainerDefinitions[0]
	_, err = e.ecs.CreateService(ctx, &ecs.CreateServiceInput{ServiceName: aws.String(name), DesiredCount: aws.Int32(copies),
		TaskDefinition: registered.TaskDefinition.TaskDefinitionArn,
		LoadBalancers: []ecstypes.LoadBalancer{{TargetGroupArn: &e.group, ContainerName: first.Name,
			ContainerPort: first.PortMappings[0].ContainerPort}}})
	return err
}

// ready waits until the service is stable, and the load balancer sends requests to its copies.
func (e *example) ready(ctx context.Context) error {
	stable := ecs.NewServicesStableWaiter(e.ecs, func(o *ecs.ServicesStableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := stable.Wait(ctx, &ecs.DescribeServicesInput{Services: []string{name}}, patience); err != nil {
		return err
	}
	inService := elb.NewTargetInServiceWaiter(e.elb, func(o *elb.TargetInServiceWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	return inService.Wait(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &e.group}, patience)
}

// answers asks the service once. Names that end in .localhost are this machine, as browsers and curl know; Go's resolver
// asks the machine's, which may not.
func answers(url string) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}
