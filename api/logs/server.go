package logs

import (
	"context"
	"sync"
	"time"

	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// Config is what a Server needs to know of the world.
type Config struct {
	Store  *state.Store
	Events *logstore.Store

	Region  string
	Account string
}

// Server answers the operations of the CloudWatch Logs API. Its methods are the handlers.
type Server struct {
	Config

	queries *queries
	tails   chan struct{} // a place for each live tail
	ending  chan struct{} // closed when live tails are to end
	endOnce sync.Once
}

// NewServer returns a Server.
func NewServer(c Config) *Server {
	return &Server{Config: c, queries: newQueries(), tails: make(chan struct{}, maxTails), ending: make(chan struct{})}
}

// maxBody is enough for the largest PutLogEvents: a megabyte of text that JSON writes with six bytes for each, and the
// frame around 10,000 events.
const maxBody = 8 << 20

// API returns CloudWatch Logs as wire serves it, with a handler for each operation that Havn does.
func (s *Server) API() *wire.API {
	api := &wire.API{
		Name:       "logs",
		Dialect:    wire.AWSJSON,
		Target:     "Logs_20140328",
		BodyLimit:  maxBody,
		Operations: operations,
		Shapes:     shapes,
		// As ECS does: input that the model forbids is an invalid parameter.
		ValidationCode: "InvalidParameterException",
	}
	s.Register(api)
	return api
}

// Register adds a handler for each operation that Havn does.
func (s *Server) Register(api *wire.API) {
	wire.Handle(api, s.CreateLogGroup)
	wire.Handle(api, s.DescribeLogGroups)
	wire.Handle(api, s.ListLogGroups)
	wire.Handle(api, s.DeleteLogGroup)
	wire.Handle(api, s.PutLogGroupDeletionProtection)
	wire.Handle(api, s.PutRetentionPolicy)
	wire.Handle(api, s.DeleteRetentionPolicy)

	wire.Handle(api, s.CreateLogStream)
	wire.Handle(api, s.DescribeLogStreams)
	wire.Handle(api, s.DeleteLogStream)

	wire.Handle(api, s.PutLogEvents)
	wire.Handle(api, s.GetLogEvents)
	wire.Handle(api, s.FilterLogEvents)
	wire.Handle(api, s.TestMetricFilter)
	wire.HandleStream(api, s.StartLiveTail)

	wire.Handle(api, s.StartQuery)
	wire.Handle(api, s.GetQueryResults)
	wire.Handle(api, s.StopQuery)
	wire.Handle(api, s.DescribeQueries)
	wire.Handle(api, s.GetLogRecord)

	wire.Handle(api, s.TagResource)
	wire.Handle(api, s.UntagResource)
	wire.Handle(api, s.ListTagsForResource)
	wire.Handle(api, s.TagLogGroup)
	wire.Handle(api, s.UntagLogGroup)
	wire.Handle(api, s.ListTagsLogGroup)
}

// EndSessions ends the live tails and the queries that there are, and those that begin later. A server that is shut
// down waits for the calls that it answers; the queries have ended when this returns.
func (s *Server) EndSessions() {
	s.endOnce.Do(func() { close(s.ending) })
	s.queries.end()
}

// view runs f on one image of the state.
func (s *Server) view(f func(r *state.Reader) error) error {
	var err error
	s.Store.View(func(r *state.Reader) { err = f(r) })
	return err
}

// now is the time of the request, in the milliseconds of the API.
func now(ctx context.Context) int64 { return wire.Now(ctx).UnixMilli() }

func milliseconds(t time.Time) *int64 { return ptr(t.UnixMilli()) }
