package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
)

// maxTags is how many tags a resource may have.
const maxTags = 50

// checkTags checks the tags of one request. Lengths and characters are the model's to check.
func checkTags(tags []types.Tag) error {
	if len(tags) > maxTags {
		return invalid("The maximum number of tags for a resource is %d.", maxTags)
	}
	for i, t := range tags {
		key := deref(t.Key)
		if key == "" {
			return invalid("Tag key can not be null or empty.")
		}
		if err := checkTagKey(key); err != nil {
			return err
		}
		if slices.ContainsFunc(tags[:i], func(o types.Tag) bool { return deref(o.Key) == key }) {
			return invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
	}
	return nil
}

func checkTagKey(key string) error {
	if strings.HasPrefix(strings.ToLower(key), "aws:") {
		return invalid("Tag keys that begin with aws: are reserved for AWS use: %s", key)
	}
	return nil
}

// withTags are the old tags with the new ones put in: a known key gets its new value in its old place.
func withTags(old, put []types.Tag) []types.Tag {
	tags := slices.Clone(old)
	for _, t := range put {
		at := slices.IndexFunc(tags, func(o types.Tag) bool { return deref(o.Key) == deref(t.Key) })
		if at < 0 {
			tags = append(tags, t)
		} else {
			tags[at] = t
		}
	}
	return tags
}

func withoutTags(old []types.Tag, keys []string) []types.Tag {
	return slices.DeleteFunc(slices.Clone(old), func(t types.Tag) bool { return slices.Contains(keys, deref(t.Key)) })
}

// TagResource adds tags to a resource.
func (s *Server) TagResource(ctx context.Context, in *ecs.TagResourceInput) (*ecs.TagResourceOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &ecs.TagResourceOutput{}, s.Store.Update(ctx, func(tx *state.Tx) error {
		r, err := s.tagged(tx, deref(in.ResourceArn))
		if err != nil {
			return err
		}
		tags := withTags(r.tags, in.Tags)
		if len(tags) > maxTags {
			return limitExceeded("The maximum number of tags for a resource is %d.", maxTags)
		}
		r.put(tx, tags)
		return nil
	})
}

// UntagResource removes the tags with the keys named; those that are not there are no error.
func (s *Server) UntagResource(ctx context.Context, in *ecs.UntagResourceInput) (*ecs.UntagResourceOutput, error) {
	for _, key := range in.TagKeys {
		if err := checkTagKey(key); err != nil {
			return nil, err
		}
	}
	return &ecs.UntagResourceOutput{}, s.Store.Update(ctx, func(tx *state.Tx) error {
		r, err := s.tagged(tx, deref(in.ResourceArn))
		if err != nil {
			return err
		}
		r.put(tx, withoutTags(r.tags, in.TagKeys))
		return nil
	})
}

// ListTagsForResource lists the tags of a resource.
func (s *Server) ListTagsForResource(ctx context.Context, in *ecs.ListTagsForResourceInput) (*ecs.ListTagsForResourceOutput, error) {
	out := &ecs.ListTagsForResourceOutput{}
	return out, s.view(func(r *state.Reader) error {
		t, err := s.tagged(r, deref(in.ResourceArn))
		if err != nil {
			return err
		}
		out.Tags = listed(t.tags)
		return nil
	})
}

// taggedResource is a resource seen as what tags are on.
type taggedResource struct {
	tags []types.Tag
	put  func(*state.Tx, []types.Tag)
}

// tagged finds what an ARN names. Only full ARNs are accepted here.
func (s *Server) tagged(src state.Source, ref string) (taggedResource, error) {
	a, err := s.ours(ref, kindCluster, kindTask, kindInstance, kindDefinition, kindService, kindProvider, kindTaskSet)
	if err != nil {
		return taggedResource{}, err
	}
	if a.Kind == kindTask || a.Kind == kindInstance || a.Kind == kindService {
		name, _, long := strings.Cut(a.Rest, "/")
		if !long {
			return taggedResource{}, invalid("Long arn format must be used for tagging operations")
		}
		if _, err := s.cluster(src, &name); err != nil {
			return taggedResource{}, err
		}
	}
	switch a.Kind {
	case kindCluster:
		c, ok := state.Clusters.Get(src, ref)
		if !ok {
			return taggedResource{}, clusterNotFound()
		}
		if c.Status != statusActive {
			return taggedResource{}, invalid("The specified cluster is inactive. Specify an active cluster and try again.")
		}
		return taggedResource{c.Tags, func(tx *state.Tx, tags []types.Tag) {
			c.Tags = tags
			state.Clusters.Put(tx, c)
		}}, nil
	case kindTaskSet:
		set, ok := state.TaskSets.Get(src, ref)
		if !ok {
			return taggedResource{}, taskSetNotFound()
		}
		return taggedResource{set.Tags, func(tx *state.Tx, tags []types.Tag) {
			set.Tags = tags
			state.TaskSets.Put(tx, set)
		}}, nil
	case kindProvider:
		p, ok := state.CapacityProviders.Get(src, ref)
		if !ok {
			return taggedResource{}, resourceNotFound("The specified capacity provider was not found: %s", ref)
		}
		return taggedResource{p.Tags, func(tx *state.Tx, tags []types.Tag) {
			p.Tags = tags
			state.CapacityProviders.Put(tx, p)
		}}, nil
	case kindTask:
		t, ok := state.Tasks.Get(src, ref)
		if !ok {
			return taggedResource{}, resourceNotFound("The specified task was not found: %s", ref)
		}
		if t.Last == lifecycle.Stopped {
			return taggedResource{}, invalid("The specified task is stopped. Specify a running task and try again.")
		}
		return taggedResource{t.Tags, func(tx *state.Tx, tags []types.Tag) {
			t.Tags = tags
			t.Version++
			state.Tasks.Put(tx, t)
		}}, nil
	case kindInstance:
		i, ok := state.Instances.Get(src, ref)
		if !ok || i.Status == statusInactive {
			return taggedResource{}, resourceNotFound("The specified container instance was not found: %s", ref)
		}
		return taggedResource{i.Tags, func(tx *state.Tx, tags []types.Tag) {
			i.Tags = tags
			i.Version++
			state.Instances.Put(tx, i)
		}}, nil
	case kindDefinition:
		d, ok := state.TaskDefinitions.Get(src, ref)
		if !ok {
			return taggedResource{}, resourceNotFound("The specified task definition does not exist: %s", ref)
		}
		return taggedResource{d.Tags, func(tx *state.Tx, tags []types.Tag) {
			d.Tags = tags
			state.TaskDefinitions.Put(tx, d)
		}}, nil
	}
	service, ok := state.Services.Get(src, ref)
	if !ok || service.Status == statusInactive {
		return taggedResource{}, resourceNotFound("The specified service was not found: %s", ref)
	}
	return taggedResource{service.Tags, func(tx *state.Tx, tags []types.Tag) {
		service.Tags = tags
		state.Services.Put(tx, service)
	}}, nil
}
