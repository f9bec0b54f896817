package wire

import "reflect"

// Dialect is a way to write operations and values as bytes: AWSJSON or Query.
// The seam is closed to this package, since a dialect works on its plans.
type Dialect interface {
	contentType() string
	// fault says how the dialect answers a fault.
	fault(Fault) faultAnswer
	// decode reads the body of a call into in, the operation's input struct.
	// Its error is an *Error.
	decode(op *operation, body []byte, in reflect.Value) error
	// encode appends the answer that carries out, the operation's output struct.
	encode(b []byte, op *operation, out reflect.Value, requestID string) ([]byte, error)
	// encodeError appends an answer that refuses. The API may be nil, when the
	// request is for none that is served here.
	encodeError(b []byte, a *API, ans answer, requestID string) ([]byte, error)
}
