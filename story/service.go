package story

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"havn/cause"
	"havn/lifecycle"
	"havn/state"
)

// ServiceFacts are what a service's story is told from. What is gone is the zero record.
type ServiceFacts struct {
	Service    state.Service
	Deployment state.ServiceDeployment // its latest
	Heading    state.ServiceRevision   // what that comes to
	Wanted     int                     // copies: of a DAEMON service, container instances that take one
	Tasks      []state.Task            // those that have stopped too, as long as they are there
	Targets    []state.Target          // that stand for its tasks
	History    state.ServiceHistory
	// Story tells the story of one of the tasks, for the last one that failed.
	Story func(state.Task) state.Story `json:"-"`
	Now   time.Time
}

// ServiceStory is why a service is as it is.
type ServiceStory struct {
	ServiceARN    string    `json:"service"`
	DefinitionARN string    `json:"definition"`
	Status        string    `json:"status"`
	Wanted        int       `json:"wanted"`
	Running       int       `json:"running"`
	Pending       int       `json:"pending"`
	Steady        bool      `json:"steady"`
	Deployment    string    `json:"deployment,omitempty"` // its status, and why
	Findings      []Finding `json:"findings"`             // what keeps it from being steady, the weightiest first
	Lately        []Event   `json:"lately"`               // what happened, the latest last
}

// Finding is one thing that keeps a service from being steady.
type Finding struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Try  string `json:"try,omitempty"`
}

// Event is a line of a service's history.
type Event struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// The codes of findings that are not the causes of a task. They are for programs, and do not change.
const (
	codeDeleted   = "deleted"
	codeUnplaced  = string(cause.NoRoom)
	codeFailed    = "deployment-failed"
	codeRollback  = "rolled-back"
	codeThrottled = "throttled"
	codeDeadlock  = "deadlock"
	codeHook      = "hook-waits"
	codeTargets   = string(cause.TargetUnhealthy)
	codeProtected = "protected"
	codeLeaving   = "leaving"
	codeStarting  = "starting"
	codeBaking    = "baking"
)

// maxServiceEvents is how many lines of its history a service's story has.
const maxServiceEvents = 8

// TellService tells why a service is as it is.
func TellService(f ServiceFacts) ServiceStory {
	d := f.Deployment
	s := ServiceStory{
		ServiceARN: f.Service.ARN, DefinitionARN: f.Heading.DefinitionARN, Status: f.Service.Status, Wanted: f.Wanted,
		Deployment: string(d.Status), Findings: []Finding{}, Lately: []Event{},
	}
	if d.StatusReason != "" {
		s.Deployment += ": " + d.StatusReason
	}
	for _, t := range f.Tasks {
		switch {
		case t.Desired == lifecycle.Stopped:
		case t.Last == lifecycle.Running:
			s.Running++
		case t.Last.Before(lifecycle.Running):
			s.Pending++
		}
	}
	s.Steady = f.Service.Status == "ACTIVE" && d.Steady && s.Running == s.Wanted
	if !s.Steady {
		s.Findings = append(s.Findings, f.findings()...)
	}
	events := f.History.Events[:min(len(f.History.Events), maxServiceEvents)]
	for _, e := range slices.Backward(events) {
		s.Lately = append(s.Lately, Event{At: e.At, Text: strings.TrimPrefix(e.Message, "(service "+f.Service.Name+") ")})
	}
	return s
}

func (f ServiceFacts) findings() []Finding {
	var all []Finding
	find := func(code, text, try string) { all = append(all, Finding{code, text, try}) }
	d := f.Deployment
	if f.Service.Status != "ACTIVE" {
		if n := f.count(func(t state.Task) bool { return t.Last != lifecycle.Stopped }); n > 0 {
			find(codeDeleted, fmt.Sprintf("it is deleted, and %s still to stop", copies(n)), "Nothing: they are stopped.")
		}
		return all
	}
	for _, h := range d.Hooks {
		if h.Status == "AWAITING_ACTION" {
			find(codeHook, fmt.Sprintf("the deployment waits at a hook of the stage %s, since %s", h.Stage, span(since(h.StartedAt, f.Now))),
				"aws ecs continue-service-deployment --service-deployment-arn "+d.ARN+" --hook-id "+h.ID)
		}
	}
	if d.Waiting {
		find(codeUnplaced, f.lately("unable to place a task", "a task finds no place on any container instance"), cause.NoRoom.Try())
	}
	switch {
	case d.Status == "STOPPED", d.Status == "ROLLBACK_FAILED":
		find(codeFailed, cmp.Or(d.StatusReason, "the deployment has failed"), "Correct the task definition, and update the service.")
	case d.Rollback.RevisionARN != "":
		find(codeRollback, "it goes back to "+last(f.Heading.DefinitionARN)+": "+d.Rollback.Reason, "Correct the task definition, and update the service.")
	}
	if f.Now.Before(d.StartAfter) {
		find(codeThrottled, fmt.Sprintf("%d starts in a row have failed: the next is in %s", d.FailedInARow, span(d.StartAfter.Sub(f.Now))),
			"See why the last task failed.")
	}
	if text := f.lately("because of the service deployment configuration", ""); text != "" {
		find(codeDeadlock, text, "aws ecs update-service with another minimumHealthyPercent or maximumPercent.")
	}
	if failed, ok := f.lastFailed(); ok {
		find(failed.Code, fmt.Sprintf("the last task that failed, %s at %s: %s", last(failed.TaskARN), failed.StoppedAt.UTC().Format(time.TimeOnly), failed.Because), failed.Try)
	}
	for _, text := range f.sickTargets() {
		find(codeTargets, text, cause.TargetUnhealthy.Try())
	}
	return append(all, f.onTheWay()...)
}

// onTheWay is what is under way, and needs nobody.
func (f ServiceFacts) onTheWay() []Finding {
	var all []Finding
	wait := func(code, format string, n int, also ...any) {
		if n > 0 {
			all = append(all, Finding{Code: code, Text: fmt.Sprintf(format, append([]any{copies(n)}, also...)...), Try: "Nothing: wait."})
		}
	}
	live := func(t state.Task) bool { return t.Desired != lifecycle.Stopped }
	wait(codeStarting, "%s being started", f.count(func(t state.Task) bool { return live(t) && t.Last.Before(lifecycle.Running) }))
	wait(codeStarting, "%s running, and not yet known to be healthy",
		f.count(func(t state.Task) bool { return live(t) && t.Last == lifecycle.Running && t.HealthyAt.IsZero() }))
	wait(codeProtected, "%s protected, and of an older revision", f.count(func(t state.Task) bool {
		return live(t) && t.RevisionARN != f.Heading.ARN && t.Protected(f.Now)
	}))
	wait(codeLeaving, "%s told to stop, and not stopped yet", f.count(func(t state.Task) bool { return !live(t) && t.Last != lifecycle.Stopped }))
	if d := f.Deployment; d.Stage == "BAKE_TIME" {
		all = append(all, Finding{Code: codeBaking, Text: "the deployment is in its bake time, since " + span(since(d.StageSince, f.Now)), Try: "Nothing: wait."})
	}
	return all
}

func (f ServiceFacts) count(is func(state.Task) bool) (n int) {
	for _, t := range f.Tasks {
		if is(t) {
			n++
		}
	}
	return n
}

func copies(n int) string {
	if n == 1 {
		return "one task is"
	}
	return fmt.Sprintf("%d tasks are", n)
}

// lately is what the service's history said last with such words, of the latest deployment and since it was steady.
func (f ServiceFacts) lately(words, otherwise string) string {
	for _, e := range f.History.Events {
		if strings.Contains(e.Message, "has reached a steady state") || e.At.Before(f.Deployment.CreatedAt) {
			break
		}
		if strings.Contains(e.Message, words) {
			return "it " + strings.TrimPrefix(e.Message, "(service "+f.Service.Name+") ")
		}
	}
	return otherwise
}

// lastFailed is the story of the last task that failed by itself, since the latest deployment began.
func (f ServiceFacts) lastFailed() (failed state.Story, ok bool) {
	var latest state.Task
	for _, t := range f.Tasks {
		byItself := t.StopCode == "EssentialContainerExited" || t.StopCode == "TaskFailedToStart" ||
			strings.Contains(t.StoppedReason, "health checks")
		if t.Last == lifecycle.Stopped && byItself && !t.StoppedAt.Before(f.Deployment.CreatedAt) && !t.StoppedAt.Before(latest.StoppedAt) {
			latest = t
		}
	}
	if latest.ARN == "" || f.Story == nil {
		return failed, false
	}
	return f.Story(latest), true
}

// sickTargets say which targets fail their health checks.
func (f ServiceFacts) sickTargets() []string {
	var all []string
	for _, t := range f.Targets {
		if t.Health.State == "unhealthy" && t.DrainingSince.IsZero() {
			all = append(all, fmt.Sprintf("the target %s:%d of task %s fails its health checks in %s: %s", t.ID, t.Port, last(t.TaskARN),
				targetGroup(t.TargetGroupARN), cmp.Or(t.Health.Description, string(t.Health.Reason))))
		}
	}
	slices.Sort(all)
	return all
}

// targetGroup is the name in a target group's ARN.
func targetGroup(arn string) string {
	_, rest, _ := strings.Cut(arn, ":targetgroup/")
	name, _, _ := strings.Cut(rest, "/")
	return cmp.Or(name, arn)
}

// PrintService writes a service's story for a person, with times of the given location.
func PrintService(w io.Writer, s ServiceStory, loc *time.Location) error {
	var b strings.Builder
	_, in, _ := strings.Cut(s.ServiceARN, ":service/")
	cluster, name, _ := strings.Cut(in, "/")
	fmt.Fprintf(&b, "Service %s of %s in cluster %s: %s, %d of %d run", name, last(s.DefinitionARN), cluster, s.Status, s.Running, s.Wanted)
	if s.Pending > 0 {
		fmt.Fprintf(&b, ", %d on their way", s.Pending)
	}
	if s.Deployment != "" {
		fmt.Fprintf(&b, "\nIts latest deployment: %s", oneLine(s.Deployment))
	}
	b.WriteString("\n\n")
	for _, e := range s.Lately {
		fmt.Fprintf(&b, "  %s  %s\n", e.At.In(loc).Format("15:04:05.000"), oneLine(e.Text))
	}
	if len(s.Lately) > 0 {
		b.WriteString("\n")
	}
	switch {
	case s.Steady:
		b.WriteString("So far: it is steady.\n")
	case len(s.Findings) == 0 && s.Status == "INACTIVE":
		b.WriteString("So far: it was deleted, and nothing of it is left.\n")
	case len(s.Findings) == 0:
		b.WriteString("So far: nothing is known to be in its way.\n")
	}
	for _, f := range s.Findings {
		fmt.Fprintf(&b, "Because: %s (%s).\n", strings.TrimSuffix(oneLine(f.Text), "."), f.Code)
		if f.Try != "" {
			fmt.Fprintf(&b, "Try: %s\n", f.Try)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
