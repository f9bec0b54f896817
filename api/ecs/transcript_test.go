package ecs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/state"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestTranscripts replays testdata/transcripts/*: JSON in, JSON or an exception out, over HTTP. The directives:
//
//	call OPERATION [only=(a.b,c)]
//	                         the input follows; the answer is as on the wire, or those members of it
//	pass 5s                  time goes by
//	connect NODE             the node's agent connects
//	disconnect NODE          it goes away
//	impair NODE              it says that the machine is IMPAIRED, for the reason that follows
//	task id=ID cluster=NAME definition=ARN instance=ARN [last=RUNNING] [desired=RUNNING] [group=GROUP] [service=NAME] [attached]
//	                         a task is placed, with 256 CPU units and 512 MiB; of a service, it is made from what the
//	                         service is heading for; targets may stand for it
//	elb group|listener|rule  api/elbv2 writes the record that follows
//	control service|deployment|revision|events CLUSTER/NAME
//	                         control writes the members that follow into the service, its latest deployment, the
//	                         revision that is heading for, or its history
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		now := start
		w := newWorld(t, func() time.Time { return now })
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "call":
				var only []string
				for _, arg := range d.CmdArgs[1:] {
					only = append(only, arg.Vals...)
				}
				return w.call(t, now, d.CmdArgs[0].Key, d.Input, only...)
			case "pass":
				step, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(step)
				return ""
			case "disconnect":
				w.put(t, func(tx *state.Tx) {
					n, ok := state.Nodes.Get(tx, d.CmdArgs[0].Key)
					if !ok {
						d.Fatalf(t, "no node %s", d.CmdArgs[0].Key)
					}
					n.Connected, n.ConnectedAt = false, now
					state.Nodes.Put(tx, n)
				})
				return ""
			case "impair":
				w.put(t, func(tx *state.Tx) {
					n, ok := state.Nodes.Get(tx, d.CmdArgs[0].Key)
					if !ok {
						d.Fatalf(t, "no node %s", d.CmdArgs[0].Key)
					}
					n.Condition = state.Condition{Status: types.InstanceHealthCheckStateImpaired, Reason: strings.TrimSpace(d.Input), Since: now, Updated: now}
					state.Nodes.Put(tx, n)
				})
				return ""
			case "connect":
				w.put(t, func(tx *state.Tx) {
					n, ok := state.Nodes.Get(tx, d.CmdArgs[0].Key)
					if !ok {
						d.Fatalf(t, "no node %s", d.CmdArgs[0].Key)
					}
					n.ConnectedAt = now
					n.Connected, n.AgentVersion, n.AgentHash, n.DockerVersion = true, "1.0.0", "abcdef01", "DockerVersion: 0"
					state.Nodes.Put(tx, n)
				})
				return ""
			case "task":
				w.placeTask(t, d)
				return ""
			case "elb":
				w.elb(t, d)
				return ""
			case "control":
				w.control(t, d)
				return ""
			}
			d.Fatalf(t, "unknown directive")
			return ""
		})
	})
}

// call sends one signed request and renders the answer, or only some members of it.
func (w *world) call(t testing.TB, now time.Time, operation, body string, only ...string) string {
	t.Helper()
	if body == "" {
		body = "{}"
	}
	r, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"},
		r, hex.EncodeToString(sum[:]), "ecs", region, now)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		var e struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		return fmt.Sprintf("%d %s: %s\n", answer.StatusCode, e.Type[strings.LastIndexByte(e.Type, '#')+1:], e.Message)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if len(only) > 0 {
		var lines strings.Builder
		for _, path := range only {
			fmt.Fprintf(&lines, "%s: %s\n", path, render(member(v, strings.Split(path, ".")), ""))
		}
		return lines.String()
	}
	return render(v, "") + "\n"
}

// member follows a path of names, into every element of a list.
func member(v any, path []string) any {
	switch v := v.(type) {
	case []any:
		if len(path) == 0 {
			return v
		}
		each := make([]any, len(v))
		for i := range v {
			each[i] = member(v[i], path)
		}
		return each
	case map[string]any:
		if len(path) > 0 {
			return member(v[path[0]], path[1:])
		}
	}
	return v
}

// render writes JSON with what fits on a line on one line, so that a transcript can be read.
func render(v any, indent string) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	const width = 120
	if len(indent)+len(b) <= width {
		return string(b)
	}
	inner := indent + "  "
	var lines []string
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, inner+strconv.Quote(key)+": "+render(v[key], inner))
		}
		return "{\n" + strings.Join(lines, ",\n") + "\n" + indent + "}"
	case []any:
		for _, each := range v {
			lines = append(lines, inner+render(each, inner))
		}
		return "[\n" + strings.Join(lines, ",\n") + "\n" + indent + "]"
	}
	return string(b)
}

func (w *world) placeTask(t testing.TB, d *datadriven.TestData) {
	t.Helper()
	var id, cluster, definition, instance string
	last := string(lifecycle.Running)
	d.ScanArgs(t, "id", &id)
	d.ScanArgs(t, "cluster", &cluster)
	d.ScanArgs(t, "definition", &definition)
	d.ScanArgs(t, "instance", &instance)
	d.MaybeScanArgs(t, "last", &last)
	group := "family:" + definition
	d.MaybeScanArgs(t, "group", &group)
	desired := string(lifecycle.Running)
	d.MaybeScanArgs(t, "desired", &desired)
	arn := "arn:aws:ecs:" + region + ":" + account + ":"
	var service, serviceARN, startedBy string
	d.MaybeScanArgs(t, "service", &service)
	if service != "" {
		group, serviceARN = "service:"+service, arn+"service/"+cluster+"/"+service
	}
	w.put(t, func(tx *state.Tx) {
		i, ok := state.Instances.Get(tx, arn+"container-instance/"+cluster+"/"+instance)
		if !ok {
			d.Fatalf(t, "no container instance %s", instance)
		}
		n, _ := state.Nodes.Get(tx, i.NodeID)
		held := state.Resources{CPU: 256, Memory: 512, TCPPorts: []uint16{8080}}
		if last != string(lifecycle.Stopped) {
			n.Remaining.CPU -= held.CPU
			n.Remaining.Memory -= held.Memory
			n.Remaining.TCPPorts = append(n.Remaining.TCPPorts[:len(n.Remaining.TCPPorts):len(n.Remaining.TCPPorts)], held.TCPPorts...)
			state.Nodes.Put(tx, n)
		}
		s, _ := state.Services.Get(tx, serviceARN)
		latest, _ := state.ServiceDeployments.Get(tx, s.DeploymentARN)
		if r, ok := state.ServiceRevisions.Get(tx, latest.Heading()); ok {
			startedBy = r.DeploymentID
		}
		state.Tasks.Put(tx, state.Task{
			ServiceARN: serviceARN, RevisionARN: latest.Heading(), StartedBy: startedBy, Attached: d.HasArg("attached"),
			ARN: arn + "task/" + cluster + "/" + id, ClusterARN: i.ClusterARN, DefinitionARN: arn + "task-definition/" + definition,
			InstanceARN: i.ARN, NodeID: i.NodeID, Group: group, LaunchType: "EC2",
			Reserved: held, Desired: lifecycle.Status(desired), Last: lifecycle.Status(last), CreatedAt: start, Version: 1,
		})
	})
}

// control writes what control would: JSON, over the record as it is.
func (w *world) control(t testing.TB, d *datadriven.TestData) {
	t.Helper()
	arn := "arn:aws:ecs:" + region + ":" + account + ":service/" + d.CmdArgs[1].Key
	read := func(record any) {
		if err := json.Unmarshal([]byte(d.Input), record); err != nil {
			d.Fatalf(t, "%v", err)
		}
	}
	w.put(t, func(tx *state.Tx) {
		s, ok := state.Services.Get(tx, arn)
		if !ok {
			d.Fatalf(t, "no service %s", arn)
		}
		latest, _ := state.ServiceDeployments.Get(tx, s.DeploymentARN)
		switch d.CmdArgs[0].Key {
		case "service":
			read(&s)
			state.Services.Put(tx, s)
		case "deployment":
			read(&latest)
			state.ServiceDeployments.Put(tx, latest)
		case "revision":
			r, _ := state.ServiceRevisions.Get(tx, latest.Heading())
			read(&r)
			state.ServiceRevisions.Put(tx, r)
		case "events":
			h := state.ServiceHistory{ServiceARN: arn}
			read(&h)
			state.ServiceEvents.Put(tx, h)
		default:
			d.Fatalf(t, "control writes no %s", d.CmdArgs[0].Key)
		}
	})
}

// elb writes what api/elbv2 would.
func (w *world) elb(t testing.TB, d *datadriven.TestData) {
	t.Helper()
	w.put(t, func(tx *state.Tx) {
		var err error
		switch d.CmdArgs[0].Key {
		case "group":
			var g state.TargetGroup
			err = json.Unmarshal([]byte(d.Input), &g)
			state.TargetGroups.Put(tx, g)
		case "listener":
			var l state.Listener
			err = json.Unmarshal([]byte(d.Input), &l)
			state.Listeners.Put(tx, l)
		case "rule":
			var r state.ListenerRule
			err = json.Unmarshal([]byte(d.Input), &r)
			state.ListenerRules.Put(tx, r)
		}
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
	})
}
