// Package logs is what the Amazon CloudWatch Logs API promises, as handlers on the SDK's own types.
//
// There are two kinds of thing here. Log groups and log streams, with their retention and tags, are facts: records of
// package state, written in one transaction like any other. Log events are bulk data, and are in package logstore, in
// an engine of this machine. A handler looks up names in the state, and goes to the store with IDs.
//
// The words are those of CloudWatch Logs, and these:
//
//   - An identifier is what a caller writes to name a group: its name or its ARN (name.go).
//   - A floor is the earliest time of an event that a group keeps. What is older is not shown, from the moment on that
//     it is too old; package expire takes it off the disk some time later.
//   - A token says where the next page begins. It is a position in the store, so pages are right whatever is appended
//     between them (token.go).
//
// The limits are those of CloudWatch Logs, each where it is checked. Rates are not limited.
package logs
