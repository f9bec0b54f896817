package state

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A service is what its user wants; a revision is what exactly its tasks are made from; a deployment is the way from
// one revision to another. A task belongs to one revision.
//
//	Service --latest--> ServiceDeployment --target--> ServiceRevision <--made from-- Task
//	                          |                             ^
//	                          +--- sources, rollback -------+

var (
	Services = NewTable("service", 1, func(s Service) string { return s.ARN },
		Index[Service]{"cluster", func(s Service) []string { return []string{s.ClusterARN} }})

	ServiceRevisions = NewTable("service-revision", 1, func(r ServiceRevision) string { return r.ARN },
		Index[ServiceRevision]{"service", func(r ServiceRevision) []string { return []string{r.ServiceARN} }},
		Index[ServiceRevision]{"definition", func(r ServiceRevision) []string { return []string{r.DefinitionARN} }},
		Index[ServiceRevision]{"target group", func(r ServiceRevision) []string { return r.TargetGroups() }})

	ServiceDeployments = NewTable("service-deployment", 1, func(d ServiceDeployment) string { return d.ARN },
		Index[ServiceDeployment]{"service", func(d ServiceDeployment) []string { return []string{d.ServiceARN} }},
		Index[ServiceDeployment]{"waiting in cluster", func(d ServiceDeployment) []string {
			if !d.Waiting {
				return nil
			}
			return []string{d.ClusterARN}
		}})

	ServiceEvents = NewTable("service-events", 1, func(e ServiceHistory) string { return e.ServiceARN })

	TaskSets = NewTable("task-set", 1, func(t TaskSet) string { return t.ARN },
		Index[TaskSet]{"service", func(t TaskSet) []string { return []string{t.ServiceARN} }},
		Index[TaskSet]{"waiting in cluster", func(t TaskSet) []string {
			if !t.Waiting {
				return nil
			}
			return []string{t.ClusterARN}
		}})
)

// Service keeps the wanted number of copies running. Control's reaper deletes it, with all that belongs to it.
type Service struct {
	// Writer: api/ecs, at creation.
	ARN        string
	Name       string
	ClusterARN string
	Scheduling types.SchedulingStrategy       // REPLICA or DAEMON
	Controller types.DeploymentControllerType // ECS or EXTERNAL
	RoleARN    string                         `json:",omitempty"`
	CreatedAt  time.Time
	CreatedBy  string `json:",omitempty"`

	// Status is ACTIVE, DRAINING or INACTIVE. Writer: api/ecs, up to DRAINING; control makes INACTIVE of that, once no
	// task is left.
	Status    string
	DeletedAt time.Time `json:",omitzero"` // when it became DRAINING. Writer: api/ecs

	// What its user wants. Writer: api/ecs (CreateService, UpdateService, DeleteService, TagResource).
	Desired              int32 // copies; of a DAEMON service it means nothing
	Configuration        types.DeploymentConfiguration
	HookDetails          []string                          `json:",omitempty"` // see ServiceDeployment
	GracePeriod          *int32                            `json:",omitempty"` // seconds; healthCheckGracePeriodSeconds
	Rebalancing          types.AvailabilityZoneRebalancing `json:",omitempty"`
	PlacementConstraints []types.PlacementConstraint       `json:",omitempty"`
	PlacementStrategy    []types.PlacementStrategy         `json:",omitempty"`
	PropagateTags        types.PropagateTags               `json:",omitempty"`
	EnableManagedTags    bool                              `json:",omitempty"`
	EnableExecuteCommand bool                              `json:",omitempty"`
	Tags                 []types.Tag                       `json:",omitempty"`
	// DeploymentARN is its latest deployment; none of a service with the controller EXTERNAL.
	DeploymentARN string `json:",omitempty"`
	// PrimaryTaskSet is the ARN of one, of a service with the controller EXTERNAL.
	PrimaryTaskSet string `json:",omitempty"`
}

// ServiceRevision is what a service's tasks are made from. It never changes, but that its images are pinned and its
// target groups chosen. Control's reaper deletes it.
type ServiceRevision struct {
	// Writer: api/ecs, at creation.
	ARN        string
	ServiceARN string
	ClusterARN string
	// DeploymentID is what its tasks have as startedBy, and what stands for it in DescribeServices' deployments:
	// ecs-svc/NUMBER.
	DeploymentID             string
	DefinitionARN            string
	LaunchType               types.LaunchType                     `json:",omitempty"`
	CapacityProviderStrategy []types.CapacityProviderStrategyItem `json:",omitempty"`
	PlatformVersion          string                               `json:",omitempty"`
	LoadBalancers            []types.LoadBalancer                 `json:",omitempty"`
	ServiceRegistries        []types.ServiceRegistry              `json:",omitempty"`
	NetworkConfiguration     *types.NetworkConfiguration          `json:",omitempty"`
	CreatedAt                time.Time

	// Images are its containers' images with the digests that its first task found: later tasks run the same, whatever
	// the tags mean by then (version consistency). Writer: control, once for each container.
	Images []types.ContainerImage `json:",omitempty"`

	// Groups are the ARNs of the target groups that its tasks stand in, one for each of LoadBalancers: with a strategy
	// that shifts traffic, the alternate one where the revision that serves stands in the primary one. Empty, until its
	// deployment begins, and with strategy ROLLING: the primary ones. Writer: control, once, before its first task.
	Groups []string `json:",omitempty"`
}

// Group is the ARN of the target group that its tasks stand in, of one of its LoadBalancers; empty = that has none.
func (r ServiceRevision) Group(loadBalancer int) string {
	if loadBalancer < len(r.Groups) {
		return r.Groups[loadBalancer]
	}
	if arn := r.LoadBalancers[loadBalancer].TargetGroupArn; arn != nil {
		return *arn
	}
	return ""
}

// TargetGroups are the ARNs of the target groups that its tasks may stand in, the alternate ones too.
func (r ServiceRevision) TargetGroups() []string {
	var all []string
	for _, l := range r.LoadBalancers {
		if l.TargetGroupArn != nil {
			all = append(all, *l.TargetGroupArn)
		}
		if a := l.AdvancedConfiguration; a != nil && a.AlternateTargetGroupArn != nil {
			all = append(all, *a.AlternateTargetGroupArn)
		}
	}
	return all
}

// ServiceDeployment is a service's way to a revision. Only a service's latest deployment is under way. Control's reaper
// deletes it.
type ServiceDeployment struct {
	// Writer: api/ecs, at creation.
	ARN         string
	ServiceARN  string
	ClusterARN  string
	RevisionARN string   // where to
	SourceARNs  []string `json:",omitempty"` // the revisions whose tasks were there
	// StableARN is the revision that the last successful deployment arrived at: where a rollback goes. Empty = none.
	StableARN     string `json:",omitempty"`
	CreatedAt     time.Time
	Configuration types.DeploymentConfiguration
	// HookDetails are the hookDetails of Configuration's lifecycleHooks, as JSON, one for each hook; empty = none. In
	// Configuration they are nil: that type cannot be read back.
	HookDetails []string `json:",omitempty"`

	// What users said while it was under way. Writer: api/ecs (StopServiceDeployment, ContinueServiceDeployment).
	Stop    StopAsked    `json:",omitzero"`
	Answers []HookAnswer `json:",omitempty"`

	// How it goes. Writer: control.
	Status       types.ServiceDeploymentStatus
	StatusReason string                                `json:",omitempty"`
	Stage        types.ServiceDeploymentLifecycleStage `json:",omitempty"`
	StageSince   time.Time                             `json:",omitzero"`
	StartedAt    time.Time                             `json:",omitzero"`
	FinishedAt   time.Time                             `json:",omitzero"`
	StoppedAt    time.Time                             `json:",omitzero"`
	UpdatedAt    time.Time                             `json:",omitzero"`
	Rollback     Rollback                              `json:",omitzero"`
	// BlueARN is the revision that served when it began, with a strategy that shifts traffic: it is kept whole until
	// the clean up, and traffic goes back to it. Empty = none.
	BlueARN string `json:",omitempty"`
	// Failed is how many tasks of its revision failed before they were healthy, since it began or, unless
	// resetOnHealthyTask is false, since one became healthy: for failedTasks and the circuit breaker. A task is counted
	// once: Task.Counted.
	Failed int32 `json:",omitempty"`
	// FailedInARow are the rounds of starts that failed since one became healthy: after each, the next start waits
	// longer, until StartAfter.
	FailedInARow int32     `json:",omitempty"`
	StartAfter   time.Time `json:",omitzero"`
	// BesideFailed and BesideAfter are the same of the other of the two revisions that traffic is shifted between.
	BesideFailed int32     `json:",omitempty"`
	BesideAfter  time.Time `json:",omitzero"`
	// Traffic is the share in percent that its revision is to get at the production and the test listener, for the
	// strategies that shift.
	ProductionTraffic float64   `json:",omitempty"`
	TestTraffic       float64   `json:",omitempty"`
	Hooks             []HookRun `json:",omitempty"`
	// Steady: the service has reached a steady state since it last had to change something. Told as an event once.
	Steady bool `json:",omitempty"`
	// Moving: tasks are moved from one availability zone to another.
	Moving bool `json:",omitempty"`
	// Waiting: a task of the service found no place when it was last asked for.
	Waiting bool `json:",omitempty"`
	// Steps grows with each transaction that starts or stops tasks of the service, so that of two who would do so on
	// what they both saw, one has to look again.
	Steps int64 `json:",omitempty"`
}

// Heading is the ARN of the revision that the service is to come to: the target, or what it is rolled back to.
func (d ServiceDeployment) Heading() string {
	if d.Rollback.RevisionARN != "" {
		return d.Rollback.RevisionARN
	}
	return d.RevisionARN
}

// Rollback is that a deployment goes back.
type Rollback struct {
	RevisionARN string
	Reason      string
	StartedAt   time.Time
	Failed      int32 `json:",omitempty"` // how many tasks of RevisionARN have failed since
}

// StopAsked is that a user wants a deployment to stop.
type StopAsked struct {
	Type types.StopServiceDeploymentStopType
	At   time.Time
}

// HookAnswer is what a user said to a hook that waits.
type HookAnswer struct {
	HookID string
	Action types.DeploymentLifecycleHookAction
	At     time.Time
}

// HookRun is one run of a lifecycle hook. Writer: control; hook writes how one that is called over HTTP ended (Status,
// Reason), and what is between two calls (CallAt, Attempts, Details).
type HookRun struct {
	ID        string
	Hook      int // which of the configuration's lifecycleHooks
	Stage     types.DeploymentLifecycleHookStage
	Status    types.DeploymentLifecycleHookStatus
	Reason    string `json:",omitempty"`
	StartedAt time.Time
	EndsAt    time.Time `json:",omitzero"` // when it times out
	// CallAt is when it is called next, Attempts how often in a row it could not be, and Details are the hookDetails that
	// its last answer had, as JSON.
	CallAt   time.Time `json:",omitzero"`
	Attempts int       `json:",omitempty"`
	Details  string    `json:",omitempty"`
}

// MaxServiceEvents is how many events of a service are kept, as ECS does.
const MaxServiceEvents = 100

// ServiceHistory is what happened to a service, the latest first. Writer: control; its reaper deletes it.
type ServiceHistory struct {
	ServiceARN string
	Events     []ServiceEvent
}

// ServiceEvent is a line of a service's history.
type ServiceEvent struct {
	ID      string
	At      time.Time
	Message string
}

// TaskSet is a set of a service's tasks that an external controller manages. Writer: api/ecs; control where it says so,
// and control's reaper deletes it.
type TaskSet struct {
	ARN        string
	ID         string // ecs-svc/NUMBER
	ServiceARN string
	ClusterARN string
	// RevisionARN is what its tasks are made from: a task set has a service revision of its own.
	RevisionARN string
	ExternalID  string      `json:",omitempty"`
	Scale       types.Scale // PERCENT of the service's desired count
	Tags        []types.Tag `json:",omitempty"`
	Status      string      // ACTIVE or DRAINING; control deletes it when it drains and has no task left
	CreatedAt   time.Time
	UpdatedAt   time.Time
	// Writer: control.
	Stability   types.StabilityStatus
	StabilityAt time.Time `json:",omitzero"`
	// These are as in ServiceDeployment. Writer: control.
	FailedInARow int32     `json:",omitempty"`
	StartAfter   time.Time `json:",omitzero"`
	Waiting      bool      `json:",omitempty"`
	Steps        int64     `json:",omitempty"`
}

// Share is how many tasks it is to have of a desired count: rounded up. API Reference, "TaskSet", computedDesiredCount.
func (t TaskSet) Share(desired int32) int32 {
	if t.Status != "ACTIVE" {
		return 0
	}
	exact := float64(desired) * t.Scale.Value / 100
	share := int32(exact)
	if exact-float64(share) > 1e-9 { // 30 % of 10 is 3, whatever floating point makes of it
		share++
	}
	return share
}
