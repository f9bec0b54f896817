package acm

import (
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"havn/state"
	"havn/wire"
)

// Config is what a Server needs to know of the world.
type Config struct {
	Store *state.Store

	Region  string
	Account string
}

// Server answers the operations of the ACM API. Its methods are the handlers.
type Server struct{ Config }

// NewServer returns a Server.
func NewServer(c Config) *Server { return &Server{c} }

// API returns ACM as wire serves it, with a handler for each operation that Havn does.
func (s *Server) API() *wire.API {
	api := &wire.API{
		Name:       "acm",
		Dialect:    wire.AWSJSON,
		Target:     "CertificateManager",
		Operations: operations,
		Shapes:     shapes,
	}
	wire.Handle(api, s.ImportCertificate)
	wire.Handle(api, s.RequestCertificate)
	wire.Handle(api, s.DescribeCertificate)
	wire.Handle(api, s.ListCertificates)
	wire.Handle(api, s.GetCertificate)
	wire.Handle(api, s.DeleteCertificate)
	wire.Handle(api, s.AddTagsToCertificate)
	wire.Handle(api, s.RemoveTagsFromCertificate)
	wire.Handle(api, s.ListTagsForCertificate)
	wire.Handle(api, s.TagResource)
	wire.Handle(api, s.UntagResource)
	wire.Handle(api, s.ListTagsForResource)
	return api
}

// view runs f on one image of the state.
func (s *Server) view(f func(r *state.Reader) error) error {
	var err error
	s.Store.View(func(r *state.Reader) { err = f(r) })
	return err
}

func (s *Server) certificate(r state.Source, arn string) (state.Certificate, error) {
	c, ok := state.Certificates.Get(r, arn)
	if !ok {
		return c, &types.ResourceNotFoundException{Message: ptr("Could not find certificate " + arn + ".")}
	}
	return c, nil
}

// newARN is of a certificate with an identifier of 32 hexadecimal digits, which ACM writes as a UUID.
func (s *Server) newARN(id string) string {
	return fmt.Sprintf("arn:aws:acm:%s:%s:certificate/%s-%s-%s-%s-%s", s.Region, s.Account, id[:8], id[8:12], id[12:16], id[16:20], id[20:])
}

func invalid(format string, args ...any) error {
	return &types.ValidationException{Message: ptr(fmt.Sprintf(format, args...))}
}

// unsupported refuses what ACM has and Havn does not do, by its name and with the reason.
func unsupported(what, reason string) error {
	return &types.InvalidParameterException{Message: ptr("Havn does not support " + what + ": " + reason + ".")}
}

func ptr[T any](v T) *T { return &v }

// deref is what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// DeleteCertificate deletes a certificate that no listener has.
func (s *Server) DeleteCertificate(ctx context.Context, in *sdk.DeleteCertificateInput) (*sdk.DeleteCertificateOutput, error) {
	return nil, s.Store.Update(ctx, func(tx *state.Tx) error {
		c, err := s.certificate(tx, *in.CertificateArn)
		if err != nil {
			return err
		}
		// Whoever gives it to a listener meanwhile writes the ledger, too.
		state.BalancerLedgers.Get(tx, state.BalancerLedgerKey)
		if len(usersOf(tx, c.ARN)) > 0 {
			return &types.ResourceInUseException{Message: ptr("Certificate " + c.ARN + " in account " + s.Account + " is in use.")}
		}
		state.Certificates.Delete(tx, c.ARN)
		return nil
	})
}

// usersOf are the ARNs of the load balancers whose listeners have a certificate, each once.
func usersOf(r state.Source, arn string) []string {
	users := []string{}
	for l := range state.Listeners.By(r, "certificate", arn) {
		if len(users) == 0 || users[len(users)-1] != l.LoadBalancerARN {
			users = append(users, l.LoadBalancerARN)
		}
	}
	return users
}
