package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/protocol"
)

// TestMessages replays what a server may say. Commands:
//
//	receive TYPE   the body of a message, in JSON
//	done           every effect under way succeeds, but Wait
//	accepted       the server has accepted the reports under way
//	at 3s          the time, since the beginning
//
// The answer is the plan.
func TestMessages(t *testing.T) {
	datadriven.Walk(t, "testdata/messages", func(t *testing.T, path string) {
		now := fuzzEpoch
		c := NewCore(CoreConfig{Cluster: "demo"}, now)
		var flying []StateChange
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "receive":
				m, err := protocol.Decode(fmt.Appendf(nil, `{"type":%q,"message":%s}`, d.CmdArgs[0].Key, d.Input))
				if err != nil {
					return err.Error() + "\n"
				}
				c.Receive(m, now)
			case "done":
				for _, arn := range c.ARNs() {
					for _, e := range c.Underway(arn) {
						if e.Verb != lifecycle.Wait {
							c.Observe(arn, lifecycle.Result{Effect: e, StartedAt: now}, now)
						}
					}
				}
			case "accepted":
				for _, s := range flying {
					c.Reported(s)
				}
				flying = nil
			case "at":
				since, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				now = fuzzEpoch.Add(since)
			default:
				d.Fatalf(t, "unknown command")
			}
			p := c.Next(now)
			flying = append(flying, p.Reports...)
			return showPlan(p)
		})
	})
}

var fuzzEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func short(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

func showPlan(p Plan) string {
	var lines []string
	if p.SaveFirst {
		lines = append(lines, "save first")
	}
	for _, r := range p.Save {
		lines = append(lines, fmt.Sprintf("save %s: %s, desired %s", short(r.Task.ARN), r.Life.Last, r.Life.Desired))
	}
	for _, arn := range p.Forget {
		lines = append(lines, "forget "+short(arn))
	}
	if p.Timeline != 0 {
		lines = append(lines, fmt.Sprintf("save timeline %d", p.Timeline))
	}
	for _, w := range p.Cancel {
		lines = append(lines, fmt.Sprintf("cancel %s %s %s", short(w.Task), w.Effect.Verb, w.Effect.Container))
	}
	for _, j := range p.Start {
		lines = append(lines, fmt.Sprintf("start %s %s %s", short(j.Task.ARN), j.Effect.Verb, j.Effect.Container))
	}
	for _, m := range p.Replies {
		b, _ := json.Marshal(m)
		lines = append(lines, fmt.Sprintf("reply %s %s", protocol.Kind(m), b))
	}
	for _, s := range p.Reports {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("report %s %s: %s %s", short(s.Cluster), short(s.Task), s.Report.Status, s.Report.Reason)))
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	if len(lines) == 0 {
		return "nothing\n"
	}
	return strings.Join(lines, "\n") + "\n"
}

// FuzzReceive: whatever a server says, Core does not panic, answers every payload once, never takes a task
// that it cannot name, and reports on every task that it refused.
func FuzzReceive(f *testing.F) {
	for _, tasks := range []string{
		`[]`,
		`[{"arn":"arn:aws:ecs:us-east-1:0:task/demo/1","desiredStatus":"RUNNING","containers":[{"name":"web","image":"nginx","essential":true}]}]`,
		`[{"arn":"arn:aws:ecs:us-east-1:0:task/demo/1","desiredStatus":"STOPPED"}]`,
		`[{"arn":"arn:aws:ecs:us-east-1:0:task/demo/1","desiredStatus":"RUNNING"}]`,
		`[{"arn":"","desiredStatus":"RUNNING"}]`,
		`[{"arn":"arn:aws:ecs:us-east-1:0:task/demo/1","desiredStatus":"RUNNING","containers":[{"name":"../x","image":"a"},{"name":"../x"}]}]`,
	} {
		f.Add(tasks, tasks)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		c := NewCore(CoreConfig{Cluster: "demo"}, fuzzEpoch)
		for _, tasks := range []string{first, second} {
			m, err := protocol.Decode(fmt.Appendf(nil, `{"type":"PayloadMessage","message":{"messageId":"m","tasks":%s}}`, tasks))
			payload, ok := m.(*protocol.Payload)
			if err != nil || !ok {
				return
			}
			c.Receive(payload, fuzzEpoch)
			p := c.Next(fuzzEpoch)
			if len(p.Replies) != 1 {
				t.Fatalf("%d replies", len(p.Replies))
			}
			for _, job := range p.Start {
				if checkARN(job.Task.ARN) != "" {
					t.Fatalf("an effect for a task named %q", job.Task.ARN)
				}
				named := slices.ContainsFunc(job.Task.Containers, func(c protocol.Container) bool { return c.Name == job.Effect.Container })
				if job.Effect.Container != "" && !named {
					t.Fatalf("%v of a container that is not in the document", job.Effect)
				}
				if strings.ContainsFunc(job.Effect.Container, notOfName) {
					t.Fatalf("a container named %q", job.Effect.Container)
				}
			}
			for _, s := range p.Reports {
				if s.Report.Status == lifecycle.Stopped && (s.Report.Reason == "" || utf8.RuneCountInString(s.Report.Reason) > lifecycle.MaxReason) {
					t.Fatalf("refused with a reason of %d bytes", len(s.Report.Reason))
				}
			}
		}
	})
}
