// Package wire turns HTTP requests into Go values and Go values into HTTP
// answers, in the words of AWS. It knows no product: what an operation means is
// for the handlers that are registered with it.
//
//	bytes ─► Server ─► Verifier ─► Dialect ─► shapes ─► handler
//	         which      who is      bytes to   are the   what it
//	         API?       asking?     a struct   values    means
//	                                           legal?
//	bytes ◄─────────────────────── Dialect ◄──────────────┘
//
// The words of this package:
//
//   - An API is one AWS service as a client sees it (ECS, STS): a name, a
//     dialect, and a table of operations.
//   - A Dialect is a way to write operations and values as bytes: AWS JSON 1.1,
//     or AWS Query with its XML answers. A dialect is whole in one file and never
//     sees a product; a handler never sees HTTP.
//   - An operation is one named call, such as RunTask. Its Go form is a function
//     from the SDK's *RunTaskInput to the SDK's *RunTaskOutput; its name is the
//     input type's name without "Input".
//   - Shapes is what an API's model says and the SDK's struct types do not:
//     required members, ranges, unusual names. It is generated.
//   - A plan is what this package worked out about one struct type, once, so that
//     values of it can be read and written without asking again.
//
// The SDK's exception types are the errors of an API: a handler returns
// &types.ClusterNotFoundException{...} and this package writes it as the dialect
// wants it. Any error that is not such a type is a fault of ours: it is logged
// whole, and answered as a server error without its text.
//
// Time is an argument: a handler asks Now(ctx), never the clock, so a simulation
// can call the same handlers with WithRequest and no HTTP at all.
package wire
