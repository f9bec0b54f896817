// Package rollout decides how many copies of a service run, and of which version. It is pure: a view of one service and
// the time go in, a plan comes out, and doing the plan and asking again ends in a steady state.
//
//	             +------------- View: the service, its latest deployment, its tasks ------------+
//	             |                                                                              |
//	now ---> Next(view, now) ---> Plan: start so many, stop these, tell this, look again then --+--> control does it
//
// The words:
//
//   - A [Task] is a copy of the service, as far as it matters here: which revision it was made from, and its [Phase].
//   - A revision is a version of the service: its ARN. The heading is the one that the deployment goes to, or is
//     rolled back to. Tasks of every other revision are old.
//   - Healthy tasks are those that count for minimumHealthyPercent; those that are there, in whatever phase before
//     [Stopping], count for maximumPercent.
//   - A [Plan] leaves its executor no choice but the one that rollout cannot make: where a task goes. What finds no
//     place is asked for again.
package rollout
