package acm

import (
	"context"
	"maps"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"havn/state"
)

const maxTags = 50 // AddTagsToCertificate

// mergeTags returns tags with added ones.
func mergeTags(tags map[string]string, added []types.Tag) (map[string]string, error) {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	for _, t := range added {
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, &types.InvalidTagException{Message: ptr("Tag keys that begin with aws: are reserved for AWS use: " + *t.Key)}
		}
		all[*t.Key] = deref(t.Value)
	}
	if len(all) > maxTags {
		return nil, &types.TooManyTagsException{Message: ptr("A certificate can have no more than 50 tags.")}
	}
	return all, nil
}

func (s *Server) retag(ctx context.Context, arn string, change func(map[string]string) (map[string]string, error)) error {
	return s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.certificate(tx, arn)
		if err != nil {
			return err
		}
		if c.Tags, err = change(c.Tags); err != nil {
			return err
		}
		state.Certificates.Put(tx, c)
		return nil
	})
}

func (s *Server) add(ctx context.Context, arn string, tags []types.Tag) error {
	return s.retag(ctx, arn, func(old map[string]string) (map[string]string, error) { return mergeTags(old, tags) })
}

func (s *Server) tags(arn string) ([]types.Tag, error) {
	tags := []types.Tag{}
	err := s.view(func(r *state.Reader) error {
		c, err := s.certificate(r, arn)
		for _, key := range slices.Sorted(maps.Keys(c.Tags)) {
			tags = append(tags, types.Tag{Key: ptr(key), Value: ptr(c.Tags[key])})
		}
		return err
	})
	return tags, err
}

// AddTagsToCertificate tags a certificate.
func (s *Server) AddTagsToCertificate(ctx context.Context, in *sdk.AddTagsToCertificateInput) (*sdk.AddTagsToCertificateOutput, error) {
	return nil, s.add(ctx, *in.CertificateArn, in.Tags)
}

// RemoveTagsFromCertificate takes tags away: those that have the value that is named, or any where none is.
func (s *Server) RemoveTagsFromCertificate(ctx context.Context, in *sdk.RemoveTagsFromCertificateInput) (*sdk.RemoveTagsFromCertificateOutput, error) {
	return nil, s.retag(ctx, *in.CertificateArn, func(old map[string]string) (map[string]string, error) {
		all := maps.Clone(old)
		for _, t := range in.Tags {
			if t.Value == nil || all[*t.Key] == *t.Value {
				delete(all, *t.Key)
			}
		}
		return all, nil
	})
}

// ListTagsForCertificate tells the tags.
func (s *Server) ListTagsForCertificate(_ context.Context, in *sdk.ListTagsForCertificateInput) (*sdk.ListTagsForCertificateOutput, error) {
	tags, err := s.tags(*in.CertificateArn)
	return &sdk.ListTagsForCertificateOutput{Tags: tags}, err
}

// TagResource is AddTagsToCertificate in the words of other APIs.
func (s *Server) TagResource(ctx context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	return nil, s.add(ctx, *in.ResourceArn, in.Tags)
}

// UntagResource takes tags away by their keys.
func (s *Server) UntagResource(ctx context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	return nil, s.retag(ctx, *in.ResourceArn, func(old map[string]string) (map[string]string, error) {
		all := maps.Clone(old)
		for _, key := range in.TagKeys {
			delete(all, key)
		}
		return all, nil
	})
}

// ListTagsForResource tells the tags.
func (s *Server) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	tags, err := s.tags(*in.ResourceArn)
	return &sdk.ListTagsForResourceOutput{Tags: tags}, err
}
