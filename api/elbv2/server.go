package elbv2

import (
	"context"

	"havn/state"
	"havn/wire"
)

// Config is what a Server needs to know of the world.
type Config struct {
	Store *state.Store

	Region  string
	Account string
}

// Server answers the operations of the Elastic Load Balancing API. Its methods are the handlers.
type Server struct{ Config }

// NewServer returns a Server.
func NewServer(c Config) *Server { return &Server{c} }

// API returns Elastic Load Balancing as wire serves it, with a handler for each operation that Havn does.
func (s *Server) API() *wire.API {
	api := &wire.API{
		Name:        "elbv2",
		SigningName: "elasticloadbalancing",
		Dialect:     wire.Query,
		Version:     "2015-12-01",
		Namespace:   "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
		Operations:  operations,
		Shapes:      shapes,
	}
	s.Register(api)
	return api
}

// view runs f on one image of the state.
func (s *Server) view(f func(r *state.Reader) error) error {
	var err error
	s.Store.View(func(r *state.Reader) { err = f(r) })
	return err
}

// change runs f in a transaction that has no rivals in this API: what f sees in sets stays so until it is written.
func (s *Server) change(ctx context.Context, f func(tx *state.Tx) error) error {
	return s.Store.Update(ctx, func(tx *state.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		ledger, _ := state.BalancerLedgers.Get(tx, state.BalancerLedgerKey)
		ledger.Changes++
		state.BalancerLedgers.Put(tx, ledger)
		return nil
	})
}
