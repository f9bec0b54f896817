package sim

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
)

// audit follows the log beside the cluster, and checks each commit when it is there.
type audit struct {
	w     *world
	store *state.Store
	seen  state.Revision

	instances map[string]state.Instance // by ARN, before the commit that is being looked at
	connected map[string]bool           // nodes, likewise
	byNode    map[string]bool           // tasks that are STOPPED by their node's word
	inactive  map[string]time.Time      // since when an instance is INACTIVE
	reaped    map[string]bool           // tasks that were forgotten when it was time
	tokens    map[string]made           // by client token: the commit that made its tasks
	changed   bool
	fleets    *fleets
}

// made is which commit, and when.
type made struct {
	revision state.Revision
	at       time.Time
}

func newAudit(w *world) *audit {
	store, err := state.Open(context.Background(), &w.log.Memory, state.Config{Synchronous: true, History: 1 << 20})
	if err != nil {
		w.fail("every record decodes", "%v", err)
	}
	return &audit{w: w, store: store, seen: store.Revision(), changed: true, instances: map[string]state.Instance{}, connected: map[string]bool{}, inactive: map[string]time.Time{},
		fleets: newFleets(), byNode: map[string]bool{}, reaped: map[string]bool{}, tokens: map[string]made{}}
}

// sync reads what is new, and checks it.
func (a *audit) sync() {
	actors := map[state.Revision]actor{}
	for entry, err := range a.w.log.Replay(context.Background(), a.seen) {
		if err != nil || entry.Kind != state.Committed {
			break
		}
		actors[entry.Revision] = a.w.log.actors[entry.ID]
	}
	if len(actors) == 0 {
		return
	}
	if err := a.store.Sync(context.Background()); err != nil {
		a.w.fail("every record decodes", "%v", err)
	}
	for _, c := range a.store.Since(a.seen) {
		a.w.stats.Commits++
		a.commit(c, actors[c.Revision])
		a.seen = c.Revision
	}
	a.seen = a.store.Revision()
	a.changed = true
}

func (a *audit) commit(c state.Commit, by actor) {
	for _, change := range c.Changes {
		a.oneWriterPerField(change, by)
		switch change.Table {
		case state.Tasks.Name():
			a.task(c.Revision, change, by)
		case state.Families.Name():
			a.revisionsGrow(change)
		case state.Targets.Name():
			a.target(c, change)
		}
	}
	a.follow(c, by)
	for _, change := range c.Changes {
		if i, ok := change.New.(state.Instance); ok {
			if i.Status == "INACTIVE" && a.instances[i.ARN].Status != "INACTIVE" {
				a.inactive[i.ARN] = a.w.now
			}
			a.instances[i.ARN] = i
		} else if i, ok := change.Old.(state.Instance); ok {
			if by == byControl && i.Status == "INACTIVE" {
				a.instanceForgottenInTime(i)
			}
			delete(a.instances, i.ARN)
			a.w.users.model.doubtInstance(i.ARN) // who may delete it is checked above
		} else if change.Table == state.Nodes.Name() {
			n, _ := change.New.(state.Node)
			a.connected[change.Key] = n.Connected
		}
	}
}

func (a *audit) task(revision state.Revision, change state.Change, by actor) {
	old, was := change.Old.(state.Task)
	t, is := change.New.(state.Task)
	switch {
	case !was:
		a.w.stats.Tasks++
		a.tokenMakesOneSet(revision, t)
		a.placedWhereItMay(t)
		a.w.say("state", "%d by %s: %s on %s is %s", revision, by, short(t.ARN), t.NodeID, t.Last)
	case !is:
		a.forgottenInTime(old)
	default:
		a.w.say("state", "%d by %s: %s is %s, desired %s", revision, by, short(t.ARN), t.Last, t.Desired)
		a.statusNeverGoesBack(old, t)
		a.statusHasOneOwner(old, t, by)
		a.reasonIsGivenOnce(old, t)
		if old.Last != lifecycle.Stopped && t.Last == lifecycle.Stopped {
			a.w.stats.Stopped++
			a.byNode[t.ARN] = by == byNode
			a.stoppedHoldsNothing(t)
			a.stopsForAReason(old, t, by)
		}
		if old.Last != lifecycle.Running && t.Last == lifecycle.Running {
			a.w.stats.Started++
		}
	}
}

// placedWhereItMay: a task is placed on a container instance that takes tasks at that moment.
func (a *audit) placedWhereItMay(t state.Task) {
	if status := a.instances[t.InstanceARN].Status; status != "ACTIVE" {
		a.w.fail("a task is placed where it may be", "%s is placed on %s, which is %q", short(t.ARN), lastPart(t.InstanceARN), status)
	}
}

// stopsForAReason: a task that nobody told to stop, of images that run until they are stopped, on a node
// that has lost nothing, runs on.
func (a *audit) stopsForAReason(old, t state.Task, by actor) {
	for _, n := range a.w.nodes {
		if n.id == t.NodeID {
			// Control speaks for a node that is not there. It may come back, with what others were given.
			n.disturbed = n.disturbed || by == byControl
			if n.disturbed || old.StopCode != "" {
				return
			}
		}
	}
	for _, c := range t.Containers {
		p, exists := programs[c.Image]
		switch {
		case strings.Contains(c.Reason, "has timed out"):
			return // what it waited for took too long
		case !exists, p.NoCommand, p.RunsFor > 0, strings.Contains(c.Reason, "injected"), strings.Contains(c.Reason, "OutOfMemory"):
			return
		case c.ExitCode != nil && *c.ExitCode == 1 && a.w.faults.Runtime.Exit > 0:
			return
		}
	}
	a.w.fail("a task that nobody stops runs on", "%s stopped with %s %q, %s", short(t.ARN), t.StopCode, t.StoppedReason, showContainers(t))
}

// tokenMakesOneSet: the same clientToken never makes two sets of tasks. It is kept for a day.
func (a *audit) tokenMakesOneSet(revision state.Revision, t state.Task) {
	if t.StartedBy == "" || t.ServiceARN != "" {
		return
	}
	first, known := a.tokens[t.StartedBy]
	if known && first.revision != revision && t.CreatedAt.Sub(first.at) < state.ClientTokenLife {
		a.w.fail("a token makes one set of tasks", "%s made tasks in commit %d, and %s in commit %d", t.StartedBy, first.revision, short(t.ARN), revision)
	}
	if !known {
		a.tokens[t.StartedBy] = made{revision, t.CreatedAt}
	}
}

// forgottenInTime: a task is forgotten an hour after it stopped, not before.
func (a *audit) forgottenInTime(t state.Task) {
	if t.Last != lifecycle.Stopped || a.w.now.Sub(t.StoppedAt) < time.Hour {
		a.w.fail("a task is described for an hour after it stopped", "%s was forgotten, being %s since %v", short(t.ARN), t.Last, t.StoppedAt.Sub(epoch))
	}
	a.reaped[t.ARN] = true
}

// instanceForgottenInTime: a container instance is described for an hour after it was deregistered, while
// its cluster is there.
func (a *audit) instanceForgottenInTime(i state.Instance) {
	var c state.Cluster
	a.store.View(func(r *state.Reader) { c, _ = state.Clusters.Get(r, i.ClusterARN) })
	if since := a.w.now.Sub(a.inactive[i.ARN]); since < time.Hour && c.Status == "ACTIVE" {
		a.w.fail("a container instance is described for an hour after it was deregistered", "%s was forgotten after %v", lastPart(i.ARN), since)
	}
}

// statusNeverGoesBack: Last and Desired of a task, and Last of its containers, only grow.
func (a *audit) statusNeverGoesBack(old, t state.Task) {
	back := t.Last.Before(old.Last) || t.Desired.Before(old.Desired) || len(t.Containers) != len(old.Containers)
	for i := 0; !back && i < len(t.Containers); i++ {
		back = t.Containers[i].Last.Before(old.Containers[i].Last)
	}
	if back {
		a.w.fail("a status never goes back", "%s: from %s, desired %s, %s, to %s, desired %s, %s", short(t.ARN),
			old.Last, old.Desired, showContainers(old), t.Last, t.Desired, showContainers(t))
	}
}

// statusHasOneOwner: who moves a status is in lifecycle's table of moves.
func (a *audit) statusHasOneOwner(old, t state.Task, by actor) {
	if old.Last == t.Last {
		return
	}
	owner := map[actor]lifecycle.Owner{byUser: lifecycle.API, byNode: lifecycle.Node, byControl: lifecycle.Control}[by]
	while := lifecycle.Heard
	if a.orphaned(old) && !a.connected[t.NodeID] {
		while = lifecycle.Lost
	}
	if !lifecycle.MayMove(owner, old.Last, t.Last, while) {
		a.w.fail("a status has one owner", "%s moved %s from %s to %s while contact was %s", by, short(t.ARN), old.Last, t.Last, while)
	}
}

// orphaned reports whether the container instance on which a task was placed has it no more.
func (a *audit) orphaned(t state.Task) bool { return !a.instances[t.InstanceARN].Has(t) }

// reasonIsGivenOnce: why a task stops is decided by the first who stops it.
func (a *audit) reasonIsGivenOnce(old, t state.Task) {
	if old.StopCode != "" && (t.StopCode != old.StopCode || t.StoppedReason != old.StoppedReason || !t.StoppingAt.Equal(old.StoppingAt)) {
		a.w.fail("a reason is given once", "%s stopped with %s %q, now with %s %q", short(t.ARN), old.StopCode, old.StoppedReason, t.StopCode, t.StoppedReason)
	}
}

// stoppedHoldsNothing: a STOPPED task has given its resources back, and so have its containers stopped.
func (a *audit) stoppedHoldsNothing(t state.Task) {
	if !reflect.DeepEqual(t.Reserved, state.Resources{}) {
		a.w.fail("a stopped task holds nothing", "%s holds %+v", short(t.ARN), t.Reserved)
	}
	if t.Desired != lifecycle.Stopped || t.StopCode == "" || t.StoppedAt.IsZero() {
		a.w.fail("a stopped task says why and when", "%s: desired %s, code %q, at %v", short(t.ARN), t.Desired, t.StopCode, t.StoppedAt)
	}
	for _, c := range t.Containers {
		if c.Last != lifecycle.Stopped {
			a.w.fail("a stopped task has only stopped containers", "%s: %s", short(t.ARN), showContainers(t))
		}
	}
}

// revisionsGrow: a revision's number is never used again.
func (a *audit) revisionsGrow(change state.Change) {
	old, _ := change.Old.(state.Family)
	f, ok := change.New.(state.Family)
	if !ok || f.LastRevision <= old.LastRevision {
		a.w.fail("revisions of a family grow", "%s: from %d to %d", change.Key, old.LastRevision, f.LastRevision)
	}
}

// writes says which fields of a record an actor may change; created and deleted stand for the record.
type writes map[actor][]string

const (
	created = "+"
	deleted = "-"
)

// toStop are fields that are written with Last = STOPPED by whoever writes that, if nobody has before.
var toStop = []string{"Desired", "StoppingAt", "StopCode", "StoppedReason", "Reserved"}

// writesOfRefusals: placement writes them anew in the transaction of whoever asks.
var writesOfRefusals = []string{created, deleted, "LastAt", "Times", "By", "StartedBy", "Asked", "Placed", "Reasons", "Detail"}

// writers is the table of owners, as state/record.go has it in words.
var writers = map[string]writes{
	state.Clusters.Name(): {
		byUser:    {created, "Status", "Settings", "Configuration", "CreatedAt", "DeletedAt", "Tags"},
		byControl: {deleted},
	},
	state.TaskDefinitions.Name(): {
		byUser:    {created, "Status", "Tags", "DeregisteredAt", "DeleteRequestedAt"},
		byControl: {deleted},
	},
	state.Families.Name(): {byUser: {created, "LastRevision"}},
	state.Tasks.Name(): {
		byUser: {created, "Tags", "ProtectedUntil", "Version", "Desired", "StoppingAt", "StopCode", "StoppedReason", "StoppedBy"},
		byNode: append([]string{"Last", "Containers", "ConnectedAt", "PullStartedAt", "PullStoppedAt", "StartedAt",
			"ExecutionStoppedAt", "StoppedAt", "Version"}, toStop...),
		byControl: append([]string{created, deleted, "Attached", "Counted", "HealthyAt", "Last", "Containers", "StoppedAt", "Version"},
			toStop...),
		byDispatch: {"Health", "Version"},
	},
	state.Nodes.Name(): {
		byRegister: {created, "Total", "Attributes", "EveryCluster", "RegisteredAt", "EC2InstanceID", "Remaining"},
		byUser:     {"Remaining", "Attributes"},
		byNode:     {"Remaining"},
		byControl:  {"Remaining"},
		byDispatch: {"Connected", "ConnectedAt", "AgentVersion", "AgentHash", "DockerVersion", "Address", "Timeline", "Condition"},
	},
	state.Instances.Name(): {
		byRegister: {created, deleted, "Status", "RegisteredAt", "DeregisteredAt", "Tags", "Automatic", "Version"},
		byUser:     {created, deleted, "Status", "Attributes", "Tags", "DeregisteredAt", "Version"},
		byControl:  {created, deleted},
	},
	state.Listeners.Name():     {byControl: {"DefaultActions"}}, // of a deployment that shifts traffic
	state.ListenerRules.Name(): {byControl: {"Actions"}},
	state.Stories.Name():       {byControl: {created, deleted}},
	state.Refusals.Name():      {byUser: writesOfRefusals, byControl: {deleted}},
	state.ClientTokens.Name():  {byUser: {created}, byControl: {deleted}},
	state.Services.Name(): {
		byUser: {created, "Status", "DeletedAt", "Desired", "Configuration", "HookDetails", "GracePeriod", "Rebalancing", "PlacementConstraints",
			"PlacementStrategy", "PropagateTags", "EnableManagedTags", "Tags", "DeploymentARN", "CreatedAt", "CreatedBy", "Scheduling", "RoleARN"},
		byControl: {deleted, "Status"},
	},
	state.ServiceRevisions.Name(): {byUser: {created, deleted}, byControl: {deleted, "Images", "Groups"}},
	state.ServiceDeployments.Name(): {
		byUser: {created, deleted, "Stop", "Answers"},
		byControl: {deleted, "Status", "StatusReason", "Stage", "StageSince", "StartedAt", "FinishedAt", "StoppedAt", "UpdatedAt",
			"Rollback", "BlueARN", "Failed", "FailedInARow", "StartAfter", "ProductionTraffic", "TestTraffic", "Hooks", "Steady",
			"Moving", "Waiting", "Steps"},
	},
	state.TargetGroups.Name(): {byUser: {created}},
	state.Listeners.Name():    {byUser: {created}},
	state.Targets.Name(): {
		byControl: {created, deleted, "DrainingSince", "TaskARN", "RegisteredAt", "Zone", "Health", "Drained"}, // also in the place of one that is gone
		byBalance: {"Health", "Drained"},
	},
	state.ServiceEvents.Name(): {byUser: {deleted}, byControl: {created, deleted, "Events"}},
}

// oneWriterPerField: each field of a record is written by its owner and by nobody else.
func (a *audit) oneWriterPerField(change state.Change, by actor) {
	may := writers[change.Table][by]
	for _, field := range changedFields(change) {
		if !slices.Contains(may, field) {
			a.w.fail("a field has one writer", "%s wrote %s of %s %s", by, field, change.Table, change.Key)
		}
	}
	if t, ok := change.New.(state.Task); ok && change.Old != nil && by != byUser && t.Last != lifecycle.Stopped {
		// It is told to stop: because nobody else can say so, or because its service needs it no more.
		orphan := by == byControl && (a.orphaned(change.Old.(state.Task)) || t.StopCode == types.TaskStopCodeServiceSchedulerInitiated)
		for _, field := range changedFields(change) {
			if slices.Contains(toStop, field) && !(orphan && field != "Reserved") {
				a.w.fail("a field has one writer", "%s wrote %s of %s, which is not STOPPED", by, field, short(t.ARN))
			}
		}
	}
}

func changedFields(change state.Change) []string {
	switch {
	case change.Old == nil:
		return []string{created}
	case change.New == nil:
		return []string{deleted}
	}
	old, new := reflect.ValueOf(change.Old), reflect.ValueOf(change.New)
	var fields []string
	for i := range old.NumField() {
		if !reflect.DeepEqual(old.Field(i).Interface(), new.Field(i).Interface()) {
			fields = append(fields, old.Type().Field(i).Name)
		}
	}
	return fields
}
