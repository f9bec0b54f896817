package wire

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// API is one AWS service as its clients see it. Fill in the exported fields,
// register handlers with Handle, then give it to NewServer; it must not change
// after that.
type API struct {
	Name        string // for logs: "ecs"
	SigningName string // the service in a credential scope; Name when empty
	Dialect     Dialect

	Target    string // awsjson: the X-Amz-Target before the dot
	Version   string // query: the Version parameter, "2011-06-15"
	Namespace string // query: the XML namespace of answers

	// BodyLimit is how many bytes of body are read, after decompression too.
	// DefaultBodyLimit when zero.
	BodyLimit int64

	// Operations names every operation of the model, handled or not.
	Operations []string
	// Unsigned names the operations that may be called without a signature.
	Unsigned []string

	// Shapes is the generated table of the API's model. Without it nothing is
	// validated and every wire name follows the SDK's naming rule.
	Shapes *Shapes
	// ValidationCode is the error code for input that the model forbids;
	// "ValidationException" (query: "ValidationError") when empty.
	ValidationCode string

	handlers map[string]*operation
	codec    codec
}

// DefaultBodyLimit bounds the bodies of an API that names no limit of its own.
const DefaultBodyLimit = 1 << 20

// operation is a handler with its types erased.
type operation struct {
	name   string
	api    *API
	input  *structPlan
	output *structPlan
	// newInput returns a *In; call takes one and returns a *Out.
	newInput func() any
	call     func(ctx context.Context, in any) (any, error)
	// event is the union of what follows the output; nil when nothing does. Then call returns a *streamed.
	event *valuePlan
}

// Handle registers h as the API's implementation of the operation whose input is
// In: RunTaskInput makes it RunTask. It panics when the type does not name an
// operation of the API, or names one twice, because that is a mistake in the
// program and is found the moment it starts.
func Handle[In, Out any](a *API, h func(context.Context, *In) (*Out, error)) {
	a.handle(operation{
		newInput: func() any { return new(In) },
		call: func(ctx context.Context, in any) (any, error) {
			out, err := h(ctx, in.(*In))
			if err != nil {
				return nil, err
			}
			if out == nil {
				out = new(Out)
			}
			return out, nil
		},
	}, reflect.TypeFor[In](), reflect.TypeFor[Out]())
}

// handle completes op from its types and adds it to the API.
func (a *API) handle(op operation, in, out reflect.Type) {
	name, ok := strings.CutSuffix(in.Name(), "Input")
	if !ok || in.Kind() != reflect.Struct {
		panic(fmt.Sprintf("wire: %s: input type %s does not name an operation", a.Name, in))
	}
	if len(a.Operations) > 0 && !slices.Contains(a.Operations, name) {
		panic(fmt.Sprintf("wire: %s has no operation %s", a.Name, name))
	}
	if a.handlers[name] != nil {
		panic(fmt.Sprintf("wire: %s: operation %s is handled twice", a.Name, name))
	}
	if a.handlers == nil {
		a.handlers = make(map[string]*operation)
	}
	a.codec.shapes = a.Shapes
	op.name, op.api = name, a
	op.input, op.output = a.codec.structPlan(in), a.codec.structPlan(out)
	a.handlers[name] = &op
}

// Handled returns the names of the operations that have a handler, sorted.
func (a *API) Handled() []string {
	names := make([]string, 0, len(a.handlers))
	for name := range a.handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (a *API) signingName() string {
	if a.SigningName != "" {
		return a.SigningName
	}
	return a.Name
}

func (a *API) bodyLimit() int64 {
	if a.BodyLimit > 0 {
		return a.BodyLimit
	}
	return DefaultBodyLimit
}
