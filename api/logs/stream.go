package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// CreateLogStream makes an empty stream.
func (s *Server) CreateLogStream(ctx context.Context, in *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	return nil, s.Store.Update(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.LogGroupName)
		if err != nil {
			return err
		}
		if _, ok := state.LogStreams.Get(tx, state.LogStreamKey(g.ID, *in.LogStreamName)); ok {
			return exists("log stream")
		}
		state.LogStreams.Put(tx, state.LogStream{Name: *in.LogStreamName, ID: tx.NewID(), GroupID: g.ID, CreatedAt: wire.Now(ctx)})
		return nil
	})
}

// DeleteLogStream deletes a stream with its events.
func (s *Server) DeleteLogStream(ctx context.Context, in *cloudwatchlogs.DeleteLogStreamInput) (*cloudwatchlogs.DeleteLogStreamOutput, error) {
	return nil, s.Store.Update(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.LogGroupName)
		if err != nil {
			return err
		}
		st, err := stream(tx, g, *in.LogStreamName)
		if err != nil {
			return err
		}
		state.LogStreams.Delete(tx, state.LogStreamKey(g.ID, st.Name))
		return nil
	})
}

// DescribeLogStreams describes the streams of a group, in the order of their names or of their last events.
func (s *Server) DescribeLogStreams(ctx context.Context, in *cloudwatchlogs.DescribeLogStreamsInput) (*cloudwatchlogs.DescribeLogStreamsOutput, error) {
	prefix, descending := deref(in.LogStreamNamePrefix), deref(in.Descending)
	byTime := in.OrderBy == types.OrderByLastEventTime
	if byTime && prefix != "" {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	var g state.LogGroup
	var streams []state.LogStream
	err := s.view(func(r *state.Reader) (err error) {
		if g, err = s.named(r, in.LogGroupName, in.LogGroupIdentifier); err != nil {
			return err
		}
		for st := range state.LogStreams.By(r, "group", g.ID) {
			if strings.HasPrefix(st.Name, prefix) {
				streams = append(streams, st)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	key := func(st state.LogStream) string { return st.Name }
	if byTime {
		summaries, err := s.Events.Summaries(ctx, stored(g.ID))
		if err != nil {
			return nil, err
		}
		key = func(st state.LogStream) string {
			return fmt.Sprintf("%020d|%s", summaries[stored(st.ID)].Last, st.Name)
		}
	}
	slices.SortFunc(streams, func(a, b state.LogStream) int { return cmp.Compare(key(a), key(b)) })
	described, token, err := pageOf(streams, key, descending, in.Limit, in.NextToken, fingerprint(g.ID, prefix, in.OrderBy, descending))
	if err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.DescribeLogStreamsOutput{LogStreams: []types.LogStream{}, NextToken: token}
	for _, st := range described {
		sum, err := s.Events.Summary(stored(g.ID), stored(st.ID))
		if err != nil {
			return nil, err
		}
		out.LogStreams = append(out.LogStreams, s.describeStream(g, st, sum))
	}
	return out, nil
}

// pageOf is a page of items that are sorted by their keys, from either end.
func pageOf[T any](items []T, key func(T) string, descending bool, limit *int32, token *string, query uint64) ([]T, *string, error) {
	p, err := newPager[T](limit, describeLimit, token, query)
	if err != nil {
		return nil, nil, err
	}
	if descending {
		slices.Reverse(items)
		p.reversed = true
	}
	for _, item := range items {
		if !p.offer(key(item), func() T { return item }) {
			break
		}
	}
	return p.items, p.token(), nil
}

func (s *Server) describeStream(g state.LogGroup, st state.LogStream, sum logstore.Summary) types.LogStream {
	described := types.LogStream{
		LogStreamName: ptr(st.Name), Arn: ptr(s.streamARN(g.Name, st.Name)), CreationTime: milliseconds(st.CreatedAt),
		StoredBytes: ptr(int64(0)), // since 2019 CloudWatch Logs has zero here, and the bytes at the group
	}
	if sum.Events > 0 {
		described.FirstEventTimestamp, described.LastEventTimestamp = ptr(sum.First), ptr(sum.Last)
	}
	if sum.Ingested > 0 {
		described.LastIngestionTime = ptr(sum.Ingested)
	}
	return described
}
