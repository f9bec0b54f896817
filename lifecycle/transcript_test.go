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
//	new NAME[:non-essential][:stop=5s] ...   a task of these containers; further properties:
//	    :after/NAME/CONDITION                whom it depends on
//	    :start-timeout/10s                   how long others wait for it
//	    :restart/60s[/CODE ...]              a restart policy: its period, and exit codes that it ignores
//	    :check/30s/5s/3/20s                  a health check: interval, timeout, retries, start period
//	unknown | refused REASON                 a task of another birth
//	VERB [container] [key=value ...]         an effect ended: ok, fail, canceled, digest= id= exit= oom port= round=
//	                                         what fails says why below; a probe says there what it wrote
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
		s.task, _ = s.task.Elapse(s.now)
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
		words := strings.Split(p, "/")
		switch words[0] {
		case "ships":
			spec.Ships = true
		case "router":
			spec.Ships, spec.Router = true, words[1]
		case "non-essential":
			spec.Essential = false
		case "after":
			spec.DependsOn = append(spec.DependsOn, lifecycle.Dependency{On: words[1], Until: lifecycle.Condition(words[2])})
		case "start-timeout":
			spec.StartTimeout = s.duration(words[1])
		case "restart":
			spec.Restart = lifecycle.RestartPolicy{Enabled: true, Period: s.duration(words[1])}
			for _, code := range words[2:] {
				spec.Restart.Ignored = append(spec.Restart.Ignored, s.number(code))
			}
		case "check":
			spec.Check = lifecycle.HealthCheck{Interval: s.duration(words[1]), Timeout: s.duration(words[2]),
				Retries: s.number(words[3]), StartPeriod: s.duration(words[4])}
		default:
			spec.StopTimeout = s.duration(strings.TrimPrefix(p, "stop="))
		}
	}
	return spec
}

func (s *story) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.Fatal(err)
	}
	return d
}

func (s *story) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *story) result(d *datadriven.TestData) lifecycle.Result {
	r := lifecycle.Result{Effect: lifecycle.Effect{Verb: lifecycle.Verb(d.Cmd)}}
	round := -1
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
		case "round":
			round = s.number(value)
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
	if r.Effect.Verb == lifecycle.Probe && r.Reason == "" {
		r.Output, r.StartedAt = d.Input, s.now
	}
	switch r.Effect.Verb {
	case lifecycle.Start, lifecycle.Wait, lifecycle.Probe:
		for _, c := range s.task.Containers {
			if c.Name == r.Effect.Container {
				r.Effect.Round = c.Round
			}
		}
		if round >= 0 {
			r.Effect.Round = round
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
		if c.Round > 0 {
			fmt.Fprintf(&b, " (round %d, %d restarts)", c.Round, c.Restarts)
		}
		if h := c.Health; h.Status != "" {
			fmt.Fprintf(&b, " %s since %s", h.Status, h.Since.Sub(epoch))
		}
		if h := c.Health; !h.ProbedAt.IsZero() {
			fmt.Fprintf(&b, " (%d failures, exit %d %q)", h.Failures, h.ExitCode, h.Output)
		}
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
	if e.Round != 0 {
		s += fmt.Sprintf("#%d", e.Round)
	}
	if e.Timeout != 0 {
		s += "/" + e.Timeout.String()
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
