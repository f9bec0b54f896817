package elbv2

import (
	"context"
	"slices"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

const (
	maxTags      = 50 // Tag your Application Load Balancer
	maxTaggedAll = 20 // resources of one call (AddTags, DescribeTags)
)

func tagMap(tags []types.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[*t.Key] = deref(t.Value)
	}
	return m
}

// mergeTags returns tags with added ones, which come in the place of those with the same keys.
func mergeTags(tags, added []types.Tag) ([]types.Tag, error) {
	tags = slices.Clone(tags)
	for i, a := range added {
		if strings.HasPrefix(strings.ToLower(*a.Key), "aws:") {
			return nil, invalid("Tag keys that begin with aws: are reserved for AWS use: %s", *a.Key)
		}
		same := func(t types.Tag) bool { return *t.Key == *a.Key }
		if slices.ContainsFunc(added[:i], same) {
			return nil, &types.DuplicateTagKeysException{Message: ptr("Tag key '" + *a.Key + "' was specified more than once")}
		}
		if a.Value == nil {
			a.Value = ptr("")
		}
		if at := slices.IndexFunc(tags, same); at >= 0 {
			tags[at] = a
		} else {
			tags = append(tags, a)
		}
	}
	if len(tags) > maxTags {
		return nil, &types.TooManyTagsException{Message: ptr("The quota for the number of tags that can be assigned to a resource has been reached")}
	}
	return tags, nil
}

// retag changes the tags of a resource of any kind; tags are only read when change is nil.
func (s *Server) retag(tx *state.Tx, r state.Source, arn string, change func([]types.Tag) ([]types.Tag, error)) (tags []types.Tag, err error) {
	apply := func(old []types.Tag) []types.Tag {
		tags = old
		if change != nil {
			tags, err = change(old)
		}
		return tags
	}
	kind, _, _ := strings.Cut(s.resource(arn), "/")
	switch kind {
	case "loadbalancer":
		b, ok := state.LoadBalancers.Get(r, arn)
		if !ok {
			return nil, balancerNotFound(arn)
		}
		if b.Tags = apply(b.Tags); err == nil && change != nil {
			state.LoadBalancers.Put(tx, b)
		}
	case "listener":
		l, ok := state.Listeners.Get(r, arn)
		if !ok {
			return nil, listenerNotFound(arn)
		}
		if l.Tags = apply(l.Tags); err == nil && change != nil {
			state.Listeners.Put(tx, l)
		}
	case "listener-rule":
		if _, ok := defaultRuleOf(s, r, arn); ok {
			return nil, unsupported("tags of a default rule", "it is a part of its listener, which can be tagged")
		}
		rule, ok := state.ListenerRules.Get(r, arn)
		if !ok {
			return nil, ruleNotFound(arn)
		}
		if rule.Tags = apply(rule.Tags); err == nil && change != nil {
			state.ListenerRules.Put(tx, rule)
		}
	case "targetgroup":
		g, ok := state.TargetGroups.Get(r, arn)
		if !ok {
			return nil, groupNotFound(arn)
		}
		if g.Tags = apply(g.Tags); err == nil && change != nil {
			state.TargetGroups.Put(tx, g)
		}
	default:
		return nil, invalid("'%s' is not a valid load balancer, target group, listener or rule ARN", arn)
	}
	return tags, err
}

// AddTags tags resources of any kind.
func (s *Server) AddTags(ctx context.Context, in *elb.AddTagsInput) (*elb.AddTagsOutput, error) {
	return nil, s.retagAll(ctx, in.ResourceArns, func(tags []types.Tag) ([]types.Tag, error) { return mergeTags(tags, in.Tags) })
}

// RemoveTags takes tags away from resources of any kind.
func (s *Server) RemoveTags(ctx context.Context, in *elb.RemoveTagsInput) (*elb.RemoveTagsOutput, error) {
	return nil, s.retagAll(ctx, in.ResourceArns, func(tags []types.Tag) ([]types.Tag, error) {
		return slices.DeleteFunc(slices.Clone(tags), func(t types.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) }), nil
	})
}

func (s *Server) retagAll(ctx context.Context, arns []string, change func([]types.Tag) ([]types.Tag, error)) error {
	if len(arns) > maxTaggedAll {
		return invalid("You can tag up to %d resources in a single call", maxTaggedAll)
	}
	return s.change(ctx, func(tx *state.Tx) error {
		for _, arn := range arns {
			if _, err := s.retag(tx, tx, arn, change); err != nil {
				return err
			}
		}
		return nil
	})
}

// DescribeTags tells the tags of resources of any kind, in the order of their keys.
func (s *Server) DescribeTags(_ context.Context, in *elb.DescribeTagsInput) (*elb.DescribeTagsOutput, error) {
	if err := atMost(maxTaggedAll, "resources", in.ResourceArns); err != nil {
		return nil, err
	}
	out := &elb.DescribeTagsOutput{TagDescriptions: []types.TagDescription{}}
	return out, s.view(func(r *state.Reader) error {
		for _, arn := range in.ResourceArns {
			tags := []types.Tag{}
			if _, ok := defaultRuleOf(s, r, arn); !ok { // which has none
				found, err := s.retag(nil, r, arn, nil)
				if err != nil {
					return err
				}
				tags = append(tags, found...)
			}
			slices.SortFunc(tags, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
			out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: ptr(arn), Tags: tags})
		}
		return nil
	})
}
