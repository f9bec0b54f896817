package control

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/rollout"
	"havn/state"
)

// gathered is what is known of a service, as rollout sees it and as it is written.
type gathered struct {
	service    state.Service
	deployment state.ServiceDeployment
	revisions  map[string]state.ServiceRevision // by ARN
	tasks      map[string]state.Task            // by ARN
	sets       map[string]state.TaskSet         // by ID
	view       rollout.View

	src         state.Source
	now         time.Time
	steadyAfter time.Duration
	checked     map[string][]string // by task definition: its essential containers that have a health check
	essential   map[string][]string // by task definition
	nodes       map[string]node     // by container instance
	sites       map[string]bool     // container instances that a DAEMON service's tasks may run on; nil = all
}

type node struct {
	instance  state.Instance
	zone      string
	connected bool
}

// gather looks at all that matters for a service. It guards the service and its deployment only: each transaction that
// starts or stops tasks writes the deployment, so that no two do so on the same view.
func gather(tx *state.Tx, s state.Service, d state.ServiceDeployment, steadyAfter time.Duration, now time.Time) *gathered {
	g := &gathered{service: s, deployment: d, revisions: map[string]state.ServiceRevision{}, tasks: map[string]state.Task{},
		src: tx, now: now, steadyAfter: steadyAfter,
		checked: map[string][]string{}, essential: map[string][]string{}, nodes: map[string]node{}}
	g.view.Names = map[string]string{}
	g.view.Service = rollout.Service{
		Active:    s.Status == "ACTIVE",
		Daemon:    s.Scheduling == types.SchedulingStrategyDaemon,
		Desired:   int(s.Desired),
		Rebalance: s.Rebalancing == types.AvailabilityZoneRebalancingEnabled,
		External:  s.Controller == types.DeploymentControllerTypeExternal,
	}
	for _, arn := range []string{d.RevisionARN, d.StableARN, d.BlueARN, d.Heading()} {
		g.revision(arn)
	}
	g.lookAtSites(tx)
	if external(s) {
		g.lookAtSets(tx)
	}
	for t := range state.Tasks.By(tx, "open of service", s.ARN) {
		g.tasks[t.ARN] = t
		if one, matters := g.task(t); matters {
			g.view.Tasks = append(g.view.Tasks, one)
		}
	}
	g.view.Deployment = deploymentOf(d, g.settings())
	return g
}

// revision reads a revision once.
func (g *gathered) revision(arn string) state.ServiceRevision {
	r, known := g.revisions[arn]
	if !known && arn != "" {
		r, _ = state.ServiceRevisions.Peek(g.src, arn)
		g.revisions[arn], g.view.Names[arn] = r, r.DeploymentID
	}
	return r
}

// lookAtSites finds out where tasks can run, for services to which that matters.
func (g *gathered) lookAtSites(tx *state.Tx) {
	resting := !isOpen(g.deployment) // zones are balanced at rest
	if s := g.view.Service; !s.Active || !s.Daemon && !(s.Rebalance && resting) {
		return
	}
	ask, err := g.ask(tx, g.revision(g.deployment.Heading()))
	if err != nil {
		return
	}
	if g.view.Service.Daemon {
		g.sites = map[string]bool{}
	}
	for _, s := range placement.Sites(tx, g.service.ClusterARN, ask) {
		if g.view.Service.Daemon {
			g.sites[s.Instance.ARN] = true
		}
		g.view.Nodes = append(g.view.Nodes, rollout.Node{ID: s.Instance.ARN, Zone: s.Zone, Down: s.Down, Full: s.Full})
	}
}

func (g *gathered) node(instanceARN string) node {
	n, known := g.nodes[instanceARN]
	if !known {
		i, _ := state.Instances.Peek(g.src, instanceARN)
		record, _ := state.Nodes.Peek(g.src, i.NodeID)
		n = node{i, placement.ZoneOf(i, record), record.Connected}
		g.nodes[instanceARN] = n
	}
	return n
}

// task is a copy of the service as rollout sees it; false if it matters no more.
func (g *gathered) task(t state.Task) (rollout.Task, bool) {
	g.revision(t.RevisionARN)
	n := g.node(t.InstanceARN)
	one := rollout.Task{
		ID: t.ARN, Revision: t.RevisionARN, Node: t.InstanceARN, Zone: n.zone,
		CreatedAt: t.CreatedAt, HealthyAt: t.HealthyAt, Protected: t.Protected(g.now),
		Drained: n.instance.Status == "DRAINING" || g.sites != nil && !g.sites[t.InstanceARN] && n.instance.Status == "ACTIVE",
	}
	if one.Protected {
		one.Again = t.ProtectedUntil
	}
	ended := g.ended(t)
	one.Failed = !t.Counted && ended && byItself(t)
	switch {
	case t.Last == lifecycle.Stopped:
		one.Phase = rollout.Stopped
		return one, !t.Counted
	case t.Desired == lifecycle.Stopped || ended:
		one.Phase = rollout.Stopping
		return one, n.connected || one.Failed // what a node that is away still runs keeps nobody waiting
	case t.Last == lifecycle.Running:
		g.health(t, &one)
	}
	return one, true
}

// byItself reports whether neither a user, nor its service, nor its container instance's end has stopped a task.
func byItself(t state.Task) bool {
	switch t.StopCode {
	case "", types.TaskStopCodeEssentialContainerExited, types.TaskStopCodeTaskFailedToStart:
		return true
	}
	return false
}

// ended reports whether a task is at its end, or sure to come to it: an essential container has stopped.
func (g *gathered) ended(t state.Task) bool {
	if t.Last == lifecycle.Stopped {
		return true
	}
	essential := g.definition(t.DefinitionARN)
	for _, c := range t.Containers {
		if c.Last == lifecycle.Stopped && contains(essential, c.Name) {
			return true
		}
	}
	return false
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// definition reads what of a task definition says when its tasks are healthy: once.
func (g *gathered) definition(arn string) (essential []string) {
	if known, ok := g.essential[arn]; ok {
		return known
	}
	d, _ := state.TaskDefinitions.Peek(g.src, arn)
	for _, c := range d.Spec.ContainerDefinitions {
		if c.Essential != nil && !*c.Essential {
			continue
		}
		essential = append(essential, aws.ToString(c.Name))
		if c.HealthCheck != nil {
			g.checked[arn] = append(g.checked[arn], aws.ToString(c.Name))
		}
	}
	g.essential[arn] = essential
	return essential
}

// health is how a RUNNING task does. API Reference, "DeploymentConfiguration", minimumHealthyPercent: its essential
// containers' health checks and its targets must all be passed; if there are none, it must have run for a while.
func (g *gathered) health(t state.Task, one *rollout.Task) {
	one.Phase = rollout.Running
	g.definition(t.DefinitionARN)
	checked := g.checked[t.DefinitionARN]
	balanced := len(g.revision(t.RevisionARN).LoadBalancers)
	if len(checked) == 0 && balanced == 0 {
		if steady := t.StartedAt.Add(g.steadyAfter); g.now.Before(steady) {
			one.Again = sooner(one.Again, steady)
		} else {
			one.Phase = rollout.Healthy
		}
		return
	}
	containers, why := containerHealth(t, checked)
	if containers == types.HealthStatusUnhealthy {
		one.Why, one.Reason = why, "Task failed container health checks"
	}
	healthy := containers == types.HealthStatusHealthy
	if balanced > 0 {
		targets := 0
		for target := range state.Targets.By(g.src, "task", t.ARN) {
			switch target.Health.State {
			case elb.TargetHealthStateEnumHealthy, elb.TargetHealthStateEnumUnused, elb.TargetHealthStateEnumUnavailable:
				targets++
			case elb.TargetHealthStateEnumUnhealthy:
				if one.Why == "" {
					one.Why = unhealthyTarget(t, target)
					one.Reason = "Task failed ELB health checks in (target-group " + target.TargetGroupARN + ")"
				}
			}
		}
		healthy = healthy && targets >= balanced
	}
	grace := t.StartedAt.Add(time.Duration(aws.ToInt32(g.service.GracePeriod)) * time.Second)
	switch {
	case one.Why != "" && g.now.Before(grace):
		one.Again = sooner(one.Again, grace)
	case one.Why != "":
		one.Phase = rollout.Unhealthy
	case healthy:
		one.Phase = rollout.Healthy
	}
}

// containerHealth is the health of all essential containers that have a health check; HEALTHY if none has.
func containerHealth(t state.Task, checked []string) (types.HealthStatus, string) {
	healthy := 0
	for _, h := range t.Health {
		switch {
		case !contains(checked, h.Name):
		case h.Status == types.HealthStatusUnhealthy:
			return h.Status, "(task " + lastPart(t.ARN) + ") failed container health checks."
		case h.Status == types.HealthStatusHealthy:
			healthy++
		}
	}
	if healthy == len(checked) {
		return types.HealthStatusHealthy, ""
	}
	return types.HealthStatusUnknown, ""
}

// settings are the deployment's, with ECS's defaults. API Reference, "DeploymentConfiguration". What says how far it may
// go is the service's as it is now: who has asked for what cannot be can ask for less while it is under way.
func (g *gathered) settings() rollout.Settings {
	c := g.deployment.Configuration
	now := g.service.Configuration
	c.MinimumHealthyPercent, c.MaximumPercent, c.DeploymentCircuitBreaker = now.MinimumHealthyPercent, now.MaximumPercent, now.DeploymentCircuitBreaker
	daemon := g.view.Service.Daemon
	s := rollout.Settings{Strategy: rollout.Strategy(c.Strategy), Minimum: 100, Maximum: 200}
	want := int(g.service.Desired)
	if daemon {
		s.Minimum, s.Maximum = 0, 100
		want = len(g.view.Nodes)
	}
	if c.MinimumHealthyPercent != nil {
		s.Minimum = int(*c.MinimumHealthyPercent)
	}
	if c.MaximumPercent != nil {
		s.Maximum = int(*c.MaximumPercent)
	}
	if b := c.DeploymentCircuitBreaker; b != nil && b.Enable {
		s.Breaker = state.BreakerThreshold(b.ThresholdConfiguration, want)
		s.RollBack = b.Rollback
		s.ResetOnHealthy = b.ResetOnHealthyTask == nil || *b.ResetOnHealthyTask
	}
	if c.BakeTimeInMinutes != nil {
		s.Bake = time.Duration(*c.BakeTimeInMinutes) * time.Minute
	}
	if shifts(c) {
		g.shiftSettings(&s)
	}
	if e := c.EarlySuccessCriteria; e != nil && e.Enable {
		s.Early = rollout.EarlySuccess{On: true, Percent: int(aws.ToInt32(e.HealthyPercent)),
			LeavesOlder: e.SourceServiceRevisionCleanup == types.ServiceRevisionCleanupDeferred}
	}
	return s
}

// deploymentOf is a deployment as rollout sees it.
func deploymentOf(d state.ServiceDeployment, s rollout.Settings) rollout.Deployment {
	return rollout.Deployment{
		Settings: s, Heading: d.Heading(), Target: d.RevisionARN, Stable: d.StableARN,
		Status: string(d.Status), Reason: d.StatusReason, Steady: d.Steady, Moving: d.Moving, StopAsked: string(d.Stop.Type),
		Stage: string(d.Stage), StageSince: d.StageSince,
		CreatedAt: d.CreatedAt, StartedAt: d.StartedAt, FinishedAt: d.FinishedAt,
		Failed: int(d.Failed), FailedInARow: int(d.FailedInARow), StartAfter: d.StartAfter,
		RollbackAt: d.Rollback.StartedAt, RollbackReason: d.Rollback.Reason, RollbackFailed: int(d.Rollback.Failed),
		Blue: d.BlueARN, Production: d.ProductionTraffic, Test: d.TestTraffic, Hooks: hooksOf(d),
		BesideFailed: int(d.BesideFailed), BesideAfter: d.BesideAfter,
	}
}

// after is the deployment as a plan wants it.
func after(d state.ServiceDeployment, p rollout.Deployment) state.ServiceDeployment {
	d.Status, d.StatusReason = types.ServiceDeploymentStatus(p.Status), p.Reason
	d.Steady, d.Moving = p.Steady, p.Moving
	d.Stage, d.StageSince = types.ServiceDeploymentLifecycleStage(p.Stage), p.StageSince
	d.StartedAt, d.FinishedAt = p.StartedAt, p.FinishedAt
	if p.Status == rollout.Halted && d.StoppedAt.IsZero() {
		d.StoppedAt = p.FinishedAt
	}
	d.Failed, d.FailedInARow, d.StartAfter = int32(p.Failed), int32(p.FailedInARow), p.StartAfter
	d.ProductionTraffic, d.TestTraffic = p.Production, p.Test
	d.BesideFailed, d.BesideAfter = int32(p.BesideFailed), p.BesideAfter
	if p.RollbackReason != "" {
		d.Rollback = state.Rollback{RevisionARN: p.Heading, Reason: p.RollbackReason, StartedAt: p.RollbackAt, Failed: int32(p.RollbackFailed)}
	}
	return d
}

// sooner is the earlier of two times; zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
