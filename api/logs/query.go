package logs

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/google/uuid"

	"havn/logquery"
	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// maxQueriedGroups is how many groups one query may read ("CloudWatch Logs quotas": Queried log groups).
const maxQueriedGroups = 50

// StartQuery begins a query in the Insights query language. It runs on its own; GetQueryResults shows how it is and
// what came out. Queries are not state: they are gone when the server is.
func (s *Server) StartQuery(ctx context.Context, in *cloudwatchlogs.StartQueryInput) (*cloudwatchlogs.StartQueryOutput, error) {
	if in.QueryLanguage != "" && in.QueryLanguage != types.QueryLanguageCwli {
		return nil, unsupported("the query language " + string(in.QueryLanguage))
	}
	parsed, err := logquery.ParseQuery(*in.QueryString)
	if err != nil {
		return nil, malformed(err)
	}
	if deref(in.Limit) > logquery.MaxRows {
		return nil, unsupported(fmt.Sprintf("a limit of more than %d rows", logquery.MaxRows))
	}
	from, to := *in.StartTime, *in.EndTime // in seconds, and both in the range
	if from < 0 || to < from || to > maxQueryEnd {
		return nil, invalid("The query's start time must not be negative, nor be after its end time.")
	}
	q := &query{
		id: uuid.NewString(), created: now(ctx), parsed: parsed,
		options: logquery.Options{Now: wire.Now(ctx), Start: time.Unix(from, 0), End: time.UnixMilli(to*1000 + 999), Limit: int(deref(in.Limit))},
	}
	var read queryRange
	err = s.view(func(r *state.Reader) error {
		groups, err := s.queried(r, in)
		for _, g := range groups {
			read.add(r, g, s.Account+":"+g.Name, wire.Now(ctx))
			q.groups = append(q.groups, g.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	q.text = fmt.Sprintf("SOURCE %q START=%d000 END=%d999 | %s", q.groups[0], from, to, *in.QueryString)
	if len(q.groups) > 1 {
		q.text = *in.QueryString
	}
	q.options.Pointer = read.pointer
	q.events = func(ctx context.Context) iter.Seq2[logquery.Event, error] {
		return read.events(ctx, s.Events, q.options)
	}
	if err := s.queries.start(q); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.StartQueryOutput{QueryId: &q.id}, nil
}

// maxQueryEnd is the last time of the year 9999.
const maxQueryEnd = 253402300799

func malformed(err error) error {
	wrong, ok := errors.AsType[*logquery.QueryError](err)
	if !ok {
		return err
	}
	start, end := wrong.CharOffsets()
	return &types.MalformedQueryException{Message: ptr(err.Error()), QueryCompileError: &types.QueryCompileError{
		Message: ptr(err.Error()), Location: &types.QueryCompileErrorLocation{StartCharOffset: ptr(int32(start)), EndCharOffset: ptr(int32(end))},
	}}
}

// queried finds the groups that a query names, each once.
func (s *Server) queried(r *state.Reader, in *cloudwatchlogs.StartQueryInput) ([]state.LogGroup, error) {
	named := slices.Concat(in.LogGroupNames, in.LogGroupIdentifiers)
	ways := min(len(in.LogGroupNames), 1) + min(len(in.LogGroupIdentifiers), 1)
	if in.LogGroupName != nil {
		named = append(named, *in.LogGroupName)
		ways++
	}
	switch {
	case ways != 1:
		return nil, invalid("Specify the log groups to query with exactly one of logGroupName, logGroupNames and logGroupIdentifiers.")
	case len(named) > maxQueriedGroups:
		return nil, invalid("A query reads at most %d log groups.", maxQueriedGroups)
	}
	var found []state.LogGroup
	for _, name := range named {
		g, err := s.group(r, name)
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			return nil, &types.ResourceNotFoundException{Message: ptr(fmt.Sprintf("Log group '%s' does not exist for account ID '%s'", name, s.Account))}
		}
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(found, func(f state.LogGroup) bool { return f.ID == g.ID }) {
			found = append(found, g)
		}
	}
	return found, nil
}

// queryRange is what a query reads: some groups, and their streams as they were when it began.
type queryRange struct {
	groups  []queriedGroup
	streams []queriedStream // Event.Source of package logquery is a place here
}

type queriedGroup struct {
	id      logstore.ID
	log     string // @log
	floor   int64
	streams map[logstore.ID]int // places
}

type queriedStream struct {
	name      string
	group, id logstore.ID
}

func (q *queryRange) add(r *state.Reader, g state.LogGroup, log string, now time.Time) {
	group := queriedGroup{stored(g.ID), log, g.Floor(now).UnixMilli(), map[logstore.ID]int{}}
	for st := range state.LogStreams.By(r, "group", g.ID) {
		group.streams[stored(st.ID)] = len(q.streams)
		q.streams = append(q.streams, queriedStream{st.Name, group.id, stored(st.ID)})
	}
	q.groups = append(q.groups, group)
}

// events are those of the range, of each group the latest first: so a query that shows the newest does not keep what
// it lets go again.
func (q *queryRange) events(ctx context.Context, store *logstore.Store, o logquery.Options) iter.Seq2[logquery.Event, error] {
	return func(yield func(logquery.Event, error) bool) {
		for _, g := range q.groups {
			read := logstore.Query{
				Group: g.id, Backward: true,
				From: logstore.Since(max(o.Start.UnixMilli(), g.floor)), To: logstore.Since(o.End.UnixMilli() + 1),
			}
			for e, err := range store.Events(ctx, read) {
				at, there := g.streams[e.Stream]
				if err == nil && !there { // the stream was deleted, or is newer than the query
					continue
				}
				event := logquery.Event{Timestamp: e.Time, IngestionTime: e.Ingested, Message: e.Message, Log: g.log, Source: at, Number: e.Number}
				if err == nil {
					event.LogStream = q.streams[at].name
				}
				if !yield(event, err) || err != nil {
					return
				}
			}
		}
	}
}

// pointer is an event's @ptr: where it is in the store.
func (q *queryRange) pointer(e logquery.Event) string {
	st := q.streams[e.Source]
	b := append(st.group[:], st.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Timestamp))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, e.Number))
}

func parsePointer(text string) (group, stream logstore.ID, at logstore.Position, ok bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != 48 || b[32] > 127 {
		return group, stream, at, false
	}
	at = logstore.Position{Time: int64(binary.BigEndian.Uint64(b[32:])), Number: binary.BigEndian.Uint64(b[40:])}
	return logstore.ID(b[:16]), logstore.ID(b[16:32]), at, true
}

// GetLogRecord shows one event with all its fields, those that are found in its message among them.
func (s *Server) GetLogRecord(ctx context.Context, in *cloudwatchlogs.GetLogRecordInput) (*cloudwatchlogs.GetLogRecordOutput, error) {
	if in.Unmask {
		return nil, unsupported("unmask")
	}
	groupID, streamID, at, ok := parsePointer(*in.LogRecordPointer)
	if !ok {
		return nil, invalid("The specified logRecordPointer is invalid.")
	}
	var g state.LogGroup
	var st state.LogStream
	s.Store.View(func(r *state.Reader) {
		for g = range state.LogGroups.By(r, "id", groupID.String()) {
		}
		for st = range state.LogStreams.By(r, "id", streamID.String()) {
		}
	})
	notFound := &types.ResourceNotFoundException{Message: ptr("The specified log record does not exist.")}
	if g.ID == "" || st.GroupID != g.ID || at.Time < g.Floor(wire.Now(ctx)).UnixMilli() {
		return nil, notFound
	}
	for e, err := range s.Events.Events(ctx, logstore.Query{Group: groupID, Streams: []logstore.ID{streamID}, From: at, To: at.Next()}) {
		if err != nil {
			return nil, err
		}
		record := map[string]string{}
		for _, f := range logquery.Discover(e.Message) {
			record[f.Name] = f.Value
		}
		record["@ptr"], record["@message"], record["@logStream"], record["@log"] = *in.LogRecordPointer, e.Message, st.Name, s.Account+":"+g.Name
		record["@timestamp"], record["@ingestionTime"] = strconv.FormatInt(e.Time, 10), strconv.FormatInt(e.Ingested, 10)
		return &cloudwatchlogs.GetLogRecordOutput{LogRecord: record}, nil
	}
	return nil, notFound
}
