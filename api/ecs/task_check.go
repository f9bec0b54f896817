package ecs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/placement"
	"havn/state"
)

// The limits of a request to run tasks. API Reference, "RunTask".
const (
	maxClientToken = 64
	maxOverrides   = 8192 // characters of JSON, names and punctuation included
)

// taskGroup is the group that a task belongs to. Only a service may call a group its own, or a stranger's
// tasks would count as the service's.
func taskGroup(asked, family string) (string, error) {
	switch {
	case asked == "":
		return "family:" + family, nil
	case strings.HasPrefix(asked, "service:"):
		return "", invalid("Invalid namespace for group.")
	case utf8.RuneCountInString(asked) > maxGroup:
		return "", invalid("group must be at most %d characters.", maxGroup)
	}
	return asked, nil
}

// checkedOverrides are the overrides of a request, normalised like the task definition that they change.
func checkedOverrides(asked *types.TaskOverride, spec types.TaskDefinition) (types.TaskOverride, error) {
	if asked == nil {
		return types.TaskOverride{}, nil
	}
	if length, err := jsonLength(asked); err != nil {
		return types.TaskOverride{}, fmt.Errorf("cannot measure the overrides: %w", err)
	} else if length > maxOverrides {
		return types.TaskOverride{}, invalid("Container Overrides length must be at most %d", maxOverrides)
	}
	o := *asked
	var ok bool
	if o.Cpu != nil {
		if o.Cpu, ok = normalizeAmount(*o.Cpu, "vcpu", 1024); !ok || amount(o.Cpu) < minTaskCPU || amount(o.Cpu) > maxTaskCPU {
			return o, clientError("Invalid 'cpu' setting for task.")
		}
	}
	if o.Memory != nil {
		if o.Memory, ok = normalizeAmount(*o.Memory, "gb", 1024); !ok || amount(o.Memory) < minMemory {
			return o, clientError("Invalid 'memory' setting for task.")
		}
	}
	o.ContainerOverrides = slices.Clone(o.ContainerOverrides)
	for n := range o.ContainerOverrides {
		c := &o.ContainerOverrides[n]
		name := deref(c.Name)
		container := containerNamed(&spec, name)
		if container == nil {
			return o, invalid("Override for container named %s is not a container in the TaskDefinition.", name)
		}
		if slices.ContainsFunc(o.ContainerOverrides[:n], func(other types.ContainerOverride) bool { return deref(other.Name) == name }) {
			return o, invalid("Duplicate override for container named %s.", name)
		}
		// An empty list overrides nothing.
		if len(c.Command) == 0 {
			c.Command = nil
		}
		if len(c.Environment) == 0 {
			c.Environment = nil
		}
		if len(c.ResourceRequirements) == 0 {
			c.ResourceRequirements = nil
		}
		if slices.ContainsFunc(c.Environment, func(e types.KeyValuePair) bool { return deref(e.Name) == "" }) {
			return o, clientError("The environment variable name cannot be empty in container '%s'.", name)
		}
		if err := checkEnvironmentFiles(c.EnvironmentFiles, name); err != nil {
			return o, err
		}
		if err := checkNUL(&types.ContainerDefinition{Name: c.Name, Command: c.Command, Environment: c.Environment}); err != nil {
			return o, err
		}
	}
	if err := checkRoles(&types.TaskDefinition{ExecutionRoleArn: o.ExecutionRoleArn}); err != nil {
		return o, err
	}
	return o, checkOverriddenSize(o, spec)
}

// jsonLength is how many characters a value of the SDK's has on the wire.
func jsonLength(v any) (int, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	var tree any
	if err := json.Unmarshal(content, &tree); err != nil {
		return 0, err
	}
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err = e.Encode(compact(tree))
	return utf8.RuneCountInString(text.String()) - 1, err // without the line's end
}

// checkOverriddenSize checks the definition with the overrides' sizes in it, as if it were registered so.
func checkOverriddenSize(o types.TaskOverride, spec types.TaskDefinition) error {
	spec = state.Overridden(spec, o)
	for n := range spec.ContainerDefinitions {
		for _, check := range []func(*types.TaskDefinition, *types.ContainerDefinition) error{checkMemory, checkDevices} {
			if err := check(&spec, &spec.ContainerDefinitions[n]); err != nil {
				return err
			}
		}
	}
	return checkTaskSize(&spec)
}

// tagsFor works out the tags of the order's tasks: the request's, over those of the task definition where
// they are to be propagated, and ECS's own where it is to manage them. ECS's own do not count.
func (o order) tagsFor(asked []types.Tag, propagate types.PropagateTags) ([]types.Tag, error) {
	if err := checkTags(asked); err != nil {
		return nil, err
	}
	tags := asked
	switch propagate {
	case types.PropagateTagsTaskDefinition:
		tags = withTags(o.definition.Tags, asked)
	case types.PropagateTagsService:
		return nil, invalid("The SERVICE value for propagateTags is not supported for tasks that run outside of a service.")
	}
	if len(tags) > maxTags {
		return nil, invalid("The maximum number of tags for a resource is %d.", maxTags)
	}
	if o.managed {
		tags = withTags(tags, []types.Tag{{Key: ptr("aws:ecs:clusterName"), Value: ptr(o.cluster.Name)}})
	}
	return tags, nil
}

// seedOf is where the strategy random draws from: the id of the first task, which no two requests share.
func seedOf(asks []placement.Ask) uint64 {
	h := fnv.New64a()
	h.Write([]byte(asks[0].Task.ARN))
	return h.Sum64()
}

// clientToken finds what an earlier request with the same token made, or else returns the token's record as
// it is to be. The same token with another request is a conflict. API Reference, "Ensuring idempotency".
//
// A request that placed nothing leaves no token behind, so that trying again may succeed. The failures of one
// that placed a part are not told again.
func clientToken(tx *state.Tx, c state.Cluster, in *ecs.RunTaskInput, now time.Time) (token state.ClientToken, known bool, err error) {
	text := deref(in.ClientToken)
	if text == "" {
		return token, false, nil
	}
	if len(text) > maxClientToken || strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' }) {
		return token, false, invalid("clientToken must be at most %d printable ASCII characters.", maxClientToken)
	}
	rest := *in
	rest.ClientToken = nil
	content, err := json.Marshal(rest)
	if err != nil {
		return token, false, fmt.Errorf("cannot tell a request from others: %w", err)
	}
	sum := sha256.Sum256(content)
	made := state.ClientToken{Key: "RunTask|" + c.ARN + "|" + text, Fingerprint: hex.EncodeToString(sum[:]), CreatedAt: now}
	token, known = state.ClientTokens.Get(tx, made.Key)
	switch {
	case !known, now.Sub(token.CreatedAt) >= state.ClientTokenLife:
		return made, false, nil
	case token.Fingerprint != made.Fingerprint:
		return token, false, &types.ConflictException{
			Message:     ptr("The provided clientToken is already in use with a different RunTask request."),
			ResourceIds: token.TaskARNs,
		}
	}
	return token, true, nil
}
