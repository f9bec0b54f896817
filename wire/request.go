package wire

import (
	"context"
	"time"
)

// Principal is who made a request.
type Principal struct {
	ARN     string // arn:aws:iam::000000000000:user/alice
	UserID  string // AIDA..., or the account for root
	Account string // the twelve digits
}

// Credential is what the server knows about an access key.
type Credential struct {
	Secret    string
	Principal Principal
}

// Request is what a handler may know about the call that it answers, besides
// its input.
type Request struct {
	Caller Principal
	ID     string
	Now    time.Time
	// Endpoint is the URL at which the client reached us: scheme and host.
	Endpoint string
}

type requestKey struct{}

// requestContext carries the Request without a second allocation for the value.
type requestContext struct {
	context.Context
	request Request
}

func (c *requestContext) Value(key any) any {
	if _, ok := key.(requestKey); ok {
		return &c.request
	}
	return c.Context.Value(key)
}

// WithRequest returns a context in which Caller, RequestID and Now answer from r.
// The server uses it for every call; a simulation uses it to call handlers
// without HTTP.
func WithRequest(ctx context.Context, r Request) context.Context {
	return &requestContext{ctx, r}
}

func request(ctx context.Context) Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return *r
	}
	return Request{}
}

// Caller returns who made the request that ctx belongs to.
func Caller(ctx context.Context) Principal { return request(ctx).Caller }

// RequestID returns the id under which the request is answered and logged.
func RequestID(ctx context.Context) string { return request(ctx).ID }

// Endpoint returns the URL at which the client reached us, which another machine can reach too: unlike the
// address that we listen on, it is never 0.0.0.0.
func Endpoint(ctx context.Context) string { return request(ctx).Endpoint }

// Now returns the time at which the request is being answered. It is the zero
// time outside a request: handlers are never to fall back on the clock.
func Now(ctx context.Context) time.Time { return request(ctx).Now }
