package lifecycle_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
)

// TestTranscripts replays the stories in testdata. Commands:
//
//	new NAME[:non-essential][:stop=5s] ...   a task of these containers
//	unknown | refused REASON                 a task of another birth
//	VERB [container] [key=value ...]         an effect ended: ok, fail="reason", canceled, digest= id= exit= oom ports=
//	stop-task                                the server wants it stopped
//	at 3s                                    the time, since the beginning
//	told                                     the server has accepted what there is to tell
//
// The answer to each is the state, what is wanted, and what there is to tell.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		s := &story{T: t, now: epoch}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.T = t
			return s.command(d)
		})
	})
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type story struct {
	*testing.T
	now   time.Time
	task  lifecycle.Task
	known lifecycle.Report
}

func (s *story) command(d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		var specs []lifecycle.Spec
		for _, arg := range d.CmdArgs {
			specs = append(specs, s.spec(arg.String()))
		}
		s.task, s.known = lifecycle.New(specs, lifecycle.Settings{}), lifecycle.Report{}
	case "unknown":
		s.task, s.known = lifecycle.Unknown(lifecycle.Settings{}, s.now), lifecycle.Report{}
	case "refused":
		s.task, s.known = lifecycle.Refused(strings.TrimSpace(d.Input), s.now), lifecycle.Report{}
	case "stop-task":
		s.task = s.task.Stop(s.now)
	case "at":
		since, err := time.ParseDuration(d.CmdArgs[0].String())
		if err != nil {
			d.Fatalf(s.T, "%v", err)
		}
		s.now = epoch.Add(since)
	case "told":
		report, news := s.task.Tell(s.known)
		if !news {
			return "there is nothing to tell\n"
		}
		s.known = report
	default:
		s.task = s.task.Observe(s.result(d), s.now)
	}
	s.survivesJournal()
	return s.state()
}

func (s *story) spec(arg string) lifecycle.Spec {
	parts := strings.Split(arg, ":")
	spec := lifecycle.Spec{Name: parts[0], Essential: true}
	for _, p := range parts[1:] {
		if p == "non-essential" {
			spec.Essential = false
		} else if d, err := time.ParseDuration(strings.TrimPrefix(p, "stop=")); err == nil {
			spec.StopTimeout = d
		} else {
			s.Fatalf("unknown property %q", p)
		}
	}
	return spec
}

func (s *story) result(d *datadriven.TestData) lifecycle.Result {
	r := lifecycle.Result{Effect: lifecycle.Effect{Verb: lifecycle.Verb(d.Cmd)}}
	for _, arg := range d.CmdArgs {
		value := ""
		if len(arg.Vals) > 0 {
			value = arg.Vals[0]
		}
		switch arg.Key {
		case "ok":
		case "canceled":
			r.Canceled = true
		case "fail":
			r.Reason = strings.TrimSpace(d.Input)
		case "digest":
			r.Digest = value
		case "pulled":
			took, err := time.ParseDuration(value)
			if err != nil {
				d.Fatalf(s.T, "%v", err)
			}
			r.StartedAt, r.FinishedAt = s.now.Add(-took), s.now
		case "id":
			r.RuntimeID = value
		case "oom":
			r.OutOfMemory = true
		case "exit":
			r.ExitCode, _ = strconv.Atoi(value)
		case "port":
			port, _ := strconv.ParseUint(value, 10, 16)
			for _, c := range s.task.Containers[:1] {
				r.Bindings = append(r.Bindings, lifecycle.Binding{Container: c.Name, ContainerPort: 80, HostPort: uint16(port), Protocol: "tcp"})
			}
		default:
			if value != "" {
				d.Fatalf(s.T, "unknown argument %s", arg)
			}
			r.Effect.Container = arg.Key
		}
	}
	return r
}

// survivesJournal checks that the value is the same after a journey through JSON.
func (s *story) survivesJournal() {
	b, err := json.Marshal(s.task)
	if err != nil {
		s.Fatal(err)
	}
	var back lifecycle.Task
	if err := json.Unmarshal(b, &back); err != nil {
		s.Fatal(err)
	}
	if !reflect.DeepEqual(s.task, back) {
		s.Errorf("the journal changes the task:\n%+v\n%+v", s.task, back)
	}
}

func (s *story) state() string {
	var b strings.Builder
	t := s.task
	fmt.Fprintf(&b, "%s, desired %s", t.Last, t.Desired)
	for _, c := range t.Containers {
		fmt.Fprintf(&b, "; %s %s", c.Name, c.Phase)
	}
	want, wake := t.Next(s.now)
	b.WriteString("\nwant:")
	for _, e := range want {
		b.WriteString(" " + show(e))
	}
	if len(want) == 0 {
		b.WriteString(" nothing")
	}
	if !wake.IsZero() {
		fmt.Fprintf(&b, "; ask again at %s", wake.Sub(epoch))
	}
	b.WriteByte('\n')
	if r, news := t.Tell(s.known); news {
		b.WriteString("tell: " + tell(r) + "\n")
	}
	if t.Forgettable() {
		b.WriteString("forgettable\n")
	}
	return b.String()
}

func show(e lifecycle.Effect) string {
	s := string(e.Verb)
	if e.Container != "" {
		s += "(" + e.Container + ")"
	}
	if e.Grace != 0 {
		s += "/" + e.Grace.String()
	}
	return s
}

func tell(r lifecycle.Report) string {
	s := string(r.Status)
	if r.Reason != "" {
		s += fmt.Sprintf(" %q", r.Reason)
	}
	for _, c := range r.Containers {
		s += fmt.Sprintf("; %s %s", c.Name, c.Status)
		if c.Digest != "" {
			s += " " + c.Digest
		}
		if c.RuntimeID != "" {
			s += " id=" + c.RuntimeID
		}
		for _, b := range c.Bindings {
			s += fmt.Sprintf(" %d->%d/%s", b.HostPort, b.ContainerPort, b.Protocol)
		}
		if c.Exited {
			s += fmt.Sprintf(" exit=%d", c.ExitCode)
		}
		if c.Reason != "" {
			s += fmt.Sprintf(" %q", c.Reason)
		}
	}
	if !r.PullStartedAt.IsZero() {
		s += fmt.Sprintf("; pulled %s-%s", r.PullStartedAt.Sub(epoch), r.PullStoppedAt.Sub(epoch))
	}
	if !r.ExecutionStoppedAt.IsZero() {
		s += fmt.Sprintf("; execution stopped %s", r.ExecutionStoppedAt.Sub(epoch))
	}
	return s
}
