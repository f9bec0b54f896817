package wire

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
)

// HandleType is Handle for types that are known only when the test runs.
func HandleType(a *API, in, out reflect.Type, h func(ctx context.Context, in any) (any, error)) {
	a.handle(operation{newInput: func() any { return reflect.New(in).Interface() }, call: h}, in, out)
}

// Decode reads a body as an operation of the API would.
func Decode(a *API, name string, body []byte) (any, error) {
	op := a.handlers[name]
	in := op.newInput()
	return in, a.Dialect.decode(op, body, reflect.ValueOf(in).Elem())
}

// CheckAuthorization parses an Authorization header as a request's is parsed.
func CheckAuthorization(header string) error {
	_, err := parseSignature(&http.Request{
		URL:    new(url.URL),
		Header: http.Header{"Authorization": {header}, "X-Amz-Date": {"20260101T000000Z"}},
	})
	return err
}

// EncodeInput writes an operation's input as an AWS JSON answer is written.
func EncodeInput(a *API, name string, in any) ([]byte, error) {
	return appendJSONStruct(nil, a.handlers[name].input, reflect.ValueOf(in).Elem())
}

// AppendJSONString writes a text as AWS JSON has it.
var AppendJSONString = appendJSONString

// BodyTimeout is how long a caller may take to send the body.
const BodyTimeout = bodyTimeout
