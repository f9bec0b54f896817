// Package metadata answers what a container asks about itself, at http://169.254.170.2: its own document and its task's,
// what both use, and a few wishes for its task. Amazon ECS developer guide, "Task metadata endpoint".
//
//	container -- GET /v4/ID/task --> firewall (agent/network) --> this server
//	                                                                | which container has that ID? (id.go)
//	                                                                | does it ask from there?      (server.go)
//	                                        agent (Inquiry) <-------+--> Runtime: facts, samples
//	                                                                +--> the server's API: tags, protection
//
// Words:
//
//   - An id stands for one container in a URL. It cannot be guessed, it follows from a secret of the node, and so it is
//     the same after a restart. Its first eight digits name the Havn that gave it.
//   - A caller is the container that a request is about, once it is sure that it may ask: its task's addresses are the
//     only ones that a task on the bridge can be asked about from, and the host's network that of all others.
//   - A sibling is another Havn on this machine. On the host's network any of them may receive a request; it is passed
//     on to the one that the id names.
//
// A document is a pure function of the agent's record and of the Runtime's facts (document.go), and so are statistics
// of two samples (stats.go). Nothing is measured while nobody asks.
package metadata
