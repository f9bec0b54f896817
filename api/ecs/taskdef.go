package ecs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
	"havn/wire"
)

const (
	// maxDefinitionBytes is how long a task definition may be, written as JSON.
	maxDefinitionBytes = 64 << 10
	// maxDeletions is how many task definitions one DeleteTaskDefinitions may name.
	maxDeletions = 10
)

// RegisterTaskDefinition makes the next revision of a family. It takes the whole vocabulary, also what no
// node can act on yet: RunTask refuses that.
func (s *Server) RegisterTaskDefinition(ctx context.Context, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	spec, err := newDefinition(in)
	if err != nil {
		return nil, err
	}
	if err := checkLength(spec); err != nil {
		return nil, err
	}
	var d state.TaskDefinition
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		family, ok := state.Families.Get(tx, *in.Family)
		if !ok {
			family = state.Family{Name: *in.Family}
		}
		family.LastRevision++
		state.Families.Put(tx, family)
		d = state.TaskDefinition{
			ARN:          s.definitionARN(family.Name, family.LastRevision),
			Family:       family.Name,
			Revision:     family.LastRevision,
			Spec:         spec,
			Status:       types.TaskDefinitionStatusActive,
			Tags:         in.Tags,
			RegisteredAt: wire.Now(ctx),
			RegisteredBy: wire.Caller(ctx).ARN,
		}
		state.TaskDefinitions.Put(tx, d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: ptr(describeDefinition(d)), Tags: in.Tags}, nil
}

// newDefinition is what is stored of a registration: checked, normalised, and with what ECS works out.
func newDefinition(in *ecs.RegisterTaskDefinitionInput) (types.TaskDefinition, error) {
	spec := types.TaskDefinition{
		ContainerDefinitions:    in.ContainerDefinitions,
		Cpu:                     in.Cpu,
		EnableFaultInjection:    in.EnableFaultInjection,
		EphemeralStorage:        in.EphemeralStorage,
		ExecutionRoleArn:        in.ExecutionRoleArn,
		InferenceAccelerators:   in.InferenceAccelerators,
		IpcMode:                 in.IpcMode,
		Memory:                  in.Memory,
		NetworkMode:             in.NetworkMode,
		PidMode:                 in.PidMode,
		PlacementConstraints:    in.PlacementConstraints,
		ProxyConfiguration:      in.ProxyConfiguration,
		RequiresCompatibilities: in.RequiresCompatibilities,
		RuntimePlatform:         in.RuntimePlatform,
		TaskRoleArn:             in.TaskRoleArn,
		Volumes:                 in.Volumes,
	}
	if !resourceName.MatchString(deref(in.Family)) {
		return spec, clientError("Family contains invalid characters.")
	}
	if err := normalizeDefinition(&spec); err != nil {
		return spec, err
	}
	if err := checkDefinition(&spec); err != nil {
		return spec, err
	}
	var err error
	if spec.Compatibilities, err = compatibilities(&spec); err != nil {
		return spec, err
	}
	spec.RequiresAttributes = requiredAttributes(&spec)
	return spec, nil
}

func checkLength(spec types.TaskDefinition) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("cannot measure the task definition: %w", err)
	}
	if len(b) > maxDefinitionBytes { // with all that is not there, so look closer
		b = dropEmpty(b)
	}
	if len(b) > maxDefinitionBytes {
		return clientError("Actual length: '%d'. Max allowed length is '%d' bytes.", len(b), maxDefinitionBytes)
	}
	return nil
}

// dropEmpty leaves out what JSON writes for members that are not there, so that a definition is measured
// as it was sent.
func dropEmpty(b []byte) []byte {
	var v any
	if json.Unmarshal(b, &v) != nil {
		return b
	}
	b, _ = json.Marshal(compact(v)) //nolint:errcheck // it was JSON just now
	return b
}

func compact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil || member == "" {
				delete(v, key)
			} else {
				v[key] = compact(member)
			}
		}
	case []any:
		for i := range v {
			v[i] = compact(v[i])
		}
	}
	return v
}

// describeDefinition is the task definition as ECS prints it.
func describeDefinition(d state.TaskDefinition) types.TaskDefinition {
	out := d.Spec
	out.TaskDefinitionArn = ptr(d.ARN)
	out.Family = ptr(d.Family)
	out.Revision = d.Revision
	out.Status = d.Status
	out.RegisteredAt = ptr(d.RegisteredAt)
	out.RegisteredBy = present(d.RegisteredBy)
	out.DeregisteredAt = known(d.DeregisteredAt)
	out.DeleteRequestedAt = known(d.DeleteRequestedAt)
	return out
}

// known is a time that an answer has only once it has come.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// definition resolves a reference to a task definition; a bare family means its latest ACTIVE revision.
func (s *Server) definition(src state.Source, ref string) (d state.TaskDefinition, ok bool, err error) {
	family, revision, err := s.definitionName(ref)
	if err != nil {
		return d, false, err
	}
	if revision > 0 {
		d, ok = state.TaskDefinitions.Get(src, s.definitionARN(family, revision))
		return d, ok, nil
	}
	for each := range state.TaskDefinitions.By(src, "family", family) {
		if each.Status == types.TaskDefinitionStatusActive && each.Revision > d.Revision {
			d, ok = each, true
		}
	}
	return d, ok, nil
}

// DescribeTaskDefinition describes one revision, of whatever status.
func (s *Server) DescribeTaskDefinition(ctx context.Context, in *ecs.DescribeTaskDefinitionInput) (*ecs.DescribeTaskDefinitionOutput, error) {
	out := &ecs.DescribeTaskDefinitionOutput{}
	return out, s.view(func(r *state.Reader) error {
		d, ok, err := s.definition(r, deref(in.TaskDefinition))
		if err != nil {
			return err
		}
		if !ok {
			return unknownDefinition()
		}
		out.TaskDefinition = ptr(describeDefinition(d))
		if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
			out.Tags = listed(d.Tags)
		}
		return nil
	})
}

// ListTaskDefinitions lists the revisions with one status, ACTIVE if none is asked for, of one family or
// of all.
func (s *Server) ListTaskDefinitions(ctx context.Context, in *ecs.ListTaskDefinitionsInput) (*ecs.ListTaskDefinitionsOutput, error) {
	status := in.Status
	if status == "" {
		status = types.TaskDefinitionStatusActive
	}
	var found []state.TaskDefinition
	s.Store.View(func(r *state.Reader) {
		all := state.TaskDefinitions.All(r)
		if family := deref(in.FamilyPrefix); family != "" {
			all = state.TaskDefinitions.By(r, "family", family)
		}
		for d := range all {
			if d.Status == status {
				found = append(found, d)
			}
		}
	})
	key := func(d state.TaskDefinition) string { return fmt.Sprintf("%s\x00%010d", d.Family, d.Revision) }
	slices.SortFunc(found, func(a, b state.TaskDefinition) int { return strings.Compare(key(a), key(b)) })
	request := pageRequest{Max: in.MaxResults, Token: in.NextToken,
		Query: deref(in.FamilyPrefix) + "|" + string(status) + "|" + string(in.Sort)}
	if in.Sort == types.SortOrderDesc {
		slices.Reverse(found)
		request.Descending = true
	}
	found, next, err := page(found, key, request)
	if err != nil {
		return nil, err
	}
	out := &ecs.ListTaskDefinitionsOutput{TaskDefinitionArns: []string{}, NextToken: next}
	for _, d := range found {
		out.TaskDefinitionArns = append(out.TaskDefinitionArns, d.ARN)
	}
	return out, nil
}

// ListTaskDefinitionFamilies lists families by prefix: those with an ACTIVE revision, those with none, or
// all that have any revision left.
func (s *Server) ListTaskDefinitionFamilies(ctx context.Context, in *ecs.ListTaskDefinitionFamiliesInput) (*ecs.ListTaskDefinitionFamiliesOutput, error) {
	var names []string
	s.Store.View(func(r *state.Reader) {
		for f := range state.Families.All(r) {
			if strings.HasPrefix(f.Name, deref(in.FamilyPrefix)) && familyIs(r, f.Name, in.Status) {
				names = append(names, f.Name)
			}
		}
	})
	names, next, err := page(names, self, pageRequest{Max: in.MaxResults, Token: in.NextToken,
		Query: deref(in.FamilyPrefix) + "|" + string(in.Status)})
	if err != nil {
		return nil, err
	}
	return &ecs.ListTaskDefinitionFamiliesOutput{Families: listed(names), NextToken: next}, nil
}

func familyIs(src state.Source, name string, status types.TaskDefinitionFamilyStatus) bool {
	any := false
	for d := range state.TaskDefinitions.By(src, "family", name) {
		any = true
		if d.Status == types.TaskDefinitionStatusActive {
			return status != types.TaskDefinitionFamilyStatusInactive
		}
	}
	return any && status != types.TaskDefinitionFamilyStatusActive
}

const definitionDoesNotExist = "The specified task definition does not exist. Specify a valid account, family, revision and try again."

// DeregisterTaskDefinition makes a revision INACTIVE: what runs goes on, new tasks are refused.
func (s *Server) DeregisterTaskDefinition(ctx context.Context, in *ecs.DeregisterTaskDefinitionInput) (*ecs.DeregisterTaskDefinitionOutput, error) {
	family, revision, err := s.definitionName(deref(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if revision == 0 {
		return nil, invalid("Invalid revision number. Number: ")
	}
	var d state.TaskDefinition
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		var ok bool
		if d, ok = state.TaskDefinitions.Get(tx, s.definitionARN(family, revision)); !ok {
			return clientError(definitionDoesNotExist)
		}
		if d.Status == types.TaskDefinitionStatusActive {
			d.Status = types.TaskDefinitionStatusInactive
			d.DeregisteredAt = wire.Now(ctx)
			state.TaskDefinitions.Put(tx, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.DeregisterTaskDefinitionOutput{TaskDefinition: ptr(describeDefinition(d))}, nil
}

// DeleteTaskDefinitions asks for INACTIVE revisions to be forgotten. They are DELETE_IN_PROGRESS as long
// as something refers to them.
func (s *Server) DeleteTaskDefinitions(ctx context.Context, in *ecs.DeleteTaskDefinitionsInput) (*ecs.DeleteTaskDefinitionsOutput, error) {
	if err := atMost(maxDeletions, len(in.TaskDefinitions), "Task definitions"); err != nil {
		return nil, err
	}
	out := &ecs.DeleteTaskDefinitionsOutput{}
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		out.TaskDefinitions, out.Failures = []types.TaskDefinition{}, []types.Failure{}
		for _, ref := range in.TaskDefinitions {
			family, revision, err := s.definitionName(ref)
			if err != nil {
				return err
			}
			if revision == 0 {
				return invalid("Invalid revision number. Number: ")
			}
			arn := s.definitionARN(family, revision)
			d, ok := state.TaskDefinitions.Get(tx, arn)
			switch {
			case !ok:
				out.Failures = append(out.Failures, types.Failure{Arn: ptr(arn), Reason: ptr(definitionDoesNotExist)})
				continue
			case d.Status == types.TaskDefinitionStatusActive:
				out.Failures = append(out.Failures, types.Failure{Arn: ptr(arn),
					Reason: ptr("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")})
				continue
			case d.Status == types.TaskDefinitionStatusInactive:
				d.Status = types.TaskDefinitionStatusDeleteInProgress
				d.DeleteRequestedAt = wire.Now(ctx)
				state.TaskDefinitions.Put(tx, d)
			}
			out.TaskDefinitions = append(out.TaskDefinitions, describeDefinition(d))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
