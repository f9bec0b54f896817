// Package lifecycle knows the life of a task: the statuses it goes through, who may move them, and what a
// task needs next on its node.
//
// It is pure: no clock, no goroutine, no input or output. The agent's shell gives it what was seen
// (Observe) and asks it what should be under way (Next); the server's side uses its statuses and its
// table of owners. Words:
//
//   - status: where a task or container is, in ECS's own names. A status only grows.
//   - desired status: where it should get to. Two fields, two writers: the API wishes, the node observes.
//   - effect: one idempotent piece of work on the node, a comparable value (pull this image, start that
//     container).
//   - result: how an effect ended, and what was seen on the way.
package lifecycle

// Status is where a task is in its life, in the words of DescribeTasks.
// Amazon ECS Developer Guide, "Amazon ECS task lifecycle".
type Status string

// The statuses in their order. Not every task passes through every one: a task in bridge mode goes
// PENDING, RUNNING, STOPPED.
const (
	Provisioning   Status = "PROVISIONING"
	Pending        Status = "PENDING"
	Activating     Status = "ACTIVATING"
	Running        Status = "RUNNING"
	Deactivating   Status = "DEACTIVATING"
	Stopping       Status = "STOPPING"
	Deprovisioning Status = "DEPROVISIONING"
	Stopped        Status = "STOPPED"
)

var order = []Status{Provisioning, Pending, Activating, Running, Deactivating, Stopping, Deprovisioning, Stopped}

// Valid reports whether s is one of the statuses above.
func (s Status) Valid() bool { return s.rank() > 0 }

// Before reports whether s comes earlier in a task's life than other. The empty status comes before all.
func (s Status) Before(other Status) bool { return s.rank() < other.rank() }

// Latest returns the later of the two: of two reports on one task, the larger is right.
func Latest(a, b Status) Status {
	if a.Before(b) {
		return b
	}
	return a
}

func (s Status) rank() int {
	for i, known := range order {
		if s == known {
			return i + 1
		}
	}
	return 0
}
