// Package logstore keeps log events: gigabytes of them, in an embedded engine (Pebble), on the machine that serves the
// API. It knows no names, no retention and no clock; those are facts of package state, and whoever calls decides.
//
// The words:
//
//   - An Event is a message with a time, in a stream, in a group. Groups and streams are IDs here, never used twice, so
//     a group that is made again under an old name does not see old events.
//   - A Position is a place in the order of events: time, then the number that the store gave the event when it was
//     appended. No two events have the same. A stream and a group are read in this order, or in the reverse.
//   - A Summary is what is known of a stream without reading it: its first and last times, its bytes and events.
//   - To append is to make durable: Append returns when the events are synced to the disk, and kill -9 loses none of
//     them. One goroutine writes; what arrives while it syncs goes into the next commit together.
//   - To drop and to trim is to forget; Reclaim gives the disk back.
//
// On the disk:
//
//	e GROUP STREAM TIME NUMBER   -> when it was ingested, message
//	m GROUP STREAM               -> the stream's Summary
//	g GROUP                      -> the group's bytes
//	n                            -> the last number given
//
// The limits: MaxAppendBytes a call, and an engine that takes no event when its disk has less than MinFree bytes left,
// because a log store must not be what fills the disk to the brim.
package logstore
