package control

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/rollout"
	"havn/state"
)

// writer makes a plan real, in the transaction that gathered the view.
type writer struct {
	tx *state.Tx
	*gathered
	now    time.Time
	events []rollout.Event
	acted  bool // something was started or stopped
	more   bool // than one transaction does
}

func (w *writer) write(p rollout.Plan) (again time.Duration, err error) {
	if w.deployment.Status == types.ServiceDeploymentStatusPending {
		supersede(w.tx, w.deployment, w.now)
	}
	w.note(p)
	w.pin()
	w.events = append(w.events, p.Events...)
	w.stop(p.Stop)
	waiting, err := w.start(p.Start)
	if err != nil {
		return 0, err
	}
	w.remember(p, waiting)
	w.tell()
	if p.Finished {
		finish(w.tx, w.service)
	}
	switch {
	case w.more:
		return 1, nil // the rest at once, in a transaction of its own
	case waiting && (p.Again.IsZero() || p.Again.After(w.now.Add(retryPlace))):
		return retryPlace, nil
	case !p.Again.IsZero():
		return max(p.Again.Sub(w.now), 1), nil
	}
	return 0, nil
}

// note writes down which tasks have been found healthy, and which have been counted.
func (w *writer) note(p rollout.Plan) {
	for _, arn := range p.Count {
		if t, ok := state.Tasks.Get(w.tx, arn); ok && !t.Counted {
			t.Counted = true
			state.Tasks.Put(w.tx, t)
		}
	}
	for _, arn := range p.Healthy {
		if t, ok := state.Tasks.Get(w.tx, arn); ok && t.HealthyAt.IsZero() {
			t.HealthyAt = w.now
			state.Tasks.Put(w.tx, t)
		}
	}
}

// stop tells tasks to stop, and events of it.
func (w *writer) stop(stops []rollout.Stop) {
	if len(stops) > maxStops {
		stops, w.more = stops[:maxStops], true
	}
	w.guard(stops)
	var stopped, moved []state.Task
	attached := 0
	for _, s := range stops {
		t, ok := state.Tasks.Get(w.tx, s.Task)
		if !ok {
			continue
		}
		t = stopOf(t, s.Reason, w.now)
		state.Tasks.Put(w.tx, t)
		if t.Attached {
			attached++
		}
		if s.Zone != "" {
			moved = append(moved, t)
		} else {
			stopped = append(stopped, t)
		}
	}
	w.acted = w.acted || len(stopped)+len(moved) > 0
	if attached > 0 {
		w.say("has begun draining connections on %d tasks.", attached)
	}
	if len(stopped) > 0 {
		w.say("has stopped %d running tasks: %s.", len(stopped), names(stopped))
	}
	if len(moved) > 0 {
		w.say("has stopped %d running tasks in %s due to AZ rebalancing: %s.", len(moved), w.node(moved[0].InstanceARN).zone, names(moved))
	}
}

// maxGuarded is how many tasks a stop of a healthy one is held to at most.
const maxGuarded = 1000

// guard makes a stop of a healthy task hang on those that are healthy beside it: if one of them is lost at the same
// time, it is decided again.
func (w *writer) guard(stops []rollout.Stop) {
	healthy := map[string]bool{}
	for _, t := range w.view.Tasks {
		if t.Phase == rollout.Healthy {
			healthy[t.ID] = true
		}
	}
	if !w.view.Service.Active || len(healthy) > maxGuarded || !slices.ContainsFunc(stops, func(s rollout.Stop) bool { return healthy[s.Task] }) {
		return
	}
	for arn := range healthy {
		state.Tasks.Get(w.tx, arn)
	}
}

// start places new tasks. It reports whether one found no place.
func (w *writer) start(starts []rollout.Start) (waiting bool, err error) {
	left := maxStarts
	var started []state.Task
	for _, s := range starts {
		if left == 0 {
			w.more = true
			break
		}
		count := min(s.Count, left)
		w.more = w.more || count < s.Count
		left -= count
		placed, refused, err := w.place(s, count)
		if err != nil {
			return false, err
		}
		if s.Zone != "" && len(placed) > 0 {
			w.acted = true
			w.say("has started %d tasks in %s to AZ Rebalance: %s.", len(placed), s.Zone, names(placed))
		} else {
			started = append(started, placed...)
		}
		if len(refused) > 0 {
			waiting = true
			w.events = append(w.events, rollout.Event{Message: unplaced(s, refused), Once: true})
		}
	}
	if waiting {
		w.more = false // it will not help
	}
	if len(started) > 0 {
		w.acted = true
		w.say("has started %d tasks: %s.", len(started), names(started))
	}
	return waiting, nil
}

func (w *writer) place(s rollout.Start, count int) (placed []state.Task, refused []placement.Refusal, err error) {
	asks := make([]placement.Ask, count)
	for n := range asks {
		if asks[n], err = w.ask(w.tx, w.revision(s.Revision)); err != nil {
			return nil, nil, err
		}
	}
	placement.Provide(asks, w.revision(s.Revision).CapacityProviderStrategy, w.provided(s.Revision))
	h := fnv.New64a()
	fmt.Fprint(h, w.service.ARN, w.deployment.Steps)
	switch {
	case s.Node != "":
		i, _ := state.Instances.Get(w.tx, s.Node)
		placed, refused = placement.PlaceOn(w.tx, i, asks)
	case s.Zone != "":
		placed, refused, err = placement.PlaceIn(w.tx, w.service.ClusterARN, s.Zone, h.Sum64(), asks)
	default:
		placed, refused = placement.Place(w.tx, w.service.ClusterARN, h.Sum64(), asks)
	}
	return placed, refused, err
}

// provided is how many tasks of a revision each capacity provider has.
func (w *writer) provided(revision string) map[string]int {
	count := map[string]int{}
	for t := range state.Tasks.By(w.tx, "unstopped of service", w.service.ARN) {
		if t.RevisionARN == revision && t.Desired != lifecycle.Stopped {
			count[t.CapacityProvider]++
		}
	}
	return count
}

// ask is one more task of a revision.
func (g *gathered) ask(tx *state.Tx, r state.ServiceRevision) (placement.Ask, error) {
	d, ok := state.TaskDefinitions.Peek(tx, r.DefinitionARN)
	if !ok {
		return placement.Ask{}, fmt.Errorf("cannot start a task of %s: its task definition %s is not there", g.service.ARN, r.DefinitionARN)
	}
	s := g.service
	a := placement.NewAsk(tx, d, state.Task{
		ClusterARN: s.ClusterARN, Group: "service:" + s.Name, StartedBy: r.DeploymentID, LaunchType: types.LaunchTypeEc2,
		EnableManagedTags: s.EnableManagedTags, CreatedAt: g.now, ServiceARN: s.ARN, RevisionARN: r.ARN, Tags: g.tags(d),
	})
	var err error
	if a.Constraints, err = placement.Constraints(d.Spec.PlacementConstraints, s.PlacementConstraints); err != nil {
		return a, fmt.Errorf("cannot start a task of %s: %w", s.ARN, err)
	}
	if a.Strategies, err = placement.Strategies(s.PlacementStrategy); err != nil {
		return a, fmt.Errorf("cannot start a task of %s: %w", s.ARN, err)
	}
	return a, nil
}

// tags are those of a new task: propagated ones, and ECS's own. Developer Guide, "Tagging Amazon ECS resources".
func (g *gathered) tags(d state.TaskDefinition) []types.Tag {
	var tags []types.Tag
	switch g.service.PropagateTags {
	case types.PropagateTagsService:
		tags = slices.Clone(g.service.Tags)
	case types.PropagateTagsTaskDefinition:
		tags = slices.Clone(d.Tags)
	}
	if g.service.EnableManagedTags {
		tags = append(tags,
			types.Tag{Key: aws.String("aws:ecs:clusterName"), Value: aws.String(lastPart(g.service.ClusterARN))},
			types.Tag{Key: aws.String("aws:ecs:serviceName"), Value: aws.String(g.service.Name)})
	}
	return tags
}

// pin notes which image a container's tag meant to the first task that found out. Developer Guide, "Container image
// resolution".
func (w *writer) pin() {
	for _, t := range w.tasks {
		r := w.revision(t.RevisionARN)
		if r.ARN == "" || len(r.Images) == len(t.Containers) {
			continue
		}
		images := slices.Clone(r.Images)
		for _, c := range t.Containers {
			known := slices.ContainsFunc(images, func(i types.ContainerImage) bool { return aws.ToString(i.ContainerName) == c.Name })
			if c.ImageDigest != "" && !known {
				images = append(images, types.ContainerImage{ContainerName: aws.String(c.Name), Image: aws.String(c.Image), ImageDigest: aws.String(c.ImageDigest)})
			}
		}
		if len(images) == len(r.Images) {
			continue
		}
		slices.SortFunc(images, func(a, b types.ContainerImage) int { return strings.Compare(*a.ContainerName, *b.ContainerName) })
		if now, ok := state.ServiceRevisions.Get(w.tx, r.ARN); ok {
			now.Images = images
			state.ServiceRevisions.Put(w.tx, now)
			w.revisions[r.ARN] = now
		}
	}
}

// remember writes the deployment down, if something of it is new.
func (w *writer) remember(p rollout.Plan, waiting bool) {
	w.rememberSets(p, waiting)
	if w.deployment.ARN == "" {
		return
	}
	d := after(w.deployment, p.Deployment)
	d.Hooks = hooksAfter(w.tx, d, p.Deployment.Hooks)
	d.Waiting = waiting
	if w.acted {
		d.Steps++
	}
	if shifts(d.Configuration) && (rollout.Deployment{Status: string(w.deployment.Status)}).Open() {
		steer(w.tx, d)
	}
	if !reflect.DeepEqual(d, w.deployment) {
		d.UpdatedAt = w.now
		state.ServiceDeployments.Put(w.tx, d)
	}
}

func (w *writer) say(format string, args ...any) {
	w.events = append(w.events, rollout.Event{Message: fmt.Sprintf(format, args...)})
}

// quiet is how long something is not told again that goes on. Developer Guide, "Viewing Amazon ECS service event
// messages".
const quiet = 6 * time.Hour

// tell adds to the service's history.
func (w *writer) tell() {
	if len(w.events) == 0 {
		return
	}
	h, _ := state.ServiceEvents.Get(w.tx, w.service.ARN)
	h.ServiceARN = w.service.ARN
	before := len(h.Events)
	fresh := 0
	for _, e := range w.events {
		message := "(service " + w.service.Name + ") " + e.Message
		if e.Once && lately(h.Events, message, w.now) {
			continue
		}
		id := w.tx.NewID()
		h.Events = append([]state.ServiceEvent{{ID: uuid(id), At: w.now, Message: message}}, h.Events...)
		fresh++
	}
	if fresh == 0 && before == len(h.Events) {
		return
	}
	h.Events = h.Events[:min(len(h.Events), state.MaxServiceEvents)]
	state.ServiceEvents.Put(w.tx, h)
}

// lately reports whether something was told, and goes on since: the service has not been steady.
func lately(events []state.ServiceEvent, message string, now time.Time) bool {
	for _, e := range events {
		switch {
		case strings.HasSuffix(e.Message, "has reached a steady state.") || now.Sub(e.At) >= quiet:
			return false
		case e.Message == message:
			return true
		}
	}
	return false
}

// uuid writes 32 hexadecimal digits as ECS writes the ids of events.
func uuid(id string) string {
	if len(id) != 32 {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// names are tasks as events list them.
func names(tasks []state.Task) string {
	var all []string
	for _, t := range tasks {
		all = append(all, "(task "+lastPart(t.ARN)+")")
	}
	return strings.Join(all, " ")
}

// unplaced says that a task found no place, as ECS words it. Developer Guide, "Amazon ECS service event messages".
func unplaced(s rollout.Start, refused []placement.Refusal) string {
	const more = " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
	if s.Zone != "" {
		return "is unable to place a task in " + s.Zone + " because no container instance met all of its requirements." + more
	}
	closest := refused[0]
	if closest.InstanceARN == "" {
		return "was unable to place a task because no container instance met all of its requirements. Reason: " + closest.Reason + more
	}
	for _, r := range refused { // the one that came furthest
		if nearness(r.Reason) > nearness(closest.Reason) {
			closest = r
		}
	}
	return "was unable to place a task because no container instance met all of its requirements. " +
		"The closest matching (container-instance " + lastPart(closest.InstanceARN) + ") " + lacks(closest.Reason) + "." + more
}

// shortcomings are what container instances lack, the worst first, and how ECS words it.
var shortcomings = []struct{ reason, words string }{
	{"INACTIVE", "is not in the ACTIVE state"},
	{"AGENT", `encountered error "AGENT"`},
	{"ATTRIBUTE", "is missing an attribute required by your task"},
	{"MemberOf placement constraint unsatisfied.", `encountered error "MemberOf placement constraint unsatisfied."`},
	{"DistinctInstance placement constraint unsatisfied.", `encountered error "DistinctInstance placement constraint unsatisfied."`},
	{"RESOURCE:PORTS", "is already using a port required by your task"},
	{"RESOURCE:GPU", "has insufficient GPU units available"},
	{"RESOURCE:CPU", "has insufficient CPU units available"},
	{"RESOURCE:MEMORY", "has insufficient memory available"},
}

func nearness(reason string) int {
	for n, s := range shortcomings {
		if s.reason == reason {
			return n
		}
	}
	return -1
}

func lacks(reason string) string {
	if n := nearness(reason); n >= 0 {
		return shortcomings[n].words
	}
	return fmt.Sprintf("encountered error %q", reason)
}

// unhealthyTarget says of a task's target that it failed its health checks, as ECS words it.
func unhealthyTarget(t state.Task, target state.Target) string {
	why := target.Health.Description
	if why == "" {
		why = string(target.Health.Reason)
	}
	who := "(task " + lastPart(t.ARN) + ")"
	if strings.HasPrefix(target.ID, "i-") || strings.HasPrefix(target.ID, "mi-") {
		who = "(instance " + target.ID + ")"
	}
	return fmt.Sprintf("%s (port %d) is unhealthy in (target-group %s) due to (reason %s).", who, target.Port, target.TargetGroupARN, why)
}
