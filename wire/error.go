package wire

import (
	"errors"
	"net/http"
	"reflect"

	"github.com/aws/smithy-go"
)

// Fault is a reason to refuse a request that has nothing to do with any product.
// Each dialect has its own code for it.
type Fault int

const (
	MissingToken     Fault = iota // the request is not signed
	IncompleteToken               // the signature's parts cannot be read
	UnknownKey                    // no such access key, or not with this session token
	BadSignature                  // the signature is not that of this request
	SignatureExpired              // the signature is of another time
	TokenExpired                  // the session has ended
	UnknownOperation              // no such operation, or none that is done here
	UnknownProtocol               // names an operation, but not as the dialect is spoken over HTTP
	BadBody                       // the bytes do not spell a value of the input type
	BodyTooLarge                  //
	BadInput                      // the model forbids the input
	Internal                      // our own fault
	numberOfFaults   = iota
)

// Error is a Fault with a sentence for the caller. It is an smithy.APIError with
// the code that AWS JSON gives it.
type Error struct {
	Fault   Fault
	Message string
}

func (e *Error) Error() string        { return e.ErrorCode() + ": " + e.Message }
func (e *Error) ErrorCode() string    { return jsonFaults[e.Fault].code }
func (e *Error) ErrorMessage() string { return e.Message }
func (e *Error) ErrorFault() smithy.ErrorFault {
	if e.Fault == Internal {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

var _ smithy.APIError = (*Error)(nil)

// faultAnswer is how a dialect answers a fault.
type faultAnswer struct {
	code   string
	status int
}

// answer is an error on its way out.
type answer struct {
	code    string
	message string
	status  int
	server  bool // whose fault: ours, else the sender's
	// members beyond the message, such as ConflictException's resourceIds
	plan    *structPlan
	members reflect.Value
}

// answerTo says how the API answers err. It returns false when err is no API
// error at all: then the answer tells nothing of it, and the caller logs it.
func (a *API) answerTo(err error) (answer, bool) {
	if own, ok := errors.AsType[*Error](err); ok {
		known := a.Dialect.fault(own.Fault)
		ans := answer{
			code:    known.code,
			message: own.Message,
			status:  known.status,
			server:  own.Fault == Internal,
		}
		if own.Fault == BadInput && a.ValidationCode != "" {
			ans.code = a.ValidationCode
		}
		return ans, own.Fault != Internal
	}
	coded, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		known := a.Dialect.fault(Internal)
		return answer{code: known.code, message: internalMessage, status: known.status, server: true}, false
	}
	ans := answer{
		code:    coded.ErrorCode(),
		message: coded.ErrorMessage(),
		status:  http.StatusBadRequest,
	}
	if coded.ErrorFault() == smithy.FaultServer {
		ans.status, ans.server = http.StatusInternalServerError, true
	}
	if a.Shapes != nil {
		if status, ok := a.Shapes.Status[ans.code]; ok {
			ans.status = status
		}
	}
	// Only the SDK's own exception structs have members for the wire.
	v := reflect.ValueOf(coded)
	if v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct &&
		v.Elem().FieldByName("ErrorCodeOverride").IsValid() {
		ans.plan, ans.members = a.codec.structPlan(v.Elem().Type()), v.Elem()
	}
	return ans, true
}

// internalMessage is all that a caller learns of a fault of ours.
const internalMessage = "The service encountered an internal error. Try again later."
