package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/api/ecs"
	"havn/state"
)

var (
	clusterNames = []string{"default", "blue", "green"}
	familyNames  = []string{"web", "job", "pair", "port", "odd"}
)

// programs are the images that there are. What is not here cannot be pulled.
var programs = map[string]Program{
	"good":       {TermTime: 5 * time.Millisecond},
	"slow-term":  {TermTime: 4 * time.Second},
	"stubborn":   {IgnoresTerm: true},
	"exits-0":    {RunsFor: 3 * time.Second},
	"exits-3":    {RunsFor: time.Millisecond, ExitCode: 3},
	"no-command": {NoCommand: true},
}

var images = []string{"good", "good", "good", "slow-term", "stubborn", "exits-0", "exits-3", "no-command", "missing"}

// users ask for things at random, and remember what they were promised.
type users struct {
	w     *world
	left  int // how much they will still ask for
	count int // makes names unique
	begun int // how much was asked for of what most else needs
	pace  time.Duration
	model model
	asked int // how many calls were made, of users and of rivals
	// tokens are requests that were made once with a client token, to be repeated.
	tokens   []*sdk.RunTaskInput
	servants *servants
}

func newUsers(w *world) *users {
	u := &users{w: w, left: w.options.Steps, model: newModel(), pace: pick(w, []time.Duration{200 * time.Millisecond, 2 * time.Second, 10 * time.Second})}
	if u.left == 0 {
		u.left = 30 + w.chance.IntN(120)
		if u.pace < time.Second {
			u.left *= 2
		}
	}
	u.servants = newServants(u)
	return u
}

func (u *users) done() bool { return u.left == 0 }

// begin lets users ask for something now and then; first for what most else needs.
func (u *users) begin() {
	u.w.after(u.w.upTo(u.pace), func() {
		if u.left == 0 {
			return
		}
		u.left--
		switch s := u.w.server; {
		case s == nil:
		case u.begun < len(clusterNames):
			u.createCluster(s, "user", clusterNames[u.begun])
			u.begun++
		case u.begun < 3*len(clusterNames):
			u.registerDefinition(s, "user", u.definition())
			u.begun++
		default:
			u.act(s, "user")
		}
		u.begin()
	})
}

// ask makes one call for a user. What it was promised is noted only if the answer arrives; what the
// request may have done is noted as doubt in any case.
func (u *users) ask(s *server, who, what string, doubt func(), call func(context.Context, *ecs.Server) error, promised func()) {
	w := u.w
	doubt()
	if w.happens(w.faults.UserCallLost) {
		w.say(who, "%s: the request is lost", what)
		return
	}
	u.asked++
	mine := u.asked
	err := s.do(byUser, func(ctx context.Context) error { return call(ctx, s.api) })
	doubt() // also what a rival was promised meanwhile
	switch {
	case err != nil:
		w.say(who, "%s: %v", what, err)
	case w.happens(w.faults.UserAnswerLost):
		w.say(who, "%s: done, and the answer is lost", what)
	case u.asked != mine:
		w.say(who, "%s, beside a rival", what) // who of the two was first nobody was told
	default:
		w.say(who, "%s", what)
		promised()
	}
}

func nothing() {}

// act does one thing that comes to mind.
func (u *users) act(s *server, who string) {
	w := u.w
	if u.servants.act(s, who) {
		return
	}
	cluster := pick(w, clusterNames)
	switch n := w.chance.IntN(100); {
	case n < 6:
		u.createCluster(s, who, cluster)
	case n < 8:
		u.deleteCluster(s, who, cluster)
	case n < 20:
		u.registerDefinition(s, who, u.definition())
	case n < 22:
		u.deregisterDefinition(s, who)
	case n < 24:
		u.deleteDefinition(s, who)
	case n < 54:
		u.runTask(s, who, cluster)
	case n < 62:
		u.startTask(s, who, cluster)
	case n < 82:
		u.stopTask(s, who)
	case n < 88:
		u.setState(s, who)
	case n < 91:
		u.deregisterInstance(s, who)
	case n < 96:
		u.putAttribute(s, who)
	default:
		u.tagTask(s, who)
	}
}

func (u *users) createCluster(s *server, who, name string) {
	u.ask(s, who, "creates cluster "+name, func() { delete(u.model.clusters, name) },
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: &name})
			return err
		}, func() { u.model.clusters[name] = true })
}

func (u *users) deleteCluster(s *server, who, name string) {
	u.ask(s, who, "deletes cluster "+name, func() { u.model.doubtCluster(name) },
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: &name})
			return err
		}, nothing)
}

// definition draws a task definition.
func (u *users) definition() *sdk.RegisterTaskDefinitionInput {
	w := u.w
	in := &sdk.RegisterTaskDefinitionInput{Family: aws.String(pick(w, familyNames))}
	count := 1 + w.chance.IntN(3)
	essential := w.chance.IntN(count)
	for i := range count {
		c := types.ContainerDefinition{Name: aws.String(string(rune('a' + i))), Image: aws.String(pick(w, images)),
			Cpu: pick(w, []int32{0, 64, 256}), Memory: aws.Int32(pick(w, []int32{8, 32, 128})),
			Essential: aws.Bool(i == essential || w.chance.IntN(2) == 0)}
		if w.chance.IntN(3) == 0 {
			c.StopTimeout = aws.Int32(pick(w, []int32{2, 10, 90}))
		}
		switch w.chance.IntN(4) {
		case 0:
			c.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80)}}
		case 1:
			c.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(int32(8000 + 10*i + w.chance.IntN(4))),
				Protocol: pick(w, []types.TransportProtocol{"tcp", "udp"})}}
		}
		u.drawLife(&c, in.ContainerDefinitions)
		in.ContainerDefinitions = append(in.ContainerDefinitions, c)
	}
	if w.chance.IntN(6) == 0 {
		in.NetworkMode = types.NetworkModeHost
		for i := range in.ContainerDefinitions {
			for j := range in.ContainerDefinitions[i].PortMappings {
				p := &in.ContainerDefinitions[i].PortMappings[j]
				p.ContainerPort, p.HostPort = aws.Int32(int32(8100+10*i)), nil
			}
		}
	}
	if w.chance.IntN(6) == 0 {
		in.PlacementConstraints = []types.TaskDefinitionPlacementConstraint{{Type: "memberOf", Expression: aws.String("attribute:rack == r1")}}
	}
	return in
}

// drawLife draws how a container's health is found out, whether it is started again, and which of those before it it
// waits for: only for what will come, or has a start timeout.
func (u *users) drawLife(c *types.ContainerDefinition, before []types.ContainerDefinition) {
	w := u.w
	if w.chance.IntN(3) == 0 {
		c.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "check"}, Interval: aws.Int32(pick(w, []int32{5, 30})),
			Retries: aws.Int32(pick(w, []int32{1, 3})), StartPeriod: aws.Int32(pick(w, []int32{0, 20}))}
	}
	if w.chance.IntN(4) == 0 {
		c.RestartPolicy = &types.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(60), IgnoredExitCodes: []int32{0}}
	}
	if w.chance.IntN(3) == 0 {
		c.StartTimeout = aws.Int32(pick(w, []int32{10, 120}))
	}
	for _, on := range before {
		condition := pick(w, []types.ContainerCondition{"START", "COMPLETE", "SUCCESS", "HEALTHY"})
		ends := programs[*on.Image].RunsFor > 0 || on.StartTimeout != nil
		switch {
		case w.chance.IntN(3) > 0:
		case condition == "HEALTHY" && on.HealthCheck == nil:
		case (condition == "COMPLETE" || condition == "SUCCESS") && (*on.Essential || !ends):
		default:
			c.DependsOn = append(c.DependsOn, types.ContainerDependency{ContainerName: on.Name, Condition: condition})
		}
	}
}

func (u *users) registerDefinition(s *server, who string, in *sdk.RegisterTaskDefinitionInput) (arn string) {
	u.ask(s, who, "registers "+*in.Family, nothing, func(ctx context.Context, api *ecs.Server) error {
		out, err := api.RegisterTaskDefinition(ctx, in)
		if err == nil {
			arn = *out.TaskDefinition.TaskDefinitionArn
		}
		return err
	}, func() { u.model.definitions[arn] = types.TaskDefinitionStatusActive })
	return arn
}

func (u *users) anyDefinition() (arn string, ok bool) {
	arns := slices.Sorted(maps.Keys(u.model.definitions))
	if len(arns) == 0 {
		return "", false
	}
	return pick(u.w, arns), true
}

func (u *users) deregisterDefinition(s *server, who string) {
	arn, ok := u.anyDefinition()
	if !ok {
		return
	}
	u.ask(s, who, "deregisters "+lastPart(arn), func() { u.model.doubtDefinition(arn) },
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: &arn})
			return err
		}, func() { u.model.definitions[arn] = types.TaskDefinitionStatusInactive })
}

func (u *users) deleteDefinition(s *server, who string) {
	arn, ok := u.anyDefinition()
	if !ok {
		return
	}
	u.ask(s, who, "deletes "+lastPart(arn), func() { delete(u.model.definitions, arn) },
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{TaskDefinitions: []string{arn}})
			return err
		}, nothing)
}

func (u *users) runTask(s *server, who, cluster string) {
	w := u.w
	if len(u.tokens) > 0 && w.chance.IntN(4) == 0 {
		u.run(s, who, pick(w, u.tokens))
		return
	}
	in := &sdk.RunTaskInput{Cluster: &cluster, TaskDefinition: aws.String(pick(w, familyNames)), Count: aws.Int32(int32(1 + w.chance.IntN(4)))}
	switch w.chance.IntN(6) {
	case 0:
		in.PlacementConstraints = []types.PlacementConstraint{{Type: "distinctInstance"}}
	case 1:
		in.PlacementConstraints = []types.PlacementConstraint{{Type: "memberOf", Expression: aws.String("attribute:colour == red or attribute:rack == r2")}}
	case 2:
		in.PlacementStrategy = []types.PlacementStrategy{{Type: "spread", Field: aws.String("instanceId")}}
	case 3:
		in.PlacementStrategy = []types.PlacementStrategy{{Type: "binpack", Field: aws.String("memory")}}
	case 4:
		in.PlacementStrategy = []types.PlacementStrategy{{Type: "random"}}
	}
	if w.chance.IntN(2) == 0 {
		u.count++
		in.ClientToken = aws.String(fmt.Sprintf("token-%d", u.count))
		in.StartedBy = in.ClientToken // so that what a token made can be told from its tasks
		u.tokens = append(u.tokens, in)
	}
	u.run(s, who, in)
}

func (u *users) run(s *server, who string, in *sdk.RunTaskInput) {
	sent := *in
	if u.w.options.Defect == ForgetsTokens {
		sent.ClientToken = nil
	}
	var out *sdk.RunTaskOutput
	what := fmt.Sprintf("runs %d of %s in %s %s", *in.Count, *in.TaskDefinition, *in.Cluster, aws.ToString(in.ClientToken))
	u.ask(s, who, what, nothing, func(ctx context.Context, api *ecs.Server) (err error) {
		out, err = api.RunTask(ctx, &sent)
		return err
	}, func() { u.placed(who, out.Tasks, out.Failures) })
	u.forgetToSubtract(s, out)
}

func (u *users) placed(who string, tasks []types.Task, failures []types.Failure) {
	for _, t := range tasks {
		u.w.say(who, "... got %s on %s", short(*t.TaskArn), lastPart(*t.ContainerInstanceArn))
		u.model.tasks[*t.TaskArn] = false
	}
	for _, f := range failures {
		u.w.say(who, "... refused on %s: %s", lastPart(aws.ToString(f.Arn)), *f.Reason)
	}
}

func (u *users) startTask(s *server, who, cluster string) {
	w := u.w
	refs := u.instances(s, func(i state.Instance) bool { return clusterName(i.ClusterARN) == cluster })
	if len(refs) == 0 {
		return
	}
	var out *sdk.StartTaskOutput
	in := &sdk.StartTaskInput{Cluster: &cluster, TaskDefinition: aws.String(pick(w, familyNames)), ContainerInstances: []string{pick(w, refs)}}
	u.ask(s, who, fmt.Sprintf("starts %s in %s", *in.TaskDefinition, cluster), nothing, func(ctx context.Context, api *ecs.Server) (err error) {
		out, err = api.StartTask(ctx, in)
		return err
	}, func() { u.placed(who, out.Tasks, out.Failures) })
}

func (u *users) instances(s *server, that func(state.Instance) bool) (arns []string) {
	s.store.View(func(r *state.Reader) {
		for i := range state.Instances.All(r) {
			if that(i) {
				arns = append(arns, i.ARN)
			}
		}
	})
	slices.Sort(arns)
	return arns
}

func (u *users) tasks(s *server, that func(state.Task) bool) (arns []string) {
	s.store.View(func(r *state.Reader) {
		for t := range state.Tasks.All(r) {
			if that(t) {
				arns = append(arns, t.ARN)
			}
		}
	})
	slices.Sort(arns)
	return arns
}

func (u *users) stopTask(s *server, who string) {
	refs := u.tasks(s, func(t state.Task) bool { return t.Desired != "STOPPED" })
	if len(refs) > 0 {
		u.stop(s, who, pick(u.w, refs))
	}
}

func (u *users) stop(s *server, who, arn string) {
	cluster := clusterOfMember(arn)
	u.ask(s, who, "stops "+short(arn), nothing, func(ctx context.Context, api *ecs.Server) error {
		_, err := api.StopTask(ctx, &sdk.StopTaskInput{Cluster: &cluster, Task: &arn})
		return err
	}, func() { u.model.tasks[arn] = true })
}

func (u *users) setState(s *server, who string) {
	refs := u.instances(s, func(state.Instance) bool { return true })
	if len(refs) == 0 {
		return
	}
	u.setStateOf(s, who, pick(u.w, refs), pick(u.w, []types.ContainerInstanceStatus{"ACTIVE", "DRAINING"}))
}

func (u *users) setStateOf(s *server, who, arn string, status types.ContainerInstanceStatus) {
	cluster := clusterOfMember(arn)
	var out *sdk.UpdateContainerInstancesStateOutput
	u.ask(s, who, fmt.Sprintf("makes %s %s", lastPart(arn), status), func() { delete(u.model.statuses, arn) },
		func(ctx context.Context, api *ecs.Server) (err error) {
			out, err = api.UpdateContainerInstancesState(ctx, &sdk.UpdateContainerInstancesStateInput{Cluster: &cluster,
				ContainerInstances: []string{arn}, Status: status})
			return err
		}, func() {
			if len(out.ContainerInstances) == 1 {
				u.model.statuses[arn] = string(status)
			}
		})
}

func (u *users) deregisterInstance(s *server, who string) {
	refs := u.instances(s, func(i state.Instance) bool { return i.Status != "INACTIVE" })
	if len(refs) == 0 {
		return
	}
	arn := pick(u.w, refs)
	cluster, force := clusterOfMember(arn), u.w.chance.IntN(2) == 0
	u.ask(s, who, fmt.Sprintf("deregisters %s, force %t", lastPart(arn), force), func() { u.model.doubtInstance(arn) },
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.DeregisterContainerInstance(ctx, &sdk.DeregisterContainerInstanceInput{Cluster: &cluster, ContainerInstance: &arn, Force: &force})
			return err
		}, nothing)
}

func (u *users) putAttribute(s *server, who string) {
	refs := u.instances(s, func(i state.Instance) bool { return i.Status != "INACTIVE" })
	if len(refs) == 0 {
		return
	}
	arn := pick(u.w, refs)
	cluster, value := clusterOfMember(arn), pick(u.w, []string{"red", "blue", ""})
	a := types.Attribute{Name: aws.String("colour"), TargetId: &arn, Value: &value}
	u.ask(s, who, fmt.Sprintf("puts colour %q on %s", value, lastPart(arn)), func() { delete(u.model.colours, arn) },
		func(ctx context.Context, api *ecs.Server) error {
			var err error
			if value == "" {
				a.Value = nil
				_, err = api.DeleteAttributes(ctx, &sdk.DeleteAttributesInput{Cluster: &cluster, Attributes: []types.Attribute{a}})
			} else {
				_, err = api.PutAttributes(ctx, &sdk.PutAttributesInput{Cluster: &cluster, Attributes: []types.Attribute{a}})
			}
			return err
		}, func() { u.model.colours[arn] = value })
}

func (u *users) tagTask(s *server, who string) {
	refs := u.tasks(s, func(state.Task) bool { return true })
	if len(refs) == 0 {
		return
	}
	arn := pick(u.w, refs)
	u.count++
	value := fmt.Sprint(u.count)
	u.ask(s, who, "tags "+short(arn)+" "+value, func() { delete(u.model.tags, arn) },
		func(ctx context.Context, api *ecs.Server) error {
			_, err := api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: aws.String("n"), Value: &value}}})
			return err
		}, func() { u.model.tags[arn] = value })
}
