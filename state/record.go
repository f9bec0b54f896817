package state

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
)

// What a user said is carried in the SDK's own types and never modified; what was decided or observed is
// a small plain field beside it. Each record says who writes which of its fields: a field has one writer, or
// two of which the record says when each may. The simulation checks its every commit against this (sim/audit.go); it
// makes no log groups, log streams and account settings, whose one writer nothing checks.

// The tables. The number is the version of the record's format.
var (
	Clusters = NewTable("cluster", 1, func(c Cluster) string { return c.ARN })

	TaskDefinitions = NewTable("task-definition", 1, func(d TaskDefinition) string { return d.ARN },
		Index[TaskDefinition]{"family", func(d TaskDefinition) []string { return []string{d.Family} }})

	Families = NewTable("family", 1, func(f Family) string { return f.Name })

	Tasks = NewTable("task", 1, func(t Task) string { return t.ARN },
		Index[Task]{"cluster", func(t Task) []string { return []string{t.ClusterARN} }},
		Index[Task]{"instance", func(t Task) []string { return []string{t.InstanceARN} }},
		Index[Task]{"node", func(t Task) []string { return []string{t.NodeID} }},
		Index[Task]{"definition", func(t Task) []string { return []string{t.DefinitionARN} }},
		Index[Task]{"service", func(t Task) []string { return ifAny(t.ServiceARN) }},
		Index[Task]{"unstopped of service", func(t Task) []string { return unstopped(t, t.ServiceARN) }},
		// Those, and those that have stopped and that the service has not counted yet.
		Index[Task]{"open of service", func(t Task) []string {
			if t.Counted {
				return unstopped(t, t.ServiceARN)
			}
			return ifAny(t.ServiceARN)
		}},
		Index[Task]{"to attach or detach", func(t Task) []string {
			if t.Attached == t.Attachable() {
				return nil
			}
			return ifAny(t.ServiceARN)
		}},
		// For about an hour, tasks that are STOPPED may outnumber the others by far. Placement, counting and listing
		// need not walk through them.
		Index[Task]{"unstopped in cluster", func(t Task) []string { return unstopped(t, t.ClusterARN) }},
		Index[Task]{"unstopped on instance", func(t Task) []string { return unstopped(t, t.InstanceARN) }},
		Index[Task]{"unstopped on node", func(t Task) []string { return unstopped(t, t.NodeID) }},
		Index[Task]{"desired in cluster", func(t Task) []string { return []string{t.ClusterARN + "|" + string(t.Desired)} }})

	CapacityProviders = NewTable("capacity-provider", 1, func(p CapacityProvider) string { return p.ARN })

	Nodes = NewTable("node", 1, func(n Node) string { return n.ID })

	Instances = NewTable("container-instance", 1, func(i Instance) string { return i.ARN },
		Index[Instance]{"cluster", func(i Instance) []string { return []string{i.ClusterARN} }},
		Index[Instance]{"node", func(i Instance) []string { return []string{i.NodeID} }})

	ClientTokens = NewTable("client-token", 1, func(c ClientToken) string { return c.Key })

	AccountSettings = NewTable("account-setting", 1, func(s AccountSetting) string { return s.PrincipalARN + "|" + s.Name })

	LogGroups = NewTable("log-group", 1, func(g LogGroup) string { return g.Name },
		Index[LogGroup]{"id", func(g LogGroup) []string { return []string{g.ID} }})

	LogStreams = NewTable("log-stream", 1, func(s LogStream) string { return LogStreamKey(s.GroupID, s.Name) },
		Index[LogStream]{"id", func(s LogStream) []string { return []string{s.ID} }},
		Index[LogStream]{"group", func(s LogStream) []string { return []string{s.GroupID} }})
)

func unstopped(t Task, value string) []string {
	if t.Last == lifecycle.Stopped || value == "" {
		return nil
	}
	return []string{value}
}

// Cluster is where containers run. Writer: api/ecs; control's reaper deletes it.
type Cluster struct {
	ARN  string
	Name string
	// Status is ACTIVE or INACTIVE; an inactive cluster is still described for a while.
	Status                          string
	Settings                        []types.ClusterSetting               `json:",omitempty"`
	Configuration                   *types.ClusterConfiguration          `json:",omitempty"`
	ServiceConnectDefaults          *types.ClusterServiceConnectDefaults `json:",omitempty"`
	CapacityProviders               []string                             `json:",omitempty"`
	DefaultCapacityProviderStrategy []types.CapacityProviderStrategyItem `json:",omitempty"`
	Tags                            []types.Tag                          `json:",omitempty"`
	CreatedAt                       time.Time
	DeletedAt                       time.Time `json:",omitzero"`
}

// CapacityProvider is a name for some of the machines. Writer: api/ecs, which deletes it too.
type CapacityProvider struct {
	ARN  string
	Name string
	// Group is what was said of the Auto Scaling group, of which there is none here.
	Group        types.AutoScalingGroupProvider
	Tags         []types.Tag                        `json:",omitempty"`
	Update       types.CapacityProviderUpdateStatus `json:",omitempty"` // how its last change went
	UpdateReason string                             `json:",omitempty"`
	CreatedAt    time.Time
}

// Family numbers the revisions of a task definition. Numbers are never used twice. Writer: api/ecs.
type Family struct {
	Name         string
	LastRevision int32
}

// TaskDefinition is one revision of a family. Writer: api/ecs; control's reaper deletes it.
type TaskDefinition struct {
	ARN      string
	Family   string
	Revision int32
	// Spec is what was registered, normalised as ECS does; the members that ECS fills in itself (ARN,
	// revision, status, times) are empty here and stand beside it.
	Spec types.TaskDefinition
	// Status is ACTIVE, INACTIVE or DELETE_IN_PROGRESS.
	Status            types.TaskDefinitionStatus
	Tags              []types.Tag `json:",omitempty"`
	RegisteredAt      time.Time
	RegisteredBy      string
	DeregisteredAt    time.Time `json:",omitzero"`
	DeleteRequestedAt time.Time `json:",omitzero"`
}

// Resources are what a node has and a task takes.
type Resources struct {
	CPU    int64 // units, 1024 a core
	Memory int64 // MiB
	// Ports are, of a node's total, those that no task may have; of a node's remaining, those that are
	// taken; of a task, those that it takes.
	TCPPorts []uint16 `json:",omitempty"`
	UDPPorts []uint16 `json:",omitempty"`
	GPUs     []string `json:",omitempty"`
}

// Task is a running copy of a task definition. Control's reaper deletes it.
type Task struct {
	// Writer: api/ecs, at creation.
	ARN           string
	ClusterARN    string
	DefinitionARN string

	// The container instance that it was placed on, and that one's node. Writer: placement, at creation.
	InstanceARN string
	NodeID      string

	// What was asked. Writer: api/ecs, at creation; of a service's task, control.
	Group             string
	StartedBy         string `json:",omitempty"`
	LaunchType        types.LaunchType
	CapacityProvider  string             `json:",omitempty"` // the name of the one that it is for; empty = of none
	Overrides         types.TaskOverride `json:",omitzero"`
	EnableManagedTags bool               `json:",omitempty"`
	ReferenceID       string             `json:",omitempty"`
	CreatedAt         time.Time
	AskedBy           string `json:",omitempty"` // the ARN of the principal
	AskedFor          int    `json:",omitempty"` // how many tasks the same request asked for
	// The service that it is a copy of, and what it was made from. Writer: control, at creation.
	ServiceARN  string `json:",omitempty"`
	RevisionARN string `json:",omitempty"`
	// Reserved is what it holds of its node's resources until it is STOPPED. Writer: api/ecs, at creation;
	// placement, which says which GPUs, and takes it back in the transaction that makes the task STOPPED.
	Reserved Resources

	// Writer: api/ecs (TagResource).
	Tags []types.Tag `json:",omitempty"`

	// ProtectedUntil is how long its service may not stop it for needing fewer tasks; see Protected. Writer: api/ecs
	// (UpdateTaskProtection).
	ProtectedUntil time.Time `json:",omitzero"`

	// Attached: targets stand for it in target groups. Its node is told to stop it only when that is over: first it is
	// deregistered and drained, then it gets its SIGTERM. Writer: control (targets).
	Attached bool `json:",omitempty"`
	// Counted: if it failed, that has been counted for its deployment. Writer: control (deploy).
	Counted bool `json:",omitempty"`
	// HealthyAt is when its service first found it healthy: what fails before has failed to come up. Writer: control
	// (deploy).
	HealthyAt time.Time `json:",omitzero"`

	// Where it should get to: RUNNING, then STOPPED for ever, with when and why. Whoever is the first to say
	// STOPPED gives the reason. Writer: api/ecs, when a user wants it, and when its node reports that it has
	// stopped by itself; control, for a task whose container instance is deregistered or gone, and for one that its
	// service needs no more.
	Desired       lifecycle.Status
	StoppingAt    time.Time          `json:",omitzero"`
	StopCode      types.TaskStopCode `json:",omitempty"`
	StoppedReason string             `json:",omitempty"`
	StoppedBy     string             `json:",omitempty"` // the ARN of the principal, if one did

	// What its node observed. Writer: api/ecs, in the Submit operations that the node calls; control writes
	// Last, Containers and StoppedAt where no node will speak any more: lifecycle.Moves says when.
	Last               lifecycle.Status
	Containers         []Container
	ConnectedAt        time.Time `json:",omitzero"`
	PullStartedAt      time.Time `json:",omitzero"`
	PullStoppedAt      time.Time `json:",omitzero"`
	StartedAt          time.Time `json:",omitzero"`
	ExecutionStoppedAt time.Time `json:",omitzero"`
	StoppedAt          time.Time `json:",omitzero"`
	// What its node says of the health of its containers, as telemetry; one of which nothing stands here is UNKNOWN.
	// Writer: dispatch, until the task is STOPPED.
	Health []ContainerHealth `json:",omitempty"`
	// Version grows with every change that DescribeTasks shows. Whoever makes one adds to it.
	Version int64
}

// Wanted is what its node is told to make of it: STOPPED only when nobody reaches it any more.
func (t Task) Wanted() lifecycle.Status {
	if t.Draining() {
		return lifecycle.Running
	}
	return t.Desired
}

// Attachable reports whether targets may stand for it: it runs, and is to run on.
func (t Task) Attachable() bool { return t.Last == lifecycle.Running && t.Desired == lifecycle.Running }

// Draining reports whether it is to stop, and runs on for the requests that are under way to it.
func (t Task) Draining() bool {
	return t.Attached && t.Desired == lifecycle.Stopped && t.Last == lifecycle.Running
}

// Shown is its status as users see it. A service's task that is to stop is DEACTIVATING while its targets are taken out
// of their target groups, and STOPPING when its node is to stop it. No node says that, and no record: it follows from the
// rest. Developer Guide, "Amazon ECS task lifecycle".
func (t Task) Shown() lifecycle.Status {
	switch {
	case t.Draining():
		return lifecycle.Deactivating
	case t.ServiceARN != "" && t.Last == lifecycle.Running && t.Desired == lifecycle.Stopped:
		return lifecycle.Stopping
	}
	return t.Last
}

// ContainerHealth is what a container's health check says.
type ContainerHealth struct {
	Name    string
	Status  types.HealthStatus
	Since   time.Time `json:",omitzero"`
	Message string    `json:",omitempty"` // what the probe wrote that brought it there
}

// Protected reports whether its service may not stop the task for needing fewer. That it ends is no event: nobody
// needs to write it down.
func (t Task) Protected(now time.Time) bool { return now.Before(t.ProtectedUntil) }

// Container is what was observed of one container of a task.
type Container struct {
	ARN         string
	Name        string
	Image       string
	ImageDigest string              `json:",omitempty"`
	RuntimeID   string              `json:",omitempty"`
	Last        lifecycle.Status    // PENDING, RUNNING or STOPPED
	ExitCode    *int32              `json:",omitempty"`
	Reason      string              `json:",omitempty"`
	Bindings    []lifecycle.Binding `json:",omitempty"`
	// StoppedAt is when its node first told that it has stopped: no protocol tells when it did.
	StoppedAt time.Time `json:",omitzero"`
}

// Node is a machine that an agent runs on, with one set of resources, however many clusters it serves.
type Node struct {
	// Writer: api/ecs (RegisterContainerInstance; DeleteAttributes takes Attributes away).
	ID           string
	Total        Resources
	Attributes   []types.Attribute `json:",omitempty"`
	EveryCluster bool              `json:",omitempty"` // a container instance of every cluster, present and future
	RegisteredAt time.Time
	// EC2InstanceID is what its identity document says. A machine that is none of EC2's has one made of its ID: it is how
	// target groups name it.
	EC2InstanceID string `json:",omitempty"`

	// Remaining is what tasks have not taken. Writer: placement, in the transaction of whoever registers the
	// node, starts a task or makes one STOPPED.
	Remaining Resources

	// The agent's connection. Writer: dispatch.
	Connected     bool
	ConnectedAt   time.Time `json:",omitzero"` // when Connected last changed
	AgentVersion  string    `json:",omitempty"`
	AgentHash     string    `json:",omitempty"`
	DockerVersion string    `json:",omitempty"`
	// Address is where the machine can be reached from here: what its agent connected from. Empty = it is this machine.
	Address  string `json:",omitempty"`
	Timeline int64  `json:",omitempty"` // the highest manifest number given to a session

	// Condition is what the agent says of the machine itself. Writer: dispatch.
	Condition Condition `json:",omitzero"`
}

// Condition is whether a node can run tasks, as its agent says.
type Condition struct {
	Status types.InstanceHealthCheckState // empty = it has said nothing
	// Reason is why it is IMPAIRED, where the agent says that.
	Reason  string    `json:",omitempty"`
	Since   time.Time `json:",omitzero"`
	Updated time.Time `json:",omitzero"`
}

// Impaired reports whether the node should be given no tasks.
func (c Condition) Impaired() bool { return c.Status == types.InstanceHealthCheckStateImpaired }

// Instance is a node's membership in a cluster: a container instance. Writer: api/ecs; placement makes and
// deletes the automatic ones, for api/ecs and for control's Membership; control's reaper deletes those that
// are INACTIVE.
type Instance struct {
	ARN        string
	ClusterARN string
	NodeID     string
	// Automatic: here because the node serves every cluster; it goes away with the cluster.
	Automatic bool `json:",omitempty"`
	// Status is ACTIVE, DRAINING or INACTIVE.
	Status string
	// Attributes are those put by users on this instance, beside those of the node.
	Attributes   []types.Attribute `json:",omitempty"`
	Tags         []types.Tag       `json:",omitempty"`
	RegisteredAt time.Time
	// DeregisteredAt is when Status became INACTIVE; the record is kept for an hour from then on.
	DeregisteredAt time.Time `json:",omitzero"`
	// Version grows with every change that DescribeContainerInstances shows of this record.
	Version int64
}

// Has reports whether a task that was placed on this container instance is still its own: not if that is
// deregistered or gone, which the zero Instance stands for. Nor if the task was told to stop and the instance has
// been registered again since the task was made; clocks alone take no task away from it.
func (i Instance) Has(t Task) bool {
	again := t.Desired == lifecycle.Stopped && i.RegisteredAt.After(t.CreatedAt)
	return i.ARN != "" && i.Status != "INACTIVE" && !again
}

// ClientTokenLife is how long a client token stands for the tasks that it was first used for.
const ClientTokenLife = 24 * time.Hour

// ClientToken makes a request idempotent: the same token with the same request answers with the same
// tasks, for ClientTokenLife. Writer: api/ecs; control's reaper deletes it.
type ClientToken struct {
	Key         string // operation|cluster ARN|token
	Fingerprint string // sha256 of the request without its token
	TaskARNs    []string
	CreatedAt   time.Time
}

// AccountSetting is a setting of one principal, or the account's default where PrincipalARN is that of
// the account's root. Writer: api/ecs, which deletes it too.
type AccountSetting struct {
	Name         string
	Value        string
	PrincipalARN string
}
