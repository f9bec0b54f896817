package logs

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logquery"
	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// What one call of FilterLogEvents looks at. A page may then have fewer events than it could, even none, and a token to
// go on, as in CloudWatch Logs.
const (
	maxSearched      = 200_000  // events
	maxSearchedBytes = 64 << 20 // of their messages
)

// FilterLogEvents searches the streams of a group, interleaved in chronological order; from the end with startFromHead
// false. interleaved says nothing, as with CloudWatch Logs, which deprecated it on June 17, 2019: "the value of this
// parameter is ignored", and what is found is always interleaved. searchedLogStreams is empty, as CloudWatch Logs has it
// since 2020.
func (s *Server) FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	if in.Unmask {
		return nil, unsupported("unmask")
	}
	pattern, err := filter(in.FilterPattern)
	if err != nil {
		return nil, err
	}
	var g state.LogGroup
	var chosen map[logstore.ID]string
	err = s.view(func(r *state.Reader) (err error) {
		if g, err = s.named(r, in.LogGroupName, in.LogGroupIdentifier); err != nil {
			return err
		}
		chosen, err = choose(r, g, in.LogStreamNames, in.LogStreamNamePrefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	q := logstore.Query{
		Group: stored(g.ID), Backward: in.StartFromHead != nil && !*in.StartFromHead,
		From: logstore.Since(max(deref(in.StartTime), g.Floor(wire.Now(ctx)).UnixMilli())), To: logstore.End,
	}
	if len(in.LogStreamNames) > 0 || in.LogStreamNamePrefix != nil {
		q.Streams = slices.AppendSeq(make([]logstore.ID, 0, len(chosen)), maps.Keys(chosen)) // not nil: that is all
	}
	if in.EndTime != nil {
		q.To = logstore.Since(*in.EndTime + 1) // the last time is in the range, unlike that of GetLogEvents
	}
	query := fingerprint(g.ID, in.FilterPattern, in.LogStreamNames, in.LogStreamNamePrefix, in.StartTime, in.EndTime, q.Backward)
	if in.NextToken != nil {
		at, ok := parseSearchToken(*in.NextToken, query)
		if !ok {
			return nil, invalid("The specified nextToken is invalid.")
		}
		if q.Backward {
			q.To = earlier(q.To, at)
		} else {
			q.From = later(q.From, at.Next())
		}
	}
	out := &cloudwatchlogs.FilterLogEventsOutput{Events: []types.FilteredLogEvent{}, SearchedLogStreams: []types.SearchedLogStream{}}
	search := search{limit: maxPageEvents, pattern: pattern}
	if in.Limit != nil {
		search.limit = int(*in.Limit)
	}
	for e, err := range s.Events.Events(ctx, q) {
		if err != nil {
			return nil, err
		}
		if search.full(e) {
			out.NextToken = searchToken(search.last, query)
			break
		}
		name, there := chosen[e.Stream] // it is not when the stream was deleted, and its events have not been forgotten yet
		if search.take(e) && there {
			out.Events = append(out.Events, types.FilteredLogEvent{
				EventId: ptr(eventID(e.Position)), LogStreamName: ptr(name),
				Timestamp: ptr(e.Time), IngestionTime: ptr(e.Ingested), Message: ptr(e.Message),
			})
		}
	}
	return out, nil
}

// search is one page of a search in the making.
type search struct {
	limit   int
	pattern logquery.Pattern

	last          logstore.Position // that was looked at
	looked, found int
	lookedBytes   int
	bytes         int // of what is found
}

// full says whether an event is not for this page.
func (s *search) full(e logstore.Event) bool {
	return s.found == s.limit || s.looked == maxSearched || s.looked > 0 && s.lookedBytes+len(e.Message) > maxSearchedBytes ||
		s.found > 0 && s.bytes+len(e.Message)+logstore.Overhead > maxPageBytes
}

// take looks at an event, and says whether it is on the page.
func (s *search) take(e logstore.Event) bool {
	s.last = e.Position
	s.looked++
	s.lookedBytes += len(e.Message)
	if !s.pattern.Match(e.Message) {
		return false
	}
	s.found++
	s.bytes += len(e.Message) + logstore.Overhead
	return true
}

// filter reads a filter pattern. None matches everything.
func filter(pattern *string) (logquery.Pattern, error) {
	parsed, err := logquery.ParsePattern(deref(pattern))
	if err != nil {
		return parsed, invalid("%v", err)
	}
	return parsed, nil
}

// TestMetricFilter says which messages a filter pattern matches, and what it finds in them.
func (s *Server) TestMetricFilter(_ context.Context, in *cloudwatchlogs.TestMetricFilterInput) (*cloudwatchlogs.TestMetricFilterOutput, error) {
	pattern, err := filter(in.FilterPattern)
	if err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.TestMetricFilterOutput{Matches: []types.MetricFilterMatchRecord{}}
	for i, message := range in.LogEventMessages {
		values, matches := pattern.Extract(message)
		if !matches {
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		out.Matches = append(out.Matches, types.MetricFilterMatchRecord{EventMessage: ptr(message), EventNumber: int64(i + 1), ExtractedValues: values})
	}
	return out, nil
}

// choose finds the streams of a group that a request names, with their names: all of it, when it names none.
func choose(r *state.Reader, g state.LogGroup, names []string, prefix *string) (map[logstore.ID]string, error) {
	if len(names) > 0 && prefix != nil {
		return nil, invalid("LogStreamNamePrefix and LogStreamNames are mutually exclusive parameters. Specify only one of them.")
	}
	chosen := map[logstore.ID]string{}
	for _, name := range names {
		st, err := stream(r, g, name)
		if err != nil {
			return nil, err
		}
		chosen[stored(st.ID)] = name
	}
	if len(names) > 0 {
		return chosen, nil
	}
	for st := range state.LogStreams.By(r, "group", g.ID) {
		if strings.HasPrefix(st.Name, deref(prefix)) {
			chosen[stored(st.ID)] = st.Name
		}
	}
	return chosen, nil
}
