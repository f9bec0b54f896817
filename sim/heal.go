package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/control"
	"havn/lifecycle"
	"havn/state"
)

// How long what is demanded may take once nothing goes wrong any more.
const (
	// settleWithin is longer than the slowest pull that is under way, the jump of a clock and the longest
	// wait between two attempts together.
	settleWithin = 25 * time.Minute
	startWithin  = time.Minute
	stopWithin   = 3 * time.Minute
	// forgetWithin is longer than the hour for which a stopped task is described.
	forgetWithin = 75 * time.Minute
)

// heal ends all faults, and demands progress.
func (w *world) heal() {
	w.say("world", "all is healed")
	w.healed = true
	w.log.SetFaults(state.Faults{})
	for _, n := range w.nodes {
		n.cutOff = false
		n.runtime.faults = RuntimeFaults{}
	}
	w.demand("everybody is back", settleWithin, w.everybodyIsBack)
	w.users.servants.heal()
	w.demand("every task is where it should be", settleWithin, w.everyTaskIsThere)
	w.demand("nothing is under way", stopWithin, w.nothingUnderWay)
	w.queuesAreEmpty()
	w.demand("what is described is what runs", settleWithin, w.describedIsWhatRuns)
	w.demand("the health that is described is what the node knows", settleWithin, w.healthIsKnown)

	for _, arn := range w.users.tasks(w.server, func(t state.Task) bool { return t.Desired != lifecycle.Stopped }) {
		w.users.stop(w.server, "user", arn)
	}
	w.demand("every task that was told to stop is STOPPED", stopWithin, func() string { return w.firstTask(notStopped) })
	w.run(time.Minute, nil) // who was deregistered is told at the next heartbeat at the latest
	w.demand("everybody is back", settleWithin, w.everybodyIsBack)
	w.probe()
	w.run(forgetWithin, nil)
	w.demand("every node forgets", 4*time.Hour, w.everyNodeForgets)
	w.nothingIsLeft()
	w.queuesAreEmpty()
}

// demand waits until there is nothing to complain about.
func (w *world) demand(promise string, within time.Duration, complaint func() string) {
	if !w.run(within, func() bool { return complaint() == "" }) {
		if what := complaint(); what != "" {
			w.fail(promise, "after %v: %s", within, what)
		}
	}
}

// everybodyIsBack: the server runs, and every node is connected. A node that stays away because it was
// deregistered is restarted, and a cluster that it wants is made.
func (w *world) everybodyIsBack() string {
	if w.server == nil {
		return "there is no server"
	}
	for _, name := range clusterNames {
		if !w.users.model.clusters[name] {
			w.users.createCluster(w.server, "user", name)
		}
	}
	what := ""
	w.view(func(r *state.Reader) {
		for _, n := range w.nodes {
			switch s, _ := state.Nodes.Get(r, n.id); {
			case n.agent == nil:
				what = n.id + " has no agent"
			case n.agent.away:
				n.crash("is restarted by its owner")
				what = n.id + " was deregistered"
			case n.agent.link == nil || !n.agent.link.here || !s.Connected:
				what = n.id + " is not connected"
			}
		}
	})
	return what
}

// everyTaskIsThere: no task is on its way. What should run is RUNNING, and what should stop is STOPPED.
func (w *world) everyTaskIsThere() string {
	return w.firstTask(func(t state.Task) bool {
		return t.Last != lifecycle.Running && t.Last != lifecycle.Stopped || notStopped(t) && t.Desired == lifecycle.Stopped
	})
}

func notStopped(t state.Task) bool { return t.Last != lifecycle.Stopped }

func (w *world) firstTask(that func(state.Task) bool) (what string) {
	w.view(func(r *state.Reader) {
		for t := range state.Tasks.All(r) {
			if that(t) {
				what = short(t.ARN) + " on " + t.NodeID + " is " + string(t.Last) + ", desired " + string(t.Desired)
				return
			}
		}
	})
	return what
}

// nothingUnderWay: the only effects under way are waits for containers that run, and nobody has anything
// to report.
func (w *world) nothingUnderWay() string {
	for _, n := range w.nodes {
		for _, o := range n.runtime.ops {
			if o.effect.Verb != lifecycle.Wait && o.effect.Verb != lifecycle.Probe || !slices.Contains(n.runtime.Running(o.task.ARN), o.effect.Container) {
				return n.id + " still does " + showEffect(o.effect) + " of " + short(o.task.ARN)
			}
		}
		for _, arn := range n.agent.core.ARNs() {
			r, _ := n.agent.core.Task(arn)
			if _, news := r.Life.Tell(r.Known); news {
				return n.id + " has something to report of " + short(arn)
			}
		}
		if len(n.agent.reporting) > 0 {
			return n.id + " is reporting " + short(n.agent.reporting[0].change.Task)
		}
	}
	return ""
}

// queuesAreEmpty: the controllers have nothing to do now, and would not have if they were asked about
// everything.
func (w *world) queuesAreEmpty() {
	w.audit.sync()
	before := w.audit.store.Revision()
	s := w.server
	fresh := control.NewLoop(control.Config{Store: s.store, Controllers: control.All(), Log: quiet})
	w.log.actor = byControl
	for steps := 0; fresh.Step(s.context(), w.now); steps++ {
		if steps > 10_000 {
			w.fail("queues are empty", "controllers find something to do for ever")
		}
	}
	w.audit.sync()
	if after := w.audit.store.Revision(); after != before {
		what := ""
		for _, c := range w.audit.store.Since(before) {
			for _, change := range c.Changes {
				what += fmt.Sprintf(", %s %s %v", change.Table, lastPart(change.Key), changedFields(change))
			}
		}
		w.fail("queues are empty", "a new leader had %d commits to make%s", after-before, what)
	}
}

// describedIsWhatRuns: what DescribeTasks says runs is what runs, container by container.
func (w *world) describedIsWhatRuns() (what string) {
	w.view(func(r *state.Reader) {
		for _, n := range w.nodes {
			seen := map[string]bool{}
			for t := range state.Tasks.By(r, "node", n.id) {
				var says []string
				for _, c := range t.Containers {
					if c.Last == lifecycle.Running {
						says = append(says, c.Name)
					}
				}
				slices.Sort(says)
				if runs := n.runtime.Running(t.ARN); !slices.Equal(says, runs) {
					what = fmt.Sprintf("%s on %s: described %v, running %v", short(t.ARN), n.id, says, runs)
				}
				seen[t.ARN] = true
			}
			for _, arn := range n.runtime.Held() {
				if !seen[arn] && len(n.runtime.Running(arn)) > 0 {
					what = fmt.Sprintf("%s runs %s, which nobody knows", n.id, short(arn))
				}
			}
		}
	})
	return what
}

// probe: now that all is empty, each cluster takes a task wherever it has a node, and runs it.
func (w *world) probe() {
	u, s := w.users, w.server
	w.queuesAreEmpty()
	for _, arn := range u.instances(s, func(i state.Instance) bool { return i.Status == "DRAINING" }) {
		u.setStateOf(s, "user", arn, "ACTIVE")
	}
	definition := u.registerDefinition(s, "user", &sdk.RegisterTaskDefinitionInput{Family: aws.String("probe"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("a"), Image: aws.String("good"), Memory: aws.Int32(8),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(9000)}}}}})
	for _, name := range clusterNames {
		members := u.instances(s, func(i state.Instance) bool { return clusterName(i.ClusterARN) == name && i.Status == "ACTIVE" })
		if len(members) == 0 {
			continue
		}
		out, err := s.api.RunTask(s.as(byUser), &sdk.RunTaskInput{Cluster: aws.String(name), TaskDefinition: &definition, Count: aws.Int32(int32(min(10, len(members))))})
		if err != nil || len(out.Failures) > 0 || len(out.Tasks) != len(members) {
			w.fail("an empty node takes a task", "cluster %s, %d nodes: %v, %s", name, len(members), err, showFailures(out))
		}
		u.placed("user", out.Tasks, nil)
		w.demand("a task that can run is RUNNING", startWithin, func() string {
			return w.firstTask(func(t state.Task) bool {
				return t.DefinitionARN == definition && t.Last != lifecycle.Running && t.Desired != lifecycle.Stopped
			})
		})
		for _, t := range out.Tasks {
			u.stop(s, "user", *t.TaskArn)
		}
		w.demand("every task that was told to stop is STOPPED", stopWithin, func() string { return w.firstTask(notStopped) })
	}
}

// everyNodeForgets: a stopped task's logs and folders go when their time has come.
func (w *world) everyNodeForgets() string {
	for _, n := range w.nodes {
		if arns := n.agent.core.ARNs(); len(arns) > 0 {
			return n.id + " remembers " + short(arns[0])
		}
	}
	return ""
}

func showFailures(out *sdk.RunTaskOutput) string {
	if out == nil {
		return "no answer"
	}
	s := fmt.Sprintf("%d tasks", len(out.Tasks))
	for _, f := range out.Failures {
		s += fmt.Sprintf(", %s: %s", lastPart(aws.ToString(f.Arn)), aws.ToString(f.Reason))
	}
	return s
}
