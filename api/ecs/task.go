package ecs

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
	"havn/wire"
)

// The limits of RunTask and StartTask; of texts, in characters. API Reference, "RunTask".
const (
	maxCount     = 10
	maxStartedBy = 128
	maxGroup     = 255
	maxReference = 1024
)

// order is what RunTask and StartTask have in common: tasks of one definition that someone wants.
type order struct {
	cluster    state.Cluster
	definition state.TaskDefinition
	group      string
	startedBy  string
	reference  string
	overrides  types.TaskOverride
	tags       []types.Tag
	managed    bool
	by         string // the ARN of the principal
	count      int    // how many
}

// RunTask places copies of a task definition on the container instances of a cluster. What finds no place
// is in the answer's failures; the rest runs.
func (s *Server) RunTask(ctx context.Context, in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	count := 1
	if in.Count != nil {
		count = int(*in.Count)
	}
	if count < 1 || count > maxCount {
		return nil, invalid("Count must be between 1 and %d.", maxCount)
	}
	if err := refuseUnsupported(unsupportedInRun(in)); err != nil {
		return nil, err
	}
	var out *ecs.RunTaskOutput
	var nowhere error // an answer that is remembered, so it does not undo the transaction
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		nowhere = nil
		out = &ecs.RunTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		token, known, err := clientToken(tx, c, in, wire.Now(ctx))
		if err != nil {
			return err
		}
		if known { // before all else: a retry is answered though the definition has gone meanwhile
			for _, arn := range token.TaskARNs {
				if t, ok := state.Tasks.Get(tx, arn); ok {
					out.Tasks = append(out.Tasks, describeTask(tx, t, withTheirTags))
				}
			}
			return nil
		}
		capacity, err := strategyFor(c, in.LaunchType, in.CapacityProviderStrategy)
		if err != nil {
			return err
		}
		o, err := s.order(tx, c, in)
		if err != nil {
			return err
		}
		o.by, o.count = wire.Caller(ctx).ARN, count
		constraints, err := placement.Constraints(o.definition.Spec.PlacementConstraints, in.PlacementConstraints)
		if err != nil {
			return invalid("%v", err)
		}
		strategies, err := placement.Strategies(in.PlacementStrategy)
		if err != nil {
			return invalid("%v", err)
		}
		asks := make([]placement.Ask, count)
		for n := range asks {
			asks[n] = o.ask(tx, wire.Now(ctx))
			asks[n].Constraints, asks[n].Strategies = constraints, strategies
		}
		placement.Provide(asks, capacity, nil)
		placed, refused := placement.Place(tx, c.ARN, seedOf(asks), asks)
		o.remember(tx, placed, refused, wire.Now(ctx))
		for _, r := range refused {
			if r.InstanceARN == "" {
				nowhere = invalid("%s", r.Reason) // ECS takes a cluster without instances for a mistake
				return nil
			}
			out.Failures = append(out.Failures, failureOf(r))
		}
		for _, t := range placed {
			token.TaskARNs = append(token.TaskARNs, t.ARN)
			out.Tasks = append(out.Tasks, describeTask(tx, t, withTheirTags))
		}
		if token.Key != "" && len(placed) > 0 {
			state.ClientTokens.Put(tx, token)
		}
		return nil
	})
	if err = cmp.Or(err, nowhere); err != nil {
		return nil, err
	}
	return out, nil
}

// StartTask starts one copy on each container instance named. No constraint or strategy has a say.
func (s *Server) StartTask(ctx context.Context, in *ecs.StartTaskInput) (*ecs.StartTaskOutput, error) {
	if err := atMost(maxCount, len(in.ContainerInstances), "Container instances"); err != nil {
		return nil, err
	}
	if err := refuseUnsupported(unsupportedInStart(in)); err != nil {
		return nil, err
	}
	var out *ecs.StartTaskOutput
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		out = &ecs.StartTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		o, err := s.order(tx, c, asRun(in))
		if err != nil {
			return err
		}
		o.by, o.count = wire.Caller(ctx).ARN, len(in.ContainerInstances)
		var allPlaced []state.Task
		var allRefused []placement.Refusal
		for _, ref := range in.ContainerInstances {
			arn, err := s.member(kindInstance, c.Name, ref)
			if err != nil {
				return err
			}
			i, ok := state.Instances.Get(tx, arn)
			switch {
			case !ok:
				out.Failures = append(out.Failures, missing(arn))
				continue
			case i.Status == statusInactive:
				out.Failures = append(out.Failures, inactive(arn))
				continue
			}
			placed, refused := placement.PlaceOn(tx, i, []placement.Ask{o.ask(tx, wire.Now(ctx))})
			allPlaced, allRefused = append(allPlaced, placed...), append(allRefused, refused...)
			for _, r := range refused {
				out.Failures = append(out.Failures, failureOf(r))
			}
			for _, t := range placed {
				out.Tasks = append(out.Tasks, describeTask(tx, t, withTheirTags))
			}
		}
		o.remember(tx, allPlaced, allRefused, wire.Now(ctx))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// failureOf is a refusal in a request's answer.
func failureOf(r placement.Refusal) types.Failure {
	return types.Failure{Arn: ptr(r.InstanceARN), Reason: ptr(r.Reason), Detail: ptr(r.Detail)}
}

// remember keeps that some of the order found no place, where that can be looked up later.
func (o order) remember(tx *state.Tx, placed []state.Task, refused []placement.Refusal, now time.Time) {
	placement.Remember(tx, state.Refusal{
		ClusterARN: o.cluster.ARN, DefinitionARN: o.definition.ARN, LastAt: now,
		By: o.by, StartedBy: o.startedBy, Asked: o.count, Placed: len(placed),
	}, refused)
}

// withTheirTags: whoever starts a task is shown its tags.
var withTheirTags = []types.TaskField{types.TaskFieldTags}

// asRun is what a StartTask has in common with a RunTask.
func asRun(in *ecs.StartTaskInput) *ecs.RunTaskInput {
	return &ecs.RunTaskInput{
		TaskDefinition:       in.TaskDefinition,
		EnableECSManagedTags: in.EnableECSManagedTags,
		Group:                in.Group,
		Overrides:            in.Overrides,
		PropagateTags:        in.PropagateTags,
		ReferenceId:          in.ReferenceId,
		StartedBy:            in.StartedBy,
		Tags:                 in.Tags,
	}
}

// order resolves and checks what a request wants to run.
func (s *Server) order(tx *state.Tx, c state.Cluster, in *ecs.RunTaskInput) (order, error) {
	d, err := s.runnableDefinition(tx, deref(in.TaskDefinition))
	if err != nil {
		return order{}, err
	}
	o := order{cluster: c, definition: d, startedBy: deref(in.StartedBy), reference: deref(in.ReferenceId), managed: in.EnableECSManagedTags}
	switch {
	case utf8.RuneCountInString(o.startedBy) > maxStartedBy:
		return order{}, invalid("startedBy must be at most %d characters.", maxStartedBy)
	case utf8.RuneCountInString(o.reference) > maxReference:
		return order{}, invalid("referenceId must be at most %d characters.", maxReference)
	}
	if o.group, err = taskGroup(deref(in.Group), d.Family); err != nil {
		return order{}, err
	}
	if o.overrides, err = checkedOverrides(in.Overrides, d.Spec); err != nil {
		return order{}, err
	}
	overridden := state.Overridden(d.Spec, o.overrides)
	if err := refuseUnsupported(unsupportedValues(overridden.ContainerDefinitions)); err != nil {
		return order{}, err
	}
	o.tags, err = o.tagsFor(in.Tags, in.PropagateTags)
	return o, err
}

// runnableDefinition resolves a reference to a task definition that tasks can be made from.
func (s *Server) runnableDefinition(src state.Source, ref string) (state.TaskDefinition, error) {
	d, ok, err := s.definition(src, ref)
	switch {
	case err != nil:
		return d, err
	case !ok:
		return d, definitionNotFound()
	case d.Status != types.TaskDefinitionStatusActive:
		return d, definitionInactive()
	case !slices.Contains(d.Spec.Compatibilities, types.CompatibilityEc2):
		return d, invalid("Task definition does not support launch_type EC2.")
	}
	return d, refuseUnsupported(unsupportedInDefinition(d.Spec))
}

// ask is one more task of the order, not yet placed.
func (o order) ask(tx *state.Tx, now time.Time) placement.Ask {
	return placement.NewAsk(tx, o.definition, state.Task{
		ClusterARN:        o.cluster.ARN,
		Group:             o.group,
		StartedBy:         o.startedBy,
		LaunchType:        types.LaunchTypeEc2,
		Overrides:         o.overrides,
		EnableManagedTags: o.managed,
		ReferenceID:       o.reference,
		AskedBy:           o.by,
		AskedFor:          o.count,
		Tags:              o.tags,
		CreatedAt:         now,
	})
}

// StopTask tells a task to stop. It is stopped when its node says so; a task that is stopped already is
// described as it is.
func (s *Server) StopTask(ctx context.Context, in *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	if utf8.RuneCountInString(deref(in.Reason)) > lifecycle.MaxReason {
		return nil, invalid("reason must be at most %d characters.", lifecycle.MaxReason)
	}
	out := &ecs.StopTaskOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		arn, err := s.member(kindTask, c.Name, deref(in.Task))
		if err != nil {
			return err
		}
		t, ok := state.Tasks.Get(tx, arn)
		if !ok {
			return taskNotFound()
		}
		if t.Desired != lifecycle.Stopped {
			t.Desired = lifecycle.Stopped
			t.StoppingAt = wire.Now(ctx)
			t.StopCode = types.TaskStopCodeUserInitiated
			t.StoppedReason = "Task stopped by user"
			if in.Reason != nil {
				t.StoppedReason = *in.Reason
			}
			t.StoppedBy = wire.Caller(ctx).ARN
			t.Version++
			state.Tasks.Put(tx, t)
		}
		out.Task = ptr(describeTask(tx, t, nil))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeTasks describes the tasks named, stopped ones too for about an hour.
func (s *Server) DescribeTasks(ctx context.Context, in *ecs.DescribeTasksInput) (*ecs.DescribeTasksOutput, error) {
	if err := atMost(maxPage, len(in.Tasks), "Tasks"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		for _, ref := range in.Tasks {
			arn, err := s.member(kindTask, c.Name, ref)
			if err != nil {
				return err
			}
			t, ok := state.Tasks.Get(r, arn)
			if !ok {
				out.Failures = append(out.Failures, missing(arn))
				continue
			}
			out.Tasks = append(out.Tasks, describeTask(r, t, in.Include))
		}
		return nil
	})
}

// ListTasks lists the tasks of a cluster for which every filter holds. Without a desired status it lists
// those that should run.
func (s *Server) ListTasks(ctx context.Context, in *ecs.ListTasksInput) (*ecs.ListTasksOutput, error) {
	if deref(in.StartedBy) != "" && deref(in.Family)+deref(in.ServiceName)+deref(in.ContainerInstance) != "" {
		return nil, invalid("When you specify startedBy as a filter, it must be the only filter that you use.")
	}
	if deref(in.DaemonName) != "" {
		return nil, unsupported("Havn has no daemons, so tasks cannot be listed by daemonName.")
	}
	out := &ecs.ListTasksOutput{}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		desired := in.DesiredStatus
		if desired == "" {
			desired = types.DesiredStatusRunning
		}
		tasks, within := state.Tasks.By(r, "desired in cluster", c.ARN+"|"+string(desired)), c.ARN
		if deref(in.ContainerInstance) != "" {
			i, err := s.instance(r, c, *in.ContainerInstance)
			if err != nil {
				return err
			}
			tasks, within = state.Tasks.By(r, "instance", i.ARN), i.ARN
		}
		serviceARN := ""
		if deref(in.ServiceName) != "" {
			service, err := s.service(r, in.Cluster, *in.ServiceName)
			if err != nil {
				return err
			}
			serviceARN = service.ARN
			if deref(in.ContainerInstance) == "" {
				tasks = state.Tasks.By(r, "service", service.ARN)
			}
		}
		arns := []string{}
		for t := range tasks { // in the order of their ARNs
			if t.Desired == lifecycle.Status(desired) &&
				(deref(in.Family) == "" || familyOf(t.DefinitionARN) == *in.Family) &&
				(in.LaunchType == "" || t.LaunchType == in.LaunchType) &&
				(deref(in.StartedBy) == "" || t.StartedBy == *in.StartedBy) &&
				(serviceARN == "" || t.ServiceARN == serviceARN) {
				arns = append(arns, t.ARN)
			}
		}
		out.TaskArns, out.NextToken, err = page(arns, self, pageRequest{Max: in.MaxResults, Token: in.NextToken,
			Query: strings.Join([]string{within, string(desired), deref(in.Family), string(in.LaunchType), deref(in.StartedBy), serviceARN}, "|")})
		return err
	})
}

// familyOf is the family that a task definition's ARN names.
func familyOf(definitionARN string) string {
	family, _, _ := strings.Cut(lastPart(definitionARN), ":")
	return family
}
