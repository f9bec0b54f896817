package elbv2_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/cockroachdb/datadriven"

	"havn/state"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestTranscripts replays testdata/transcripts/*: parameters in, the answer's XML as JSON or an exception out, over HTTP.
// The directives:
//
//	call OPERATION              the parameters follow; the answer is as on the wire
//	pass 5s                     time goes by
//	balance ARN=active          balance writes a load balancer's state
//	health TARGET=unhealthy     balance writes a target's health; a line: REASON DESCRIPTION
//	instance ID                 an EC2 instance joins as a node
//	certificate ARN=ISSUED      ACM has a certificate
//	records                     how many there are of each kind
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		now := start
		w := newWorld(t, func() time.Time { return now })
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			arg := d.CmdArgs
			switch d.Cmd {
			case "call":
				return w.call(t, now, arg[0].Key, d.Input)
			case "pass":
				step, err := time.ParseDuration(arg[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(step)
				return ""
			case "balance":
				w.update(t, func(tx *state.Tx) {
					b, ok := state.LoadBalancers.Get(tx, expand(arg[0].Key))
					if !ok {
						d.Fatalf(t, "no load balancer %q: %s", arg, w.call(t, now, "DescribeLoadBalancers", ""))
					}
					b.State.Code = types.LoadBalancerStateEnum(arg[0].Vals[0])
					state.LoadBalancers.Put(tx, b)
				})
				return ""
			case "health":
				w.update(t, func(tx *state.Tx) {
					target, ok := state.Targets.Get(tx, expand(arg[0].Key))
					if !ok {
						t.Fatal("no such target")
					}
					reason, description, _ := strings.Cut(strings.TrimSpace(d.Input), " ")
					target.Health = state.TargetHealth{State: types.TargetHealthStateEnum(arg[0].Vals[0]),
						Reason: types.TargetHealthReasonEnum(reason), Description: description, Since: now}
					state.Targets.Put(tx, target)
				})
				return ""
			case "instance":
				w.update(t, func(tx *state.Tx) {
					state.Nodes.Put(tx, state.Node{ID: "node-" + arg[0].Key, EC2InstanceID: arg[0].Key})
				})
				return ""
			case "certificate":
				w.update(t, func(tx *state.Tx) {
					state.Certificates.Put(tx, state.Certificate{ARN: arg[0].Key, Status: arg[0].Vals[0]})
				})
				return ""
			case "records":
				return w.records()
			}
			d.Fatalf(t, "unknown directive")
			return ""
		})
	})
}

func (w *world) records() string {
	var b strings.Builder
	w.store.View(func(r *state.Reader) {
		fmt.Fprintf(&b, "%d load balancers, %d listeners, %d rules, %d target groups, %d targets\n", state.LoadBalancers.Count(r),
			state.Listeners.Count(r), state.ListenerRules.Count(r), state.TargetGroups.Count(r), state.Targets.Count(r))
		for target := range state.Targets.All(r) {
			fmt.Fprintf(&b, "%s registered %s", target.ID+":"+strconv.Itoa(int(target.Port)), target.RegisteredAt.Format(time.TimeOnly))
			if !target.DrainingSince.IsZero() {
				fmt.Fprintf(&b, ", drains since %s", target.DrainingSince.Format(time.TimeOnly))
			}
			b.WriteString("\n")
		}
	})
	return b.String()
}
