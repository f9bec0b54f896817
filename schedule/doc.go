// Package schedule decides where tasks run. It is pure: nodes and asks go in,
// bindings and refusals come out, and the same input gives the same output on
// every machine. It knows no record, no clock and no network.
//
//	nodes ---+
//	         |    filter            rank                  take
//	asks ----+--> who can? -------> who is best? -------> binding, node has less
//	              (Check)           (Strategy, ties)         |
//	                |                      ^                 |
//	                | nobody               +--- next ask ----+
//	                v
//	              refusal: for each node, the check that said no first
//
// The words:
//
//   - A [Node] is what placement knows of a container instance: what is left
//     on it, what it says of itself, and how many tasks of each group it has.
//   - An [Ask] is one task that wants a node. Asks are answered in order, and
//     a later ask sees what an earlier one took.
//   - A group is what ECS calls a task group: "service:web" or "family:batch".
//     Spread and distinctInstance count the tasks of the ask's own group.
//   - A [Constraint] rules nodes out; a [Strategy] orders the ones that are
//     left. Strategies are a chain: each settles only what those before it
//     left undecided.
//   - A [Query] is an expression of the ECS cluster query language.
//   - A [Binding] is a yes; a [Refusal] is a no with its reasons as data.
//   - A [Cluster] is nodes prepared for many small calls.
//
// Choices where ECS leaves the choice to us:
//
//   - An ask without a strategy is spread over availability zones.
//   - What the chain leaves tied goes to the node with the fewest tasks of the
//     group, then to the one with the most memory left, then the most CPU,
//     then by a hash of group and node, so that groups do not all begin on the
//     same node, and at last by node ID.
//   - Nodes without the attribute that is spread over share one bucket.
//   - A task counts for its group from the moment it is placed, but not for
//     runningTasksCount, since it is PENDING and not RUNNING.
package schedule
