package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// TestDeploy runs the transcripts of services: all controllers together on one state, and nodes that do what they are
// told when the transcript says so. After each command the controllers settle, and what is new is shown. Commands:
//
//	node ID [cpu=N] [zone=Z] [drain] [away]               of the cluster c
//	definition NAME [cpu=N] [check] [version-consistency=disabled]
//	service NAME definition=D desired=N [min=P] [max=P] [breaker] [rollback] [daemon] [rebalance] [grace=S] [balanced]
//	        [managed-tags] [propagate]
//	update NAME [definition=D] [desired=N] [min=P] [max=P] [stop=ROLLBACK|ABORT]        a new deployment, if it says definition
//	delete NAME
//	obey [TASK...]                                        all nodes, or these tasks: RUNNING, or STOPPED if told to stop
//	exit TASK...                                          a second later, an essential container exits, and the task with it
//	health TASK... status=S                               of its containers
//	target TASK... state=S
//	stop TASK                                             a user does
//	pass D
//	tasks
func TestDeploy(t *testing.T) {
	datadriven.Walk(t, "testdata/deploy", func(t *testing.T, path string) {
		w := &services{world: newWorld(t, All()...), shownEvents: map[string]string{}}
		w.update(func(tx *state.Tx) {
			state.Clusters.Put(tx, state.Cluster{ARN: arn("cluster", "c"), Name: "c", Status: "ACTIVE", CreatedAt: epoch})
		})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			w.do(t, d)
			if d.Cmd == "tasks" {
				return w.tasks()
			}
			w.pass(0)
			return cmp.Or(w.news(), "nothing\n")
		})
	})
}

// TestManyAreStartedAtOnce: and stopped, in as many transactions as it takes, none of which is too large.
func TestManyAreStartedAtOnce(t *testing.T) {
	w := &services{world: newWorld(t, All()...)}
	definition := state.TaskDefinition{ARN: arn("task-definition", "web:1"), Spec: types.TaskDefinition{
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("web"), Image: aws.String("web"), Memory: aws.Int32(8)}}}}
	w.update(func(tx *state.Tx) {
		state.Clusters.Put(tx, state.Cluster{ARN: arn("cluster", "c"), Name: "c", Status: "ACTIVE", CreatedAt: epoch})
		w.node(tx, "n", 1, "", false, false)
		state.TaskDefinitions.Put(tx, definition)
		w.deploy(tx, state.Service{ARN: arn("service", "c/web"), Name: "web", ClusterARN: arn("cluster", "c"), Status: "ACTIVE",
			Scheduling: types.SchedulingStrategyReplica, Controller: types.DeploymentControllerTypeEcs, Desired: 1000}, "web:1", false)
	})
	w.pass(0)
	w.store.View(func(r *state.Reader) {
		if n := state.Tasks.CountBy(r, "unstopped of service", arn("service", "c/web")); n != 1000 {
			t.Errorf("%d tasks of 1000", n)
		}
	})
	w.update(func(tx *state.Tx) {
		s, _ := state.Services.Get(tx, arn("service", "c/web"))
		s.Desired = 10
		state.Services.Put(tx, s)
	})
	w.pass(0)
	w.store.View(func(r *state.Reader) {
		wanted := 0
		for task := range state.Tasks.By(r, "unstopped of service", arn("service", "c/web")) {
			if task.Desired != lifecycle.Stopped {
				wanted++
			}
		}
		if wanted != 10 {
			t.Errorf("%d tasks of 10", wanted)
		}
	})
	for _, c := range w.store.Since(w.shown) {
		if len(c.Changes) > 2*maxStarts {
			t.Errorf("a commit of %d records", len(c.Changes))
		}
	}
}

type services struct {
	*world
	number      int
	shownTasks  []string
	shownState  map[string]string
	shownEvents map[string]string // by service: the ID of the latest
}

// news is what has become of services and tasks since the last time.
func (w *services) news() string {
	var b strings.Builder
	now := map[string]string{}
	w.store.View(func(r *state.Reader) {
		for t := range state.Tasks.All(r) {
			now["task "+lastPart(t.ARN)] = w.line(r, t)
		}
		for s := range state.Services.All(r) {
			now["service "+s.Name] = s.Status
		}
		for d := range state.ServiceDeployments.All(r) {
			line := string(d.Status)
			if d.Failed+d.Rollback.Failed > 0 {
				line += fmt.Sprintf(", failed %d", d.Failed+d.Rollback.Failed)
			}
			if d.Waiting {
				line += ", waiting"
			}
			if d.StatusReason != "" {
				line += ": " + d.StatusReason
			}
			now["deployment "+lastPart(d.ARN)] = line
		}
		for v := range state.ServiceRevisions.All(r) {
			for _, i := range v.Images {
				now["revision "+lastPart(v.ARN)] += *i.Image + " is " + *i.ImageDigest
			}
		}
		var keys []string
		for key := range now {
			if now[key] != w.shownState[key] {
				keys = append(keys, key)
			}
		}
		for key := range w.shownState {
			if _, ok := now[key]; !ok {
				now[key] = "forgotten"
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys {
			fmt.Fprintf(&b, "%s %s\n", key, now[key])
			if now[key] == "forgotten" {
				delete(now, key)
			}
		}
		for h := range state.ServiceEvents.All(r) {
			var fresh []string
			for _, e := range h.Events {
				if e.ID == w.shownEvents[h.ServiceARN] {
					break
				}
				fresh = append(fresh, e.Message)
			}
			w.shownEvents[h.ServiceARN] = h.Events[0].ID
			for _, message := range slices.Backward(fresh) {
				fmt.Fprintln(&b, message)
			}
		}
	})
	w.shownState = now
	return b.String()
}

func (w *services) line(r *state.Reader, t state.Task) string {
	v, _ := state.ServiceRevisions.Get(r, t.RevisionARN)
	i, _ := state.Instances.Get(r, t.InstanceARN)
	s := fmt.Sprintf("of %s on %s is %s", v.DeploymentID, i.NodeID, t.Last)
	if t.Desired == lifecycle.Stopped {
		s += fmt.Sprintf(", told to stop: %s %q", t.StopCode, t.StoppedReason)
	}
	return s
}

func (w *services) tasks() string {
	var b strings.Builder
	w.store.View(func(r *state.Reader) {
		for t := range state.Tasks.All(r) {
			fmt.Fprintf(&b, "%s %s", lastPart(t.ARN), w.line(r, t))
			for _, tag := range t.Tags {
				fmt.Fprintf(&b, " %s=%s", *tag.Key, *tag.Value)
			}
			fmt.Fprintf(&b, " group %s startedBy %s\n", t.Group, t.StartedBy)
		}
	})
	return b.String()
}

func (w *services) do(t *testing.T, d *datadriven.TestData) {
	text := func(key, otherwise string) string {
		if arg, ok := d.Arg(key); ok {
			return arg.Vals[0]
		}
		return otherwise
	}
	number := func(key string, otherwise int32) int32 {
		n := otherwise
		if arg, ok := d.Arg(key); ok {
			if _, err := fmt.Sscan(arg.Vals[0], &n); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	name := ""
	if len(d.CmdArgs) > 0 {
		name = d.CmdArgs[0].Key
	}
	service := arn("service", "c/"+name)
	switch d.Cmd {
	case "node":
		w.update(func(tx *state.Tx) {
			w.node(tx, name, int64(number("cpu", 1000)), text("zone", ""), d.HasArg("drain"), d.HasArg("away"))
		})
	case "definition":
		spec := types.TaskDefinition{Compatibilities: []types.Compatibility{types.CompatibilityEc2}, ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("web"), Image: aws.String("web"), Cpu: number("cpu", 100), VersionConsistency: types.VersionConsistency(text("version-consistency", ""))}}}
		if d.HasArg("check") {
			spec.ContainerDefinitions[0].HealthCheck = &types.HealthCheck{Command: []string{"true"}}
		}
		w.update(func(tx *state.Tx) {
			state.TaskDefinitions.Put(tx, state.TaskDefinition{ARN: arn("task-definition", name), Family: name, Spec: spec, Status: types.TaskDefinitionStatusActive,
				Tags: []types.Tag{{Key: aws.String("of"), Value: aws.String("definition")}}})
		})
	case "service":
		w.update(func(tx *state.Tx) {
			s := state.Service{ARN: service, Name: name, ClusterARN: arn("cluster", "c"), Status: "ACTIVE", CreatedAt: w.now,
				Scheduling: types.SchedulingStrategyReplica, Controller: types.DeploymentControllerTypeEcs, EnableManagedTags: d.HasArg("managed-tags")}
			if d.HasArg("daemon") {
				s.Scheduling = types.SchedulingStrategyDaemon
			}
			if d.HasArg("rebalance") {
				s.Rebalancing = types.AvailabilityZoneRebalancingEnabled
			}
			if d.HasArg("propagate") {
				s.PropagateTags = types.PropagateTagsTaskDefinition
			}
			s.GracePeriod = aws.Int32(number("grace", 0))
			s.Configuration = types.DeploymentConfiguration{Strategy: types.DeploymentStrategyRolling,
				DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: d.HasArg("breaker"), Rollback: d.HasArg("rollback")}}
			w.configure(d, &s, number)
			w.deploy(tx, s, text("definition", ""), d.HasArg("balanced"))
		})
	case "update":
		w.update(func(tx *state.Tx) {
			s, _ := state.Services.Get(tx, service)
			w.configure(d, &s, number)
			if deployment, ok := state.ServiceDeployments.Get(tx, s.DeploymentARN); ok && d.HasArg("stop") {
				deployment.Stop = state.StopAsked{Type: types.StopServiceDeploymentStopType(text("stop", "")), At: w.now}
				state.ServiceDeployments.Put(tx, deployment)
			}
			if d.HasArg("definition") {
				w.deploy(tx, s, text("definition", ""), d.HasArg("balanced"))
			} else {
				state.Services.Put(tx, s)
			}
		})
	case "delete":
		w.update(func(tx *state.Tx) {
			s, _ := state.Services.Get(tx, service)
			s.Status, s.DeletedAt = "DRAINING", w.now
			state.Services.Put(tx, s)
		})
	case "obey":
		w.each(d, func(tx *state.Tx, task state.Task) { obey(tx, task, w.now) })
	case "exit":
		w.pass(time.Second)
		w.each(d, func(tx *state.Tx, task state.Task) {
			task.StopCode, task.StoppedReason = types.TaskStopCodeEssentialContainerExited, "Essential container in task exited"
			if task.Last == lifecycle.Pending {
				task.StopCode, task.StoppedReason = types.TaskStopCodeTaskFailedToStart, "Task failed to start"
			}
			end(tx, task, w.now)
		})
	case "health":
		w.each(d, func(tx *state.Tx, task state.Task) {
			task.Health = []state.ContainerHealth{{Name: "web", Status: types.HealthStatus(text("status", ""))}}
			state.Tasks.Put(tx, task)
		})
	case "target":
		w.each(d, func(tx *state.Tx, task state.Task) {
			state.Targets.Put(tx, state.Target{TargetGroupARN: "tg", ID: "10.0.0.1", Port: 80, TaskARN: task.ARN,
				Health: state.TargetHealth{State: elb.TargetHealthStateEnum(text("state", "")), Description: "Health checks failed"}})
		})
	case "stop":
		w.each(d, func(tx *state.Tx, task state.Task) {
			task.Desired, task.StopCode, task.StoppedReason = lifecycle.Stopped, types.TaskStopCodeUserInitiated, "Task stopped by user"
			state.Tasks.Put(tx, task)
		})
	case "pass":
		after, err := time.ParseDuration(name)
		if err != nil {
			t.Fatal(err)
		}
		w.pass(after)
	case "tasks":
	default:
		t.Fatal("unknown command ", d.Cmd)
	}
}

func (w *services) configure(d *datadriven.TestData, s *state.Service, number func(string, int32) int32) {
	s.Desired = number("desired", s.Desired)
	if d.HasArg("min") {
		s.Configuration.MinimumHealthyPercent = aws.Int32(number("min", 0))
	}
	if d.HasArg("max") {
		s.Configuration.MaximumPercent = aws.Int32(number("max", 0))
	}
}

// deploy writes what api/ecs writes.
func (w *services) deploy(tx *state.Tx, s state.Service, definition string, balanced bool) {
	w.number++
	id := fmt.Sprint(w.number)
	before, _ := state.ServiceDeployments.Get(tx, s.DeploymentARN)
	r := state.ServiceRevision{ARN: arn("service-revision", "c/"+s.Name+"/"+id), ServiceARN: s.ARN, ClusterARN: s.ClusterARN,
		DeploymentID: "ecs-svc/" + id, DefinitionARN: arn("task-definition", definition), CreatedAt: w.now}
	if balanced {
		r.LoadBalancers = []types.LoadBalancer{{TargetGroupArn: aws.String("tg")}}
	}
	d := state.ServiceDeployment{ARN: arn("service-deployment", "c/"+s.Name+"/"+id), ServiceARN: s.ARN, ClusterARN: s.ClusterARN,
		RevisionARN: r.ARN, Status: types.ServiceDeploymentStatusPending, CreatedAt: w.now, Configuration: s.Configuration, StableARN: before.StableARN}
	switch before.Status {
	case types.ServiceDeploymentStatusSuccessful, types.ServiceDeploymentStatusRollbackSuccessful:
		d.StableARN = before.Heading()
	}
	s.DeploymentARN = d.ARN
	state.Services.Put(tx, s)
	state.ServiceRevisions.Put(tx, r)
	state.ServiceDeployments.Put(tx, d)
}

func (w *services) node(tx *state.Tx, name string, cpu int64, zone string, drain, away bool) {
	n, known := state.Nodes.Get(tx, name)
	if !known {
		size := state.Resources{CPU: cpu, Memory: 1 << 20}
		n = state.Node{ID: name, Total: size, Remaining: size}
		if zone != "" {
			n.Attributes = []types.Attribute{{Name: aws.String(placement.Zone), Value: aws.String(zone)}}
		}
	}
	n.Connected = !away
	state.Nodes.Put(tx, n)
	i := state.Instance{ARN: arn("container-instance", "c/"+name), ClusterARN: arn("cluster", "c"), NodeID: name, Status: "ACTIVE", RegisteredAt: epoch}
	if drain {
		i.Status = "DRAINING"
	}
	state.Instances.Put(tx, i)
}

// each does something with the tasks that a command names, or all that have not stopped.
func (w *services) each(d *datadriven.TestData, f func(*state.Tx, state.Task)) {
	w.update(func(tx *state.Tx) {
		for task := range state.Tasks.All(tx) {
			named := slices.ContainsFunc(d.CmdArgs, func(a datadriven.CmdArg) bool { return a.Key == lastPart(task.ARN) })
			if named || task.Last != lifecycle.Stopped && !slices.ContainsFunc(d.CmdArgs, func(a datadriven.CmdArg) bool { return len(a.Vals) == 0 }) {
				f(tx, task)
			}
		}
	})
}

// obey is a node that has done what it was told.
func obey(tx *state.Tx, t state.Task, now time.Time) {
	switch {
	case t.Desired == lifecycle.Stopped:
		end(tx, t, now)
	case t.Last != lifecycle.Running:
		t.Last, t.StartedAt = lifecycle.Running, now
		t.Containers = slices.Clone(t.Containers)
		for n := range t.Containers {
			t.Containers[n].Last, t.Containers[n].ImageDigest = lifecycle.Running, "sha256:1"
		}
		state.Tasks.Put(tx, t)
	}
}

func end(tx *state.Tx, t state.Task, now time.Time) {
	t.Desired, t.Last, t.StoppedAt = lifecycle.Stopped, lifecycle.Stopped, now
	state.Tasks.Put(tx, placement.Release(tx, t))
}
