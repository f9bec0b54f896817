// Package dispatch is the server's end of the node protocol: assignments out, and who is connected. What a
// node observes of its tasks comes back through the ECS API (Submit*StateChange), not through here.
//
// Words, beside those of package protocol:
//
//   - session: what the server knows of one connection of one node: what it was told, what of that it has
//     acknowledged, when it was last heard. A Session decides and does nothing else; it has no goroutine,
//     socket or clock.
//   - link: a session with its websocket; the shell that makes the session's decisions real.
//   - note: word that a task may have changed. A lost note costs latency, never correctness: every
//     heartbeat looks at all tasks of the node.
//
// A task travels like this:
//
//	commit --Watch--> note --> Session.Send --frame--> node
//	                               ^                     |
//	                               +---Receive(Ack)------+      no Ack: sent again
//
// Delivery is at least once. A new session knows nothing and tells the node of every task that is not
// STOPPED; an agent takes a repeated task for a wish it already has.
//
// Package dispatch is the one writer of a node's Connected, ConnectedAt, AgentVersion, AgentHash,
// DockerVersion, Timeline and Condition. One process at a time serves all nodes of a state, and it starts with
// every node disconnected.
//
// Telemetry (TCS) is accepted, checked and acknowledged. The health of containers is written on the record of
// their task, of which that field is dispatch's own, and the machine's condition on that of the node; metrics are dropped: nobody asks for them yet.
package dispatch
