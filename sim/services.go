package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/api/ecs"
	"havn/lifecycle"
	"havn/state"
)

// servants are users who want services. They have chance of their own, and in two worlds of three there are none.
type servants struct {
	*users
	chance *rand.Rand
	on     bool
}

func newServants(u *users) *servants {
	s := &servants{users: u, chance: rand.New(rand.NewPCG(u.w.options.Seed, 0x73657276))}
	s.on = s.chance.IntN(3) == 0
	return s
}

func one[T any](s *servants, from ...T) T { return from[s.chance.IntN(len(from))] }

// act does something with services now and then. It reports whether it did.
func (s *servants) act(on *server, who string) bool {
	if !s.on || s.chance.IntN(4) > 0 {
		return false
	}
	name, cluster := one(s, "api", "worker"), one(s, clusterNames...)
	switch n := s.chance.IntN(10); {
	case n < 4:
		s.create(on, who, cluster, name)
	case n < 8:
		s.update(on, who, cluster, name)
	case n < 9:
		s.protect(on, who)
	default:
		s.delete(on, who, cluster, name)
	}
	return true
}

// configuration draws how a service is deployed.
func (s *servants) configuration() *types.DeploymentConfiguration {
	return &types.DeploymentConfiguration{
		MinimumHealthyPercent: aws.Int32(one[int32](s, 0, 50, 100)), MaximumPercent: aws.Int32(one[int32](s, 100, 150, 200)),
		DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: one(s, true, false), Rollback: one(s, true, false)},
	}
}

func (s *servants) create(on *server, who, cluster, name string) {
	in := &sdk.CreateServiceInput{Cluster: &cluster, ServiceName: &name, TaskDefinition: aws.String(one(s, familyNames...))}
	if one(s, 0, 1, 2) == 0 {
		in.SchedulingStrategy = types.SchedulingStrategyDaemon
	} else {
		in.DesiredCount, in.DeploymentConfiguration = aws.Int32(one[int32](s, 0, 1, 2, 4)), s.configuration()
	}
	in.LoadBalancers = s.balanced(on)
	what := fmt.Sprintf("creates service %s in %s: %d of %s %s, %d load balancers", name, cluster, aws.ToInt32(in.DesiredCount), *in.TaskDefinition, in.SchedulingStrategy, len(in.LoadBalancers))
	s.ask(on, who, what, nothing, func(ctx context.Context, api *ecs.Server) error { _, err := api.CreateService(ctx, in); return err }, nothing)
}

func (s *servants) update(on *server, who, cluster, name string) {
	in := &sdk.UpdateServiceInput{Cluster: &cluster, Service: &name}
	switch s.chance.IntN(4) {
	case 0:
		in.DesiredCount = aws.Int32(one[int32](s, 0, 1, 3, 5))
	case 1:
		in.ForceNewDeployment = true
	case 2:
		in.TaskDefinition = aws.String(one(s, familyNames...))
	default:
		in.DeploymentConfiguration = s.configuration()
	}
	what := fmt.Sprintf("updates service %s in %s: %v %t %s", name, cluster, aws.ToInt32(in.DesiredCount), in.ForceNewDeployment, aws.ToString(in.TaskDefinition))
	s.ask(on, who, what, nothing, func(ctx context.Context, api *ecs.Server) error { _, err := api.UpdateService(ctx, in); return err }, nothing)
}

func (s *servants) delete(on *server, who, cluster, name string) {
	s.ask(on, who, "deletes service "+name+" in "+cluster, nothing, func(ctx context.Context, api *ecs.Server) error {
		_, err := api.DeleteService(ctx, &sdk.DeleteServiceInput{Cluster: &cluster, Service: &name, Force: aws.Bool(true)})
		return err
	}, nothing)
}

func (s *servants) protect(on *server, who string) {
	refs := s.tasks(on, func(t state.Task) bool { return t.ServiceARN != "" && t.Last != lifecycle.Stopped })
	if len(refs) == 0 {
		return
	}
	arn := one(s, refs...)
	cluster := clusterOfMember(arn)
	in := &sdk.UpdateTaskProtectionInput{Cluster: &cluster, Tasks: []string{arn}, ProtectionEnabled: one(s, true, true, false), ExpiresInMinutes: aws.Int32(one[int32](s, 1, 5))}
	s.ask(on, who, fmt.Sprintf("protects %s: %t", short(arn), in.ProtectionEnabled), nothing,
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.UpdateTaskProtection(ctx, in)
			return err
		}, nothing)
}

// heal demands that services come to what they should be, of a definition that works, and then ends them.
func (s *servants) heal() {
	w := s.w
	if !s.on {
		return
	}
	u := s.users
	for _, arn := range u.instances(w.server, func(i state.Instance) bool { return i.Status == "DRAINING" }) {
		u.setStateOf(w.server, "user", arn, "ACTIVE")
	}
	for _, arn := range u.tasks(w.server, func(t state.Task) bool { return t.ServiceARN == "" && t.Desired != lifecycle.Stopped }) {
		u.stop(w.server, "user", arn)
	}
	definition := u.registerDefinition(w.server, "user", &sdk.RegisterTaskDefinitionInput{Family: aws.String("steady"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("a"), Image: aws.String("good"), Memory: aws.Int32(8),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}}}}})
	for _, service := range s.those(func(v state.Service) bool { return v.Status == "ACTIVE" }) {
		in := &sdk.UpdateServiceInput{Cluster: aws.String(clusterName(service.ClusterARN)), Service: &service.Name, TaskDefinition: &definition, ForceNewDeployment: true,
			DeploymentConfiguration: &types.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(0), MaximumPercent: aws.Int32(100)}}
		if service.Scheduling == types.SchedulingStrategyReplica {
			in.DesiredCount = aws.Int32(min(service.Desired, 2))
			// With a minimum, services that hold all there is could wait for each other for ever.
			in.DeploymentConfiguration = &types.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(0), MaximumPercent: aws.Int32(200)}
		}
		if _, err := w.server.api.UpdateService(w.server.as(byUser), in); err != nil {
			w.fail("a service is updated", "%s: %v", service.Name, err)
		}
	}
	w.after(0, nothing)     // after which the controllers are told
	w.run(time.Second, nil) // where there is no node, nothing is demanded, but that this is found out
	w.demand("a service comes to what it should be", settleWithin, s.unsettled)
	w.run(time.Second, nil) // the last commit may concern others
	w.queuesAreEmpty()
	s.lossIsMadeGood()
	w.demand("a target is of a task that runs", settleWithin, w.targetsAreOfRunningTasks)
	for _, service := range s.those(func(v state.Service) bool { return v.Status == "ACTIVE" }) {
		s.delete(w.server, "user", clusterName(service.ClusterARN), service.Name)
	}
	w.demand("a deleted service ends", settleWithin, func() string {
		for _, service := range s.those(func(v state.Service) bool { return v.Status != "INACTIVE" }) {
			return service.Name + " is " + service.Status
		}
		return ""
	})
}

func (s *servants) those(that func(state.Service) bool) (all []state.Service) {
	s.w.view(func(r *state.Reader) {
		for v := range state.Services.All(r) {
			if that(v) {
				all = append(all, v)
			}
		}
	})
	return all
}

// unsettled is the first service that is not as it should be: as many as are wanted, one on each container instance of a
// DAEMON service, all of the latest revision and healthy, and its deployment done.
func (s *servants) unsettled() (what string) {
	s.w.view(func(r *state.Reader) {
		for v := range state.Services.All(r) {
			if v.Status == "INACTIVE" {
				continue
			}
			members := 0
			for i := range state.Instances.By(r, "cluster", v.ClusterARN) {
				if n, _ := state.Nodes.Get(r, i.NodeID); i.Status == "ACTIVE" && n.Connected && !n.Condition.Impaired() {
					members++
				}
			}
			want := int(v.Desired)
			if v.Scheduling == types.SchedulingStrategyDaemon {
				want = members
			}
			d, _ := state.ServiceDeployments.Get(r, v.DeploymentARN)
			there := 0
			for t := range state.Tasks.By(r, "unstopped of service", v.ARN) {
				if t.RevisionARN != d.RevisionARN || t.Last != lifecycle.Running || t.Desired == lifecycle.Stopped {
					what = fmt.Sprintf("%s, of which %d are wanted, has %s of %s, %s, desired %s; its deployment is %s to %s, waiting %t", v.Name, want, short(t.ARN),
						lastPart(t.RevisionARN), t.Last, t.Desired, d.Status, lastPart(d.Heading()), d.Waiting)
					return
				}
				there++
			}
			if v.Status == "DRAINING" || there != want && members > 0 || members > 0 && !(d.Status == types.ServiceDeploymentStatusSuccessful && d.Steady) {
				what = fmt.Sprintf("%s (%s) has %d of %d, its deployment is %s, steady %t, waiting %t", v.Name, v.Status, there, want, d.Status, d.Steady, d.Waiting)
				return
			}
		}
	})
	return what
}

// lossIsMadeGood: a task that a user stops is replaced.
func (s *servants) lossIsMadeGood() {
	refs := s.tasks(s.w.server, func(t state.Task) bool { return t.ServiceARN != "" && t.Last == lifecycle.Running })
	if len(refs) == 0 {
		return
	}
	s.stop(s.w.server, "user", one(s, refs...))
	s.w.run(time.Second, nil)
	s.w.demand("a service comes to what it should be", settleWithin, s.unsettled)
}

// fleets is what audit knows of services' tasks, in the order of commits.
type fleets struct {
	tasks    map[string]map[string]state.Task // by service, by ARN: unstopped
	services map[string]state.Service
	checked  map[string][]string        // by definition: essential containers that have a health check
	vital    map[string][]string        // essential containers
	groups   map[string]int             // by revision: in how many target groups its tasks are to stand
	well     map[string]map[string]bool // by task: its targets that are healthy, or are probed no more
}

func newFleets() *fleets {
	return &fleets{map[string]map[string]state.Task{}, map[string]state.Service{}, map[string][]string{}, map[string][]string{}, map[string]int{}, map[string]map[string]bool{}}
}

// follow takes a commit in and holds it to what services were promised.
func (a *audit) follow(c state.Commit, by actor) {
	f := a.fleets
	stopped, started := map[string]bool{}, map[string]state.Task{}
	for _, change := range c.Changes {
		switch r := change.New.(type) {
		case state.TaskDefinition:
			f.define(r)
		case state.Service:
			f.services[r.ARN] = r
		case state.ServiceRevision:
			f.groups[r.ARN] = len(r.LoadBalancers)
		case state.Target:
			if f.well[r.TaskARN] == nil {
				f.well[r.TaskARN] = map[string]bool{}
			}
			f.well[r.TaskARN][change.Key] = r.Health.State == elb.TargetHealthStateEnumHealthy
		}
	}
	for _, change := range c.Changes {
		old, _ := change.Old.(state.Task)
		t, _ := change.New.(state.Task)
		service := t.ServiceARN + old.ServiceARN
		if change.Old != nil {
			service = old.ServiceARN
		}
		if service == "" || change.Table != state.Tasks.Name() {
			continue
		}
		if f.tasks[service] == nil {
			f.tasks[service] = map[string]state.Task{}
		}
		if by == byControl && change.Old == nil {
			started[service] = t
		}
		if by == byControl && t.StopCode == types.TaskStopCodeServiceSchedulerInitiated && old.StopCode == "" && f.healthy(old, a.w.now) {
			stopped[service] = true
		}
		if change.New == nil || t.Last == lifecycle.Stopped {
			delete(f.tasks[service], change.Key)
		} else {
			f.tasks[service][change.Key] = t
		}
	}
	for service, t := range started {
		a.maximumIsKept(f.services[service], t)
	}
	for service := range stopped {
		a.minimumIsKept(f.services[service])
	}
}

func (f *fleets) define(d state.TaskDefinition) {
	if _, known := f.vital[d.ARN]; known {
		return
	}
	f.vital[d.ARN] = []string{}
	for _, c := range d.Spec.ContainerDefinitions {
		if c.Essential == nil || *c.Essential {
			f.vital[d.ARN] = append(f.vital[d.ARN], *c.Name)
			if c.HealthCheck != nil {
				f.checked[d.ARN] = append(f.checked[d.ARN], *c.Name)
			}
		}
	}
}

// live: it is there, and nobody has told it to stop.
func (f *fleets) live(t state.Task) bool {
	for _, c := range t.Containers {
		if c.Last == lifecycle.Stopped && slices.Contains(f.vital[t.DefinitionARN], c.Name) {
			return false
		}
	}
	return t.Desired != lifecycle.Stopped && t.Last != lifecycle.Stopped
}

// healthy: it counts for the minimum.
func (f *fleets) healthy(t state.Task, now time.Time) bool {
	checked := f.checked[t.DefinitionARN]
	if !f.live(t) || t.Last != lifecycle.Running {
		return false
	}
	if balanced := f.groups[t.RevisionARN]; balanced > 0 {
		well := 0
		for _, is := range f.well[t.ARN] {
			if is {
				well++
			}
		}
		if well < balanced {
			return false
		}
	} else if len(checked) == 0 {
		return now.Sub(t.StartedAt) >= 40*time.Second
	}
	well := 0
	for _, h := range t.Health {
		if h.Status == types.HealthStatusHealthy && slices.Contains(checked, h.Name) {
			well++
		}
	}
	return well == len(checked)
}

// maximumIsKept: a service that starts a task has no more than its maximumPercent; a DAEMON service one on each container
// instance.
func (a *audit) maximumIsKept(s state.Service, started state.Task) {
	live, here := 0, 0
	for _, t := range a.fleets.tasks[s.ARN] {
		if a.fleets.live(t) {
			live++
		}
		if t.InstanceARN == started.InstanceARN && a.fleets.live(t) {
			here++
		}
	}
	if s.Scheduling == types.SchedulingStrategyDaemon {
		if here > 1 {
			a.w.fail("a DAEMON service has one task on each node", "%s has %d on %s", s.Name, here, lastPart(started.InstanceARN))
		}
		return
	}
	if most := int(s.Desired * aws.ToInt32(s.Configuration.MaximumPercent) / 100); live > most {
		a.w.fail("a service has no more than its maximum", "%s has %d, and %d at most", s.Name, live, most)
	}
}

// minimumIsKept: a service that stops a healthy task of its has as many left as its minimumHealthyPercent.
func (a *audit) minimumIsKept(s state.Service) {
	if s.Status != "ACTIVE" || s.Scheduling == types.SchedulingStrategyDaemon {
		return
	}
	left := 0
	for _, t := range a.fleets.tasks[s.ARN] {
		if a.fleets.healthy(t, a.w.now) {
			left++
		}
	}
	if least := int((s.Desired*aws.ToInt32(s.Configuration.MinimumHealthyPercent) + 99) / 100); left < least {
		a.w.fail("a service has no fewer healthy tasks than its minimum", "%s has %d left, and %d at least", s.Name, left, least)
	}
}
