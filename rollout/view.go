package rollout

import (
	"time"
)

// View is what is known of one service.
type View struct {
	Service    Service
	Deployment Deployment
	// Tasks are all that have not stopped, and those that have and of which Counted is false.
	Tasks []Task
	// Nodes are those that a task of the service may run on, by constraints and status: for DAEMON services, one each;
	// for availability zone rebalancing, where there is somewhere to go.
	Nodes []Node
}

// Service is what its user wants.
type Service struct {
	Active   bool // not DRAINING
	Daemon   bool
	External bool // task sets are scaled, and nothing is rolled out
	Desired  int  // copies; of a DAEMON service, len(Nodes) counts instead
	// Rebalance: tasks are moved between availability zones when these are out of balance.
	Rebalance bool
}

// Strategy is how a deployment goes from one revision to another.
type Strategy string

// The strategies, as ECS names them.
const (
	Rolling   Strategy = "ROLLING"
	BlueGreen Strategy = "BLUE_GREEN"
	Linear    Strategy = "LINEAR"
	Canary    Strategy = "CANARY"
)

// Settings are a deployment's configuration, with ECS's defaults filled in.
type Settings struct {
	Strategy Strategy
	Minimum  int // minimumHealthyPercent
	Maximum  int // maximumPercent
	// Breaker is the circuit breaker: after Threshold failed tasks the deployment has failed. Zero = none.
	Breaker         int
	RollBack        bool // when it has failed, go back to the stable revision
	ResetOnHealthy  bool // a task that becomes steady takes the count back to zero
	Bake            time.Duration
	StepPercent     float64       // of LINEAR; of CANARY, its one first step
	StepBake        time.Duration // between steps
	SteadyAfter     time.Duration // how long a task without any health check must run to count as healthy
	HookStages      []string      // of the lifecycle hooks that there are
	EarlySuccess    int           // percent of tasks that suffice for success; zero = all
	ReplaceUnstable bool
}

// Deployment is a way to a revision, and how far it has come.
type Deployment struct {
	Settings Settings
	Heading  string // the revision that it goes to, or is rolled back to
	Target   string // the revision that it was made for
	Stable   string // the revision of the last successful deployment; empty = none
	Status   string // as in ECS's ServiceDeploymentStatus
	Reason   string
	Steady   bool
	// StopAsked is how a user wants it to stop: ABORT, ROLLBACK, or empty.
	StopAsked    string
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
	Failed       int // since it began
	FailedInARow int // since a task of it became steady
	StartAfter   time.Time
	RollbackAt   time.Time
	// RollbackReason is why it goes back to Stable; empty = it does not.
	RollbackReason string
}

// Phase is where a task is, as far as a service cares.
type Phase int

// The phases. A task is Healthy if it is RUNNING, its essential containers' health checks are passed, and its targets
// are healthy, as far as there are any. It is Unhealthy if one of these has failed and, for a target, the service's
// grace period is over: it is replaced.
const (
	Starting Phase = iota
	Running        // not yet known to be healthy
	Healthy
	Unhealthy
	Stopping // told to stop
	Stopped  // and not yet counted
)

// Task is a copy of the service.
type Task struct {
	ID        string
	Revision  string
	TaskSet   string // of an EXTERNAL service
	Phase     Phase
	Failed    bool // it has stopped, or is about to, without its service or a user wanting that
	Node      string
	Zone      string
	CreatedAt time.Time
	RunningAt time.Time // zero = it has not run
	HealthyAt time.Time // since when it is Healthy, if that is known
	Protected bool      // scale-in and deployments leave it alone
	Drained   bool      // its container instance is DRAINING or gone: it is to be replaced
	Why       string    // of a task that is Unhealthy: what failed, for the event
}

// Node is a container instance that tasks of the service may run on.
type Node struct {
	ID   string
	Zone string
}

// Plan is what is to be done now.
type Plan struct {
	Start []Start
	Stop  []Stop
	// Count are the stopped tasks that are now counted.
	Count []string
	// Deployment is the deployment as it is to be from now on.
	Deployment Deployment
	Finished   bool // a DRAINING service has no task left
	Events     []Event
	// Again is when the answer can change without anything happening. Zero = never.
	Again time.Time
}

// Start is tasks that are to be started.
type Start struct {
	Revision string
	TaskSet  string
	Count    int
	Node     string // of a DAEMON service: where
	Zone     string // of rebalancing: where
}

// Stop is a task that is to be stopped.
type Stop struct {
	Task   string
	Reason string // as DescribeTasks shows it
}

// Event is a line for the service's history, without "(service NAME) " before it.
type Event struct{ Message string }
