package balance

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/state"
)

// BenchmarkFollow is what one commit costs that concerns 5,000 targets in 50 groups: a table, and what is made of it.
func BenchmarkFollow(b *testing.B) {
	store, err := state.Open(b.Context(), &state.Memory{})
	if err != nil {
		b.Fatal(err)
	}
	for n := range 50 {
		err := store.Update(b.Context(), func(tx *state.Tx) error {
			g := state.TargetGroup{ARN: fmt.Sprintf("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/g/%d", n), HealthCheck: state.HealthCheck{Enabled: true, Protocol: elb.ProtocolEnumTcp, Port: "traffic-port", IntervalSeconds: 30, TimeoutSeconds: 5, Healthy: 2, Unhealthy: 2}}
			state.TargetGroups.Put(tx, g)
			lb := state.LoadBalancer{ARN: fmt.Sprintf("lb/%d", n)}
			state.LoadBalancers.Put(tx, lb)
			state.Listeners.Put(tx, state.Listener{ARN: fmt.Sprintf("l/%d", n), LoadBalancerARN: lb.ARN, Port: 80, DefaultActions: []elb.Action{{Type: elb.ActionTypeEnumForward, TargetGroupArn: &g.ARN}}})
			for i := range 100 {
				state.Targets.Put(tx, state.Target{TargetGroupARN: g.ARN, ID: netip.AddrFrom4([4]byte{10, 0, byte(n), byte(i)}).String(), Port: 80, Health: state.TargetHealth{State: elb.TargetHealthStateEnumHealthy}})
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	d := newDrains(New(Config{Store: store, Outside: []netip.Addr{}}))
	p := newProber(probe, func(string, sighting) {})
	for b.Loop() {
		var t *route.Table
		store.View(func(r *state.Reader) { t = route.Build(r) })
		d.follow(t, time.Now())
		p.take(t, time.Now())
		endpoints(t, nil, nil)
	}
}

// BenchmarkProbe is what a probe of a healthy target costs this process.
func BenchmarkProbe(b *testing.B) {
	at, stop := answering(b)
	defer stop()
	for _, protocol := range []elb.ProtocolEnum{elb.ProtocolEnumTcp, elb.ProtocolEnumHttp} {
		b.Run(string(protocol), func(b *testing.B) {
			c := check{at, "HTTP1", state.HealthCheck{Protocol: protocol, Port: "traffic-port", Path: "/"}}
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before) //nolint:errcheck // it cannot fail
			for b.Loop() {
				if v := probe(b.Context(), c); v != (verdict{}) {
					b.Fatal(v)
				}
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &after) //nolint:errcheck // as above
			used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(used)/float64(b.N)/1000, "cpu-us/probe")
		})
	}
}
