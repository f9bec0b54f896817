package lifecycle

import "time"

// Verb names a piece of work on the node.
type Verb string

// The verbs, in the order in which a task usually meets them. Each is idempotent: performed again, also
// by a new process after a kill -9, it finishes or finds the work done.
const (
	// Connect makes the network of all containers of the task: namespaces, addresses, host ports.
	Connect Verb = "connect"
	// Pull makes a container's image present on the node, as the pull behaviour says. Once there is the
	// container it succeeds at once: nothing that runs may fail because a registry does.
	Pull Verb = "pull"
	// Create makes a container, ready to start: root file system, namespaces, cgroup, log file.
	Create Verb = "create"
	// Start starts the container's process of a round. A process that has run once is never started again:
	// Start in a round whose process has already exited succeeds, and Wait tells how it ended. In a later
	// round it clears away the process of the round before, which has ended, and starts a new one in the
	// same container: same root file system, same network, same log.
	Start Verb = "start"
	// Wait lasts as long as the process of a round runs. Its result is the exit.
	Wait Verb = "wait"
	// Probe runs the container's health check once, in the container, for at most Timeout. It succeeds
	// with whatever exit code that ended, and with -1 where it could not be run, or took too long: that, too,
	// is a probe that failed. It has a reason only where the effect itself could not be begun.
	Probe Verb = "probe"
	// Stop sends the stop signal, waits Grace, then kills. Its result says that the process is gone; the
	// exit itself is Wait's to tell. To stop what does not run, or never ran, is success.
	Stop Verb = "stop"
	// Remove deletes the container: process record, root file system, cgroup. Its log stays. What of it
	// still runs is killed; that there is nothing to remove is success.
	Remove Verb = "remove"
	// Ship gives what the container prints to the destination of its log, for as long as there is a
	// container. It ends by being cancelled.
	Ship Verb = "ship"
	// Drain gives what Ship has left, once nothing is printed any more. Its result says that it is done, or
	// given up.
	Drain Verb = "drain"
	// Disconnect frees what Connect took.
	Disconnect Verb = "disconnect"
	// Discard deletes what is left of a stopped task on the node: its logs and folders.
	Discard Verb = "discard"
)

// Verbs are all of them.
func Verbs() []Verb {
	return []Verb{Connect, Pull, Create, Start, Wait, Probe, Stop, Remove, Ship, Drain, Disconnect, Discard}
}

// Effect is one piece of work that should be under way. Effects are comparable: the shell keeps a map of
// those that are running.
type Effect struct {
	Verb Verb
	// Container is the name in the task definition; empty where the verb is about the whole task. Stop
	// and Remove without a name are about every container that the runtime holds of the task: of a task
	// that nobody remembers, no name is known.
	Container string
	// Round is, for Start, Wait and Probe, which process of the container is meant: 0 is the first, and
	// each restart makes another.
	Round int
	// Grace is, for Stop, the time from the stop signal to SIGKILL.
	Grace time.Duration
	// Timeout is, for Probe, after how long it is ended, and has failed.
	Timeout time.Duration
}

// Result is how an effect ended.
type Result struct {
	Effect Effect
	// Canceled: the effect had left the wanted set and was interrupted before it was done. Whatever it
	// made before is found and used, or removed, by the idempotent effects that follow.
	Canceled bool
	// Reason is empty for success, else why the effect failed, as ECS words it:
	// "CannotPullContainerError: ...".
	Reason string

	// What was seen; each is set only by the verbs named.
	StartedAt   time.Time // Pull, Probe: work began; Start: the process began
	FinishedAt  time.Time // Pull: work ended; Wait: the process ended
	Digest      string    // Pull: sha256:... of the image, empty if it never had a registry's
	RuntimeID   string    // Create: id of the container in the runtime, 64 hex
	ExitCode    int       // Wait, Probe; of a probe that could not be run or took too long, -1
	Output      string    // Probe: what it wrote, at least the first MaxOutput bytes
	OutOfMemory bool      // Wait: the kernel killed the process for its memory limit
	// ExitReason says of an exit what its code cannot, as ECS words it; empty where the code says all. For Wait.
	ExitReason string
	Bindings   []Binding // Connect
}

// Binding is a container's port on the host.
type Binding struct {
	Container     string // name in the task definition
	BindIP        string
	ContainerPort uint16
	HostPort      uint16
	Protocol      string // tcp or udp
	// A contiguous range is one binding ("8000-8010"); the two ports above are then zero.
	ContainerPortRange string
	HostPortRange      string
}
