// Package agent is a node: it takes assignments from a server, makes them real on a Runtime, and reports
// what it saw. It speaks the public node protocol (havn/protocol) and nothing else, so the server may be
// on this machine or on another.
//
//	server                                                           Runtime
//	  |                                                                 ^
//	  |  ACS websocket              +---------------------+             | Perform, one goroutine
//	  +-- payload, manifest ------> |                     |             | per effect
//	  |   (session.go)              |    loop (run.go)    | -- start, cancel
//	  | <- ack, verification ------ |   owns Core, the    |             |
//	  |                             |  one who may touch  | <-- result -+
//	  | <- SubmitTaskStateChange -- |   it (core.go)      |
//	  |    (reporter.go)            +---------------------+
//	  +--- accepted ------------------^        |
//	                                           v
//	                                  journal (journal.go, bbolt)
//
// Words:
//
//   - Core: the fold. It knows all tasks of the node, and answers each event with a Plan. It has no clock,
//     no goroutine, no input or output; the simulation runs the same Core.
//   - plan: what the loop must do now: save, start, cancel, reply, report, and when to wake up.
//   - record: what the journal keeps of a task: what was assigned, what was seen, what was reported.
//   - session: one connection to the server, from registration to the next failure.
//   - report: what the server is told of a task. Level, not edge: after a lost connection the newest is
//     told, but a task that ran is always told RUNNING before STOPPED.
//
// A turn of the loop: gather every event that has come, fold each into Core, ask for the plan, carry it
// out. What cannot be seen again is written to the journal first; the rest is written beside the loop.
// Nothing waits for a tick. After a kill -9 a new process reads the journal,
// asks the Runtime what it holds, and asks Core for a plan as on any other day: running containers are
// waited for again, and what nobody assigned is removed.
//
// Telemetry (TCS) tells of the health of containers and of the machine's own condition: a change at once, everything
// now and then. No metrics are sent.
package agent
