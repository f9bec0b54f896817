package logs

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/state"
)

// The limits of tags (TagResource).
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags checks the keys and values of tags, which the model's table does not: it has rules for lists, not for maps.
func checkTags(tags map[string]string) error {
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > maxTagKey || !tagText.MatchString(key):
			return invalid("A tag key has 1 to %d letters, digits, spaces and characters of _.:/=+-@, which %q has not.", maxTagKey, key)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return invalid("Tag keys that begin with aws: are reserved for AWS use: %s", key)
		case utf8.RuneCountInString(value) > maxTagValue || !tagText.MatchString(value):
			return invalid("A tag value has at most %d letters, digits, spaces and characters of _.:/=+-@, which that of %q has not.", maxTagValue, key)
		}
	}
	return nil
}

func (s *Server) tag(ctx context.Context, identifier string, tags map[string]string, tooMany error) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.changeGroup(ctx, identifier, func(g *state.LogGroup) error {
		all := maps.Clone(g.Tags)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, tags)
		if len(all) > maxTags {
			return tooMany
		}
		g.Tags = all
		return nil
	})
}

func (s *Server) untag(ctx context.Context, identifier string, keys []string) error {
	return s.changeGroup(ctx, identifier, func(g *state.LogGroup) error {
		g.Tags = maps.Clone(g.Tags)
		for _, key := range keys {
			delete(g.Tags, key)
		}
		return nil
	})
}

func (s *Server) tags(identifier string) (map[string]string, error) {
	tags := map[string]string{}
	return tags, s.view(func(r *state.Reader) error {
		g, err := s.group(r, identifier)
		maps.Copy(tags, g.Tags)
		return err
	})
}

// tagged refuses an ARN of what Havn has no tags for.
func (s *Server) tagged(arn string) error {
	if !strings.HasPrefix(arn, s.groupARN("")) {
		return invalid("%s is not the ARN of a log group of account %s in %s.", arn, s.Account, s.Region)
	}
	return nil
}

// TagResource adds tags to a group, named by its ARN.
func (s *Server) TagResource(ctx context.Context, in *cloudwatchlogs.TagResourceInput) (*cloudwatchlogs.TagResourceOutput, error) {
	if err := s.tagged(*in.ResourceArn); err != nil {
		return nil, err
	}
	return nil, s.tag(ctx, *in.ResourceArn, in.Tags, &types.TooManyTagsException{
		Message: ptr("A resource can have no more than 50 tags."), ResourceName: in.ResourceArn,
	})
}

// UntagResource removes tags from a group; those that are not there are no error.
func (s *Server) UntagResource(ctx context.Context, in *cloudwatchlogs.UntagResourceInput) (*cloudwatchlogs.UntagResourceOutput, error) {
	if err := s.tagged(*in.ResourceArn); err != nil {
		return nil, err
	}
	return nil, s.untag(ctx, *in.ResourceArn, in.TagKeys)
}

// ListTagsForResource lists the tags of a group.
func (s *Server) ListTagsForResource(_ context.Context, in *cloudwatchlogs.ListTagsForResourceInput) (*cloudwatchlogs.ListTagsForResourceOutput, error) {
	if err := s.tagged(*in.ResourceArn); err != nil {
		return nil, err
	}
	tags, err := s.tags(*in.ResourceArn)
	return &cloudwatchlogs.ListTagsForResourceOutput{Tags: tags}, err
}

// TagLogGroup is TagResource as it was before, with the group's name.
//
//nolint:staticcheck // deprecated, and still called
func (s *Server) TagLogGroup(ctx context.Context, in *cloudwatchlogs.TagLogGroupInput) (*cloudwatchlogs.TagLogGroupOutput, error) {
	return nil, s.tag(ctx, *in.LogGroupName, in.Tags, invalid("A resource can have no more than 50 tags."))
}

// UntagLogGroup is UntagResource as it was before.
//
//nolint:staticcheck // deprecated, and still called
func (s *Server) UntagLogGroup(ctx context.Context, in *cloudwatchlogs.UntagLogGroupInput) (*cloudwatchlogs.UntagLogGroupOutput, error) {
	return nil, s.untag(ctx, *in.LogGroupName, in.Tags)
}

// ListTagsLogGroup is ListTagsForResource as it was before.
//
//nolint:staticcheck // deprecated, and still called
func (s *Server) ListTagsLogGroup(_ context.Context, in *cloudwatchlogs.ListTagsLogGroupInput) (*cloudwatchlogs.ListTagsLogGroupOutput, error) {
	tags, err := s.tags(*in.LogGroupName)
	return &cloudwatchlogs.ListTagsLogGroupOutput{Tags: tags}, err
}
