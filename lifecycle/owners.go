package lifecycle

import "slices"

// Owner is who may move the status of a task.
type Owner string

// The owners.
const (
	API     Owner = "api"     // RunTask and StartTask, through placement: a task begins
	Control Owner = "control" // speaks for nodes that will never speak again
	Node    Owner = "node"    // the agent, in the Submit operations that it calls
)

// Instance is what decides between two owners: whether the task's container instance is registered. A
// node that is merely silent keeps its tasks' statuses. Once the instance is deregistered, its reports
// are refused, and only then does control write instead.
type Instance string

// The states of a container instance that matter here.
const (
	Registered   Instance = "registered"
	Deregistered Instance = "deregistered"
)

// Move is a row of the table of owners: who may take a task from a status, and where to.
type Move struct {
	From  Status // empty = the task does not exist
	While Instance
	Owner Owner
	To    []Status
}

// Moves is the table. Each status is left by one owner only while the instance is as it says, and no move
// goes back.
//
//	             api                node                      node
//	not there -----------> PENDING --------------> RUNNING --------------> STOPPED
//	                          |        instance deregistered: control         ^
//	                          +------------------------+----------------------+
var Moves = []Move{
	{"", Registered, API, []Status{Provisioning, Pending}},
	{Provisioning, Registered, Node, []Status{Pending, Activating, Running, Deprovisioning, Stopped}},
	{Pending, Registered, Node, []Status{Activating, Running, Deactivating, Stopping, Deprovisioning, Stopped}},
	{Activating, Registered, Node, []Status{Running, Deactivating, Stopping, Deprovisioning, Stopped}},
	{Running, Registered, Node, []Status{Deactivating, Stopping, Deprovisioning, Stopped}},
	{Deactivating, Registered, Node, []Status{Stopping, Deprovisioning, Stopped}},
	{Stopping, Registered, Node, []Status{Deprovisioning, Stopped}},
	{Deprovisioning, Registered, Node, []Status{Stopped}},

	{Provisioning, Deregistered, Control, []Status{Stopped}},
	{Pending, Deregistered, Control, []Status{Stopped}},
	{Activating, Deregistered, Control, []Status{Stopped}},
	{Running, Deregistered, Control, []Status{Stopped}},
	{Deactivating, Deregistered, Control, []Status{Stopped}},
	{Stopping, Deregistered, Control, []Status{Stopped}},
	{Deprovisioning, Deregistered, Control, []Status{Stopped}},
}

// MayMove reports whether the owner may take a task from one status to another while its container
// instance is as told.
func MayMove(o Owner, from, to Status, while Instance) bool {
	return slices.ContainsFunc(Moves, func(m Move) bool {
		return m.Owner == o && m.From == from && m.While == while && slices.Contains(m.To, to)
	})
}
