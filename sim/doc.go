// Package sim is the whole cluster in one thread: the API's handlers, placement, the controllers, the
// sessions of dispatch and the core of each agent, as they are, on a log in memory and runtimes of values.
// Time is virtual, chance comes from one seed, and so a run that went wrong goes wrong again:
//
//	go test ./sim -run TestSeeds -seed 4711 -v
//
// Words:
//
//   - world: one run. A queue of events by time; each event is one step of somebody.
//   - seed: draws everything of a run: machines, what users ask for, which faults exist and how often.
//   - fault: something that goes wrong: a message lost, an answer lost, a process killed, a log that lies
//     about what became of a write. A seed has some kinds of fault and not others.
//   - actor: who made a commit. A field has one writer, so the actor of each commit is known.
//   - promise: a sentence about Havn that holds at every step. Its check is a function of that name.
//   - audit: follows the log beside the cluster and checks each commit.
//   - rival: another request, or a second leader, that commits between another's look and its commit.
//   - heal: the end of all faults. From then on, progress is demanded within a time.
//   - defect: a part of the world that is broken on purpose, to see that a check can fail.
//
// What is not run here are the shells: HTTP, websockets, goroutines, bbolt, containerd. world's own
// stand-ins for them (link.go, node.go) do in virtual time what dispatch's and agent's shells do.
package sim
