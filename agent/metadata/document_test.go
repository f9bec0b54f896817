package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"havn/agent"
	"havn/agent/observe"
	"havn/lifecycle"
	"havn/protocol"
)

// TestDocuments replays testdata/documents/*: what happens to a task, and how it is shown then. The directives:
//
//	task                     the assignment follows, as the protocol has it
//	pass 5s                  time goes by
//	done VERB [CONTAINER] [exit=CODE]
//	                         an effect has ended well
//	stop                     the task is to stop
//	show VERSION task|CONTAINER [facts]
//	                         with facts, the engine knows something of each container
func TestDocuments(t *testing.T) {
	datadriven.Walk(t, "testdata/documents", func(t *testing.T, path string) {
		now := time.Date(2026, 11, 25, 1, 2, 3, 4000, time.UTC)
		var r agent.Record
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "task":
				core := agent.NewCore(agent.CoreConfig{}, now)
				var doc protocol.Task
				if err := json.Unmarshal([]byte(d.Input), &doc); err != nil {
					d.Fatalf(t, "%v", err)
				}
				core.Receive(&protocol.Payload{Tasks: []protocol.Task{doc}}, now)
				r, _ = core.Task(doc.ARN)
			case "pass":
				step, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				now = now.Add(step)
			case "stop":
				r.Life = r.Life.Stop(now)
			case "done":
				r.Life = r.Life.Observe(resultOf(t, d, now), now)
			case "show":
				return show(r, d, now)
			default:
				d.Fatalf(t, "unknown directive")
			}
			return ""
		})
	})
}

func resultOf(t *testing.T, d *datadriven.TestData, now time.Time) lifecycle.Result {
	res := lifecycle.Result{Effect: lifecycle.Effect{Verb: lifecycle.Verb(d.CmdArgs[0].Key)}}
	if len(d.CmdArgs) > 1 {
		res.Effect.Container = d.CmdArgs[1].Key
	}
	switch res.Effect.Verb {
	case lifecycle.Connect:
		res.Bindings = []lifecycle.Binding{
			{Container: "web", BindIP: "0.0.0.0", ContainerPort: 80, HostPort: 49153, Protocol: "tcp"},
			{Container: "web", BindIP: "0.0.0.0", ContainerPortRange: "90-91", HostPortRange: "50090-50091", Protocol: "udp"},
		}
	case lifecycle.Pull:
		res.StartedAt, res.FinishedAt, res.Digest = now.Add(-time.Second), now, "sha256:abc"
	case lifecycle.Create:
		res.RuntimeID = strings.Repeat("0123456789abcdef", 4)
	case lifecycle.Probe:
		d.ScanArgs(t, "exit", &res.ExitCode)
		res.StartedAt, res.Output = now, "all is said\n"
	case lifecycle.Wait:
		d.ScanArgs(t, "exit", &res.ExitCode)
		res.FinishedAt = now
	}
	return res
}

func show(r agent.Record, d *datadriven.TestData, now time.Time) string {
	v := map[string]version{"v3": v3, "v4": v4}[d.CmdArgs[0].Key]
	facts := map[string]observe.Facts{}
	if d.HasArg("facts") {
		for _, c := range r.Task.Containers {
			facts[c.Name] = observe.Facts{
				ImageID: "sha256:def", CreatedAt: now.Add(-time.Minute), Snapshotter: "overlayfs",
				Addresses: []netip.Addr{netip.MustParseAddr("10.192.0.2")},
				Mounts:    []observe.Mount{{Source: "/srv/data", Destination: "/data"}},
			}
		}
	}
	var shown any = taskDocument(v, r, facts)
	if what := d.CmdArgs[1].Key; what != "task" {
		shown = containerDocument(v, r, what, facts[what])
	}
	b, err := json.Marshal(shown)
	if err != nil {
		return err.Error()
	}
	var lines strings.Builder
	if err := members(&lines, "", b); err != nil {
		return err.Error()
	}
	return lines.String()
}

// members writes each member of an object on a line, as it is on the wire, and those of containers likewise.
func members(w *strings.Builder, indent string, object []byte) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if name != "Containers" {
			fmt.Fprintf(w, "%s%s: %s\n", indent, name, value)
			continue
		}
		var each []json.RawMessage
		if err := json.Unmarshal(value, &each); err != nil {
			return err
		}
		for _, c := range each {
			fmt.Fprintf(w, "%scontainer\n", indent)
			if err := members(w, indent+"  ", c); err != nil {
				return err
			}
		}
	}
	return nil
}
