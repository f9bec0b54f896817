package ecs

import (
	"context"
	"log/slog"

	"havn/state"
	"havn/wire"
)

// Config is what a Server needs to know of the world.
type Config struct {
	Store *state.Store

	Region  string
	Account string
	// Zone is the availability zone of nodes that name none. Region followed by "a" when empty.
	Zone string

	// PollEndpoint is the base URL that the nodes are told to poll, for the request that ctx belongs to;
	// the paths /acs and /tcs are added to it.
	PollEndpoint func(ctx context.Context) string

	Log *slog.Logger // slog.Default() when nil
}

// Server answers the operations of the ECS API. Its methods are the handlers; it holds nothing but its
// configuration, so any number of requests can be answered at a time.
type Server struct{ Config }

// NewServer completes the configuration.
func NewServer(c Config) *Server {
	if c.Zone == "" {
		c.Zone = c.Region + "a"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Server{c}
}

// API returns ECS as wire serves it, with a handler for each operation that Havn does.
func (s *Server) API() *wire.API {
	api := &wire.API{
		Name:      "ecs",
		Dialect:   wire.AWSJSON,
		Target:    "AmazonEC2ContainerServiceV20141113",
		BodyLimit: 1 << 20,
	}
	s.Register(api)
	return api
}

// Register adds a handler for each operation that Havn does.
func (s *Server) Register(api *wire.API) {
}

// The statuses of clusters and container instances.
const (
	statusActive   = "ACTIVE"
	statusDraining = "DRAINING"
	statusInactive = "INACTIVE"
)

// view runs f on one image of the state.
func (s *Server) view(f func(r *state.Reader) error) error {
	var err error
	s.Store.View(func(r *state.Reader) { err = f(r) })
	return err
}
