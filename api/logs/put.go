package logs

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// The limits of a batch (PutLogEvents). How many events it has is the model's to check.
const (
	maxBatch = logstore.MaxAppendBytes // bytes of messages, and logstore.Overhead for each event
	maxSpan  = 24 * time.Hour
	maxAge   = 14 * 24 * time.Hour
	maxAhead = 2 * time.Hour
)

// PutLogEvents stores events, and answers when they are durable. Sequence tokens are no longer needed, as in
// CloudWatch Logs: one that is given is not looked at, and none is returned.
func (s *Server) PutLogEvents(ctx context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
	var g state.LogGroup
	var st state.LogStream
	err := s.view(func(r *state.Reader) (err error) {
		if g, err = s.group(r, *in.LogGroupName); err == nil {
			st, err = stream(r, g, *in.LogStreamName)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkBatch(in.LogEvents); err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.PutLogEventsOutput{}
	if in.Entity != nil { // said in CloudWatch Logs' own way: the events are taken all the same
		out.RejectedEntityInfo = &types.RejectedEntityInfo{ErrorType: types.EntityRejectionErrorTypeUnsupportedLogGroupType}
	}
	var taken []types.InputLogEvent
	taken, out.RejectedLogEventsInfo = accept(in.LogEvents, g.Floor(wire.Now(ctx)).UnixMilli(), wire.Now(ctx))
	entries := make([]logstore.Entry, len(taken))
	for i, e := range taken {
		entries[i] = logstore.Entry{Time: *e.Timestamp, Message: *e.Message}
	}
	err = s.Events.Append(ctx, stored(g.ID), stored(st.ID), now(ctx), entries)
	if errors.Is(err, logstore.ErrDiskFull) {
		return nil, unavailable(err)
	}
	return out, err
}

// checkBatch refuses a batch as a whole. It looks at what the client sent, whatever becomes of it.
func checkBatch(events []types.InputLogEvent) error {
	bytes := 0
	for i, e := range events {
		bytes += len(*e.Message) + logstore.Overhead
		if i > 0 && *e.Timestamp < *events[i-1].Timestamp {
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if bytes > maxBatch {
		return invalid("Upload too large: %d bytes exceeds limit of %d", bytes, maxBatch)
	}
	if *events[len(events)-1].Timestamp-*events[0].Timestamp > maxSpan.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}

// accept cuts what is too old and too new off a batch in chronological order, and says where. The ends of what is too
// old and expired are the indexes of the first events after it, so they are numbers of events too.
func accept(events []types.InputLogEvent, floor int64, now time.Time) ([]types.InputLogEvent, *types.RejectedLogEventsInfo) {
	oldest, newest := now.Add(-maxAge).UnixMilli(), now.Add(maxAhead).UnixMilli()
	var tooOld, expired, end int
	for _, e := range events {
		at := *e.Timestamp
		if at < oldest {
			tooOld++
		}
		if at < oldest || at < floor {
			expired++
		}
		if at <= newest {
			end++
		}
	}
	var info types.RejectedLogEventsInfo
	if tooOld > 0 {
		info.TooOldLogEventEndIndex = ptr(int32(tooOld))
	}
	if expired > tooOld {
		info.ExpiredLogEventEndIndex = ptr(int32(expired))
	}
	if end < len(events) {
		info.TooNewLogEventStartIndex = ptr(int32(end))
	}
	if info == (types.RejectedLogEventsInfo{}) {
		return events, nil
	}
	return events[min(expired, end):end], &info
}
