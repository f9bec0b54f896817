package rollout

import (
	"time"
)

// View is what is known of one service.
type View struct {
	Service    Service
	Deployment Deployment
	// Tasks are all that have not stopped, and those that have and of which Failed is true. Those of a node that is
	// not there any more to stop them are left out once they are told to stop.
	Tasks []Task
	// Nodes are those that a task of the service may run on, by constraints and status: for DAEMON services, one each;
	// for availability zone rebalancing, where there is somewhere to go.
	Nodes []Node
	// TaskSets are those of a service with the controller EXTERNAL.
	TaskSets []TaskSet
	// Names are what revisions are called in events and reasons: ecs-svc/NUMBER.
	Names map[string]string
	// Unroutable is why the traffic of a deployment that is to shift it cannot be shifted; empty = it can.
	Unroutable string
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
	// Breaker is the circuit breaker: after so many failed tasks the deployment has failed. Zero = none.
	Breaker        int
	RollBack       bool // when it has failed, go back to the stable revision
	ResetOnHealthy bool // a task that becomes healthy takes the count back to zero
	Bake           time.Duration
	StepPercent    float64       // of LINEAR; of CANARY, its one first step
	StepBake       time.Duration // between steps
	Hooks          []Hook        // lifecycle hooks, of those strategies that shift traffic
	TestTraffic    bool          // there is a listener for it
	Early          EarlySuccess
}

// EarlySuccess is when a rolling deployment has succeeded before all is done; the rest is done afterwards.
type EarlySuccess struct {
	On          bool
	Percent     int  // of the desired count, that must be healthy
	LeavesOlder bool // tasks of older revisions may still be there
}

// Deployment is a way to a revision, and how far it has come.
type Deployment struct {
	Settings Settings
	Heading  string // the revision that it goes to, or is rolled back to
	Target   string // the revision that it was made for
	Stable   string // the revision of the last successful deployment; empty = none
	Status   string // as in ECS's ServiceDeploymentStatus
	Reason   string
	Steady   bool // the service is as it should be, and that has been told
	// Moving: tasks are on their way from one availability zone to another, and that has been told.
	Moving bool
	// StopAsked is how a user wants it to stop: ABORT, ROLLBACK, or empty.
	StopAsked    string
	Stage        string // as in ECS's ServiceDeploymentLifecycleStage
	StageSince   time.Time
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
	Failed       int // tasks of the target, as Settings.ResetOnHealthy says
	FailedInARow int // rounds of starts that all failed, of the heading, since a task of it became healthy
	StartAfter   time.Time
	RollbackAt   time.Time
	// RollbackReason is why it goes back to Stable; empty = it does not.
	RollbackReason string
	RollbackFailed int // as Failed, of the tasks of Stable, since it goes back

	// Of the strategies that shift traffic:

	// Blue is the revision that served when it began; empty = none. It is kept whole until the clean up, and is where a
	// rollback goes.
	Blue string
	// Production and Test are the shares of the traffic in percent that the target group gets which is the target's.
	Production, Test float64
	Hooks            []HookRun
	// BesideFailed and BesideAfter are as FailedInARow and StartAfter, of the one of Blue and Target that is not Heading.
	BesideFailed int
	BesideAfter  time.Time
}

// The statuses of a deployment, as ECS names them.
const (
	Pending            = "PENDING"
	InProgress         = "IN_PROGRESS"
	Successful         = "SUCCESSFUL"
	Halted             = "STOPPED" // by a user or by its circuit breaker, or because a newer one began
	RollbackInProgress = "ROLLBACK_IN_PROGRESS"
	RollbackSuccessful = "ROLLBACK_SUCCESSFUL"
	RollbackFailed     = "ROLLBACK_FAILED"
)

// Open reports whether it is under way.
func (d Deployment) Open() bool {
	return d.Status == Pending || d.Status == InProgress || d.Status == RollbackInProgress
}

// Phase is where a task is, as far as a service cares.
type Phase int

// The phases. A task is Healthy if it is RUNNING, its essential containers' health checks are passed, and its targets
// are healthy, as far as there are any. It is Unhealthy if one of these has failed and the service's grace period is
// over: it is replaced.
const (
	Starting Phase = iota
	Running        // not yet known to be healthy
	Healthy
	Unhealthy
	Stopping // told to stop, or about to stop by itself
	Stopped  // and not yet counted
)

// Task is a copy of the service.
type Task struct {
	ID        string
	Revision  string
	TaskSet   string // of an EXTERNAL service
	Phase     Phase
	Failed    bool // it stops or has stopped without its service or a user wanting that, and is not yet counted
	Node      string
	Zone      string
	CreatedAt time.Time
	HealthyAt time.Time // when it first was Healthy; zero = not yet, or that is still to be noted
	Protected bool      // scale-in and deployments leave it alone
	Drained   bool      // its container instance is DRAINING or takes no task of the service: it is to be replaced
	// Of a task that is Unhealthy: what failed, for the event, and for DescribeTasks.
	Why, Reason string
	// Again is when what stands here can change without anything happening. Zero = never.
	Again time.Time
}

// Live reports whether it is there, and will be.
func (t Task) Live() bool { return t.Phase < Stopping }

// Node is a container instance that tasks of the service may run on.
type Node struct {
	ID   string
	Zone string
	Down bool // nothing can be started there now, and nobody knows what it does
	Full bool // no place is left there for a task; looked at for rebalancing only
}

// Plan is what is to be done now.
type Plan struct {
	Start []Start
	Stop  []Stop
	// Count are the tasks that are now counted as failed, or need not be.
	Count []string
	// Healthy are the tasks of which HealthyAt is to be noted.
	Healthy []string
	// Deployment is the deployment as it is to be from now on.
	Deployment Deployment
	// TaskSets are the task sets as they are to be from now on; Gone are the IDs of those that are to be forgotten.
	TaskSets []TaskSet
	Gone     []string
	Finished bool // a DRAINING service has no task left
	Events   []Event
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
	Zone   string // of rebalancing: where from
}

// Event is a line for the service's history, without "(service NAME) " before it. That tasks were started or stopped
// is told by whoever does it.
type Event struct {
	Message string
	// Once: it is not told again until the service has been steady, or six hours have passed.
	Once bool
}
