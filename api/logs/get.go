package logs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// The limits of a page of events (GetLogEvents, FilterLogEvents).
const (
	maxPageEvents = 10_000
	maxPageBytes  = 1 << 20
)

// GetLogEvents reads one stream, in either direction; a page is in chronological order always. At the end it gives
// back the token that it was given, and the same token shows what has come since.
func (s *Server) GetLogEvents(ctx context.Context, in *cloudwatchlogs.GetLogEventsInput) (*cloudwatchlogs.GetLogEventsOutput, error) {
	var g state.LogGroup
	var st state.LogStream
	err := s.view(func(r *state.Reader) (err error) {
		if g, err = s.named(r, in.LogGroupName, in.LogGroupIdentifier); err == nil {
			st, err = stream(r, g, *in.LogStreamName)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if in.Unmask {
		return nil, unsupported("unmask")
	}
	q := logstore.Query{
		Group: stored(g.ID), Streams: []logstore.ID{stored(st.ID)}, Backward: !deref(in.StartFromHead),
		From: logstore.Since(max(deref(in.StartTime), g.Floor(wire.Now(ctx)).UnixMilli())), To: logstore.End,
	}
	if in.EndTime != nil {
		q.To = logstore.Since(*in.EndTime)
	}
	// Where the tokens of an empty page stand: what is in the range and comes later is after it.
	start := q.From
	if in.NextToken != nil {
		at, forward, ok := parseToken(*in.NextToken)
		if !ok {
			return nil, invalid("The specified nextToken is invalid.")
		}
		start = at
		if q.Backward = !forward; forward {
			q.From = later(q.From, at.Next())
		} else {
			q.To = earlier(q.To, at)
		}
	}
	limit := maxPageEvents
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	page, err := s.readPage(ctx, q, limit)
	if err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.GetLogEventsOutput{
		Events: make([]types.OutputLogEvent, len(page)), NextForwardToken: forwardToken(start), NextBackwardToken: backwardToken(start),
	}
	for i, e := range page {
		out.Events[i] = types.OutputLogEvent{Timestamp: ptr(e.Time), IngestionTime: ptr(e.Ingested), Message: ptr(e.Message)}
	}
	if len(page) > 0 {
		out.NextForwardToken, out.NextBackwardToken = forwardToken(page[len(page)-1].Position), backwardToken(page[0].Position)
	}
	return out, nil
}

// readPage reads up to a page of events, and returns them in chronological order.
func (s *Server) readPage(ctx context.Context, q logstore.Query, limit int) ([]logstore.Event, error) {
	var page []logstore.Event
	bytes := 0
	for e, err := range s.Events.Events(ctx, q) {
		if err != nil {
			return nil, err
		}
		if bytes += len(e.Message) + logstore.Overhead; bytes > maxPageBytes && len(page) > 0 {
			break
		}
		if page = append(page, e); len(page) == limit {
			break
		}
	}
	if q.Backward {
		slices.Reverse(page)
	}
	return page, nil
}

func later(a, b logstore.Position) logstore.Position {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b logstore.Position) logstore.Position {
	if a.Before(b) {
		return a
	}
	return b
}
