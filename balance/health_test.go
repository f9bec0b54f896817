package balance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/state"
)

// clinic is a prober in a world whose time is the test's, with targets that answer as the test says.
type clinic struct {
	t     *testing.T
	p     *prober
	begin time.Time

	mu      sync.Mutex
	answer  func(key string, after time.Duration) verdict
	probes  []time.Duration // since the beginning
	reports []string
}

// newClinic runs in a synctest bubble; its prober ends with the test.
func newClinic(t *testing.T, answer func(key string, after time.Duration) verdict) *clinic {
	c := &clinic{t: t, begin: time.Now(), answer: answer}
	c.p = newProber(c.probe, c.report)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.p.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

func (c *clinic) probe(_ context.Context, k check) verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := time.Since(c.begin)
	c.probes = append(c.probes, after)
	return c.answer(k.at(), after)
}

func (c *clinic) report(key string, s sighting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := fmt.Sprintf("%s %s: %s", time.Since(c.begin).Round(time.Millisecond), key, s.health.State)
	if s.health.Reason != "" {
		line += fmt.Sprintf(" %s (%s)", s.health.Reason, s.health.Description)
	}
	c.reports = append(c.reports, line)
}

// want compares what has been reported after some time.
func (c *clinic) want(after time.Duration, lines ...string) {
	c.t.Helper()
	time.Sleep(after - time.Since(c.begin))
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(lines) // those of one moment have no order
	if !slices.Equal(slices.Sorted(slices.Values(c.reports)), lines) {
		c.t.Fatalf("after %s it has reported\n%q, want\n%q", after, c.reports, lines)
	}
}

// between is how many probes there were.
func (c *clinic) between(from, to time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, at := range c.probes {
		if from <= at && at < to {
			n++
		}
	}
	return n
}

// ward is a table of one group with targets that are called 0, 1, ...
func ward(n int, used bool, h elb.TargetHealthStateEnum) *route.Table {
	g := &route.Group{Used: used, Record: state.TargetGroup{ARN: "g", HealthCheck: state.HealthCheck{
		Enabled: true, Protocol: elb.ProtocolEnumHttp, Port: "traffic-port", IntervalSeconds: 30, TimeoutSeconds: 5, Healthy: 3, Unhealthy: 2,
	}}}
	for i := range n {
		g.Targets = append(g.Targets, route.Target{
			Key: fmt.Sprint(i), Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80),
			Record: state.Target{Health: state.TargetHealth{State: h}},
		})
	}
	return &route.Table{Groups: map[string]*route.Group{"g": g}}
}

func TestInitialTargetIsHealthySoonAfterItAnswers(t *testing.T) {
	for _, up := range []time.Duration{0, 30 * time.Millisecond, time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := newClinic(t, func(_ string, after time.Duration) verdict {
				if after < up {
					return failed
				}
				return verdict{}
			})
			c.p.follow(ward(1, true, ""))
			time.Sleep(up + max(minGap, up/patienceShare))
			synctest.Wait()
			if len(c.reports) != 1 {
				t.Errorf("up after %s, and not healthy a tenth of that later: %q", up, c.reports)
			}
			if n := c.between(0, time.Hour); n > 90 {
				t.Errorf("up after %s: %d probes", up, n)
			}
		})
	}
}

func TestInitialTargetIsUnhealthyAfterAsManyIntervalsAsOnAWS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClinic(t, func(string, time.Duration) verdict { return mismatch(503) })
		c.p.follow(ward(1, true, ""))
		c.want(29*time.Second + 900*time.Millisecond)
		c.want(31*time.Second, "30s 0: unhealthy Target.ResponseCodeMismatch (Health checks failed with these codes: [503])")
	})
}

func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := func(after time.Duration) bool {
			return 45*time.Second < after && after < 75*time.Second || // one failure changes nothing
				105*time.Second < after && after < 165*time.Second // two do
		}
		c := newClinic(t, func(_ string, after time.Duration) verdict {
			if bad(after) {
				return timedOut
			}
			return verdict{}
		})
		c.p.follow(ward(1, true, ""))
		c.want(10*time.Minute,
			"0s 0: healthy",
			"2m30s 0: unhealthy Target.Timeout (Request timed out)",
			"4m0s 0: healthy")
	})
}

func TestTargetsOfAGroupThatNothingLeadsToAreUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClinic(t, func(string, time.Duration) verdict { return verdict{} })
		c.p.follow(ward(1, false, ""))
		const unused = "0s 0: unused Target.NotInUse (Target group is not configured to receive traffic from the load balancer)"
		c.want(time.Minute, unused)
		if len(c.probes) > 0 {
			t.Error("it was probed")
		}
		c.p.follow(ward(1, true, elb.TargetHealthStateEnumUnused))
		c.want(2*time.Minute, unused, "1m0s 0: initial Elb.InitialHealthChecking (Initial health checks in progress)", "1m0s 0: healthy")
	})
}

func TestTargetThatIsGoneIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClinic(t, func(string, time.Duration) verdict { return verdict{} })
		c.p.follow(ward(2, true, ""))
		c.want(time.Second, "0s 0: healthy", "0s 1: healthy")
		draining := ward(2, true, elb.TargetHealthStateEnumHealthy)
		draining.Groups["g"].Targets[0].Draining = true
		c.p.follow(draining)
		c.want(10*time.Minute, "0s 0: healthy", "0s 1: healthy")
		if n := c.between(time.Second, 10*time.Minute); n != 19 {
			t.Errorf("%d probes of the one that is left in 10 minutes, want 19", n)
		}
	})
}

func TestRestartGoesOnWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClinic(t, func(string, time.Duration) verdict { return verdict{} })
		c.p.follow(ward(5000, true, elb.TargetHealthStateEnumHealthy))
		c.want(2 * time.Minute)
		for from := time.Duration(0); from < 2*time.Minute; from += 10 * time.Second {
			if n := c.between(from, from+10*time.Second); n < 1300 || 2000 < n {
				t.Errorf("%d probes in the 10 seconds from %s; 1667 is even", n, from)
			}
		}
	})
}

func TestManyInitialTargetsAreNotTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClinic(t, func(string, time.Duration) verdict { return failed })
		c.p.follow(ward(5000, true, ""))
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if n := c.between(time.Millisecond, 29*time.Second); n > 29*1100 {
			t.Errorf("%d probes of 5,000 targets in 29 seconds", n)
		}
	})
}

func TestMatcher(t *testing.T) {
	for _, c := range []struct {
		matcher string
		code    int
		want    bool
	}{{"200", 200, true}, {"200", 201, false}, {"200,302", 302, true}, {"200-299", 204, true}, {"200-299", 300, false}, {"0-99", 12, true}, {"200, 301-399", 350, true}} {
		if got := matches(c.matcher, c.code); got != c.want {
			t.Errorf("%s has %d: %v", c.matcher, c.code, got)
		}
	}
}
