package logs

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logquery"
	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// The limits of a live tail (StartLiveTail; "Live Tail" in the quotas of CloudWatch Logs).
const (
	maxTails      = 15 // at a time
	tailInterval  = time.Second
	maxTailEvents = 500 // an update; beyond that it is a sample
	maxTailTime   = 3 * time.Hour
)

// StartLiveTail shows what is appended to some groups from now on: an update a second, with what has come since the
// last.
func (s *Server) StartLiveTail(ctx context.Context, in *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[types.StartLiveTailResponseStream, error], error) {
	t := tail{server: s, in: in, session: wire.RequestID(ctx), groups: map[logstore.ID]string{}, streams: map[logstore.ID]tailed{}}
	var err error
	if t.pattern, err = filter(in.LogEventFilterPattern); err != nil {
		return nil, nil, err
	}
	if len(in.LogStreamNames) > 0 && len(in.LogStreamNamePrefixes) > 0 {
		return nil, nil, invalid("LogStreamNames and LogStreamNamePrefixes are mutually exclusive parameters. Specify only one of them.")
	}
	if len(in.LogGroupIdentifiers) > 1 && len(in.LogStreamNames)+len(in.LogStreamNamePrefixes) > 0 {
		return nil, nil, invalid("LogStreamNames and LogStreamNamePrefixes can be specified only with exactly one log group.")
	}
	err = s.view(func(r *state.Reader) error {
		for _, identifier := range in.LogGroupIdentifiers {
			g, err := s.group(r, identifier)
			if err != nil {
				return err
			}
			t.groups[stored(g.ID)] = s.groupARN(g.Name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if len(s.tails) == cap(s.tails) {
		return nil, nil, tooManyTails()
	}
	return nil, func(yield func(types.StartLiveTailResponseStream, error) bool) {
		select {
		case s.tails <- struct{}{}:
			defer func() { <-s.tails }()
			t.run(ctx, yield)
		default:
			yield(nil, tooManyTails())
		}
	}, nil
}

func tooManyTails() error {
	return &types.LimitExceededException{Message: ptr("There are 15 Live Tail sessions, which is the limit.")}
}

// tail is one session.
type tail struct {
	server  *Server
	in      *cloudwatchlogs.StartLiveTailInput
	session string
	pattern logquery.Pattern
	groups  map[logstore.ID]string // their ARNs
	streams map[logstore.ID]tailed // those that were seen

	results []types.LiveTailSessionLogEvent
	sampled bool
}

// tailed is a stream in a session.
type tailed struct {
	name   string
	wanted bool
}

// run ends when the caller has gone, the time is up, or the server ends.
func (t *tail) run(ctx context.Context, yield func(types.StartLiveTailResponseStream, error) bool) {
	var groups []logstore.ID
	for id := range t.groups {
		groups = append(groups, id)
	}
	watch := t.server.Events.Watch(groups...)
	defer watch.Stop()
	start := &types.StartLiveTailResponseStreamMemberSessionStart{Value: types.LiveTailSessionStart{
		RequestId: &t.session, SessionId: &t.session, LogGroupIdentifiers: t.in.LogGroupIdentifiers,
		LogStreamNames: t.in.LogStreamNames, LogStreamNamePrefixes: t.in.LogStreamNamePrefixes,
		LogEventFilterPattern: t.in.LogEventFilterPattern,
	}}
	if !yield(start, nil) {
		return
	}
	update := time.NewTicker(tailInterval)
	defer update.Stop()
	end := time.NewTimer(maxTailTime)
	defer end.Stop()
	for {
		select {
		case <-watch.Ready:
			appended, missed := watch.Take()
			t.sampled = t.sampled || missed > 0
			for _, a := range appended {
				t.take(a)
			}
		case <-update.C:
			if !yield(t.update(), nil) {
				return
			}
		case <-end.C:
			yield(nil, &types.SessionTimeoutException{Message: ptr("The session has run for three hours, which is the limit.")})
			return
		case <-t.server.ending:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (t *tail) take(a logstore.Appended) {
	for _, e := range a.Events {
		from := t.stream(e.Stream)
		if !from.wanted || !t.pattern.Match(e.Message) {
			continue
		}
		if len(t.results) == maxTailEvents {
			t.sampled = true
			continue
		}
		t.results = append(t.results, types.LiveTailSessionLogEvent{
			LogGroupIdentifier: ptr(t.groups[a.Group]), LogStreamName: ptr(from.name),
			Timestamp: ptr(e.Time), IngestionTime: ptr(e.Ingested), Message: ptr(e.Message),
		})
	}
}

func (t *tail) update() types.StartLiveTailResponseStream {
	u := &types.StartLiveTailResponseStreamMemberSessionUpdate{Value: types.LiveTailSessionUpdate{
		SessionMetadata: &types.LiveTailSessionMetadata{Sampled: t.sampled}, SessionResults: t.results,
	}}
	if u.Value.SessionResults == nil {
		u.Value.SessionResults = []types.LiveTailSessionLogEvent{}
	}
	t.results, t.sampled = nil, false
	return u
}

// stream looks a stream up when it is first seen.
func (t *tail) stream(id logstore.ID) tailed {
	if known, ok := t.streams[id]; ok {
		return known
	}
	var found tailed
	t.server.Store.View(func(r *state.Reader) {
		for st := range state.LogStreams.By(r, "id", id.String()) {
			found = tailed{st.Name, t.wants(st.Name)}
		}
	})
	t.streams[id] = found
	return found
}

func (t *tail) wants(stream string) bool {
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(stream, prefix) }
	switch {
	case len(t.in.LogStreamNames) > 0:
		return slices.Contains(t.in.LogStreamNames, stream)
	case len(t.in.LogStreamNamePrefixes) > 0:
		return slices.ContainsFunc(t.in.LogStreamNamePrefixes, hasPrefix)
	}
	return true
}
