// Package ecs is what the Amazon ECS API promises, as handlers on the SDK's own types.
//
// A handler checks what was asked, writes it down in one transaction on the state, and answers with what
// is written. It starts nothing and waits for nothing: whatever should happen next is read from the state
// by those who do it. There is one file per noun; task definitions, the largest vocabulary, have several.
//
// The words are ECS's own (cluster, container instance, task, task definition, attribute, tag), and these:
//
//   - A reference is what a caller writes to name something: a short name, an id or an ARN. It is resolved
//     once, at the top of a handler (arn.go).
//   - A failure is a part of a request that could not be done, answered beside what could be (errors.go).
//   - A node is a machine; a container instance is its membership in one cluster.
//   - To normalise is to write a task definition as ECS prints it back (taskdef_normalize.go), so that the
//     answer is stable and infrastructure tools see no drift.
//   - Runnable is the part of the vocabulary that a node can act on (runnable.go). Registration takes the
//     whole vocabulary; RunTask refuses what would not be acted on, and names it.
//
// The errors are AWS's exception types, with ECS's sentences as near as they are known.
package ecs

//go:generate go test -run TestCoverageIsWrittenDown . -args -write
