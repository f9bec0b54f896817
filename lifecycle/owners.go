package lifecycle

import "slices"

// Owner is who may move the status of a task.
type Owner string

// The owners.
const (
	API     Owner = "api"     // RunTask and StartTask, through placement: a task begins
	Control Owner = "control" // speaks for a node that was taken out of its cluster and is not there to speak
	Node    Owner = "node"    // the agent, in the Submit operations that it calls
)

// Contact is what decides between two owners: whether a task's node still has a say. A node that is merely
// silent keeps its tasks' statuses, and so does one whose container instance was deregistered, as long as it is
// connected: it is told to stop the task, and reports when it has. Only when the container instance is
// deregistered or gone and the node is not connected are its reports turned away, to be made again, and only then
// does control write instead.
type Contact string

// The kinds of contact.
const (
	Heard Contact = "heard" // the container instance is registered, or the node is connected
	Lost  Contact = "lost"  // neither
)

// Move is a row of the table of owners: who may take a task from a status, and where to.
type Move struct {
	From  Status // empty = the task does not exist
	While Contact
	Owner Owner
	To    []Status
}

// Moves is the table. Each status is left by one owner only while the contact is as it says, and no move
// goes back.
//
//	             api                node                      node
//	not there -----------> PENDING --------------> RUNNING --------------> STOPPED
//	                          |             contact lost: control             ^
//	                          +------------------------+----------------------+
var Moves = []Move{
	{"", Heard, API, []Status{Provisioning, Pending}},
	{Provisioning, Heard, Node, []Status{Pending, Activating, Running, Deprovisioning, Stopped}},
	{Pending, Heard, Node, []Status{Activating, Running, Deactivating, Stopping, Deprovisioning, Stopped}},
	{Activating, Heard, Node, []Status{Running, Deactivating, Stopping, Deprovisioning, Stopped}},
	{Running, Heard, Node, []Status{Deactivating, Stopping, Deprovisioning, Stopped}},
	{Deactivating, Heard, Node, []Status{Stopping, Deprovisioning, Stopped}},
	{Stopping, Heard, Node, []Status{Deprovisioning, Stopped}},
	{Deprovisioning, Heard, Node, []Status{Stopped}},

	{Provisioning, Lost, Control, []Status{Stopped}},
	{Pending, Lost, Control, []Status{Stopped}},
	{Activating, Lost, Control, []Status{Stopped}},
	{Running, Lost, Control, []Status{Stopped}},
	{Deactivating, Lost, Control, []Status{Stopped}},
	{Stopping, Lost, Control, []Status{Stopped}},
	{Deprovisioning, Lost, Control, []Status{Stopped}},
}

// MayMove reports whether the owner may take a task from one status to another while the contact with its
// node is as told.
func MayMove(o Owner, from, to Status, while Contact) bool {
	return slices.ContainsFunc(Moves, func(m Move) bool {
		return m.Owner == o && m.From == from && m.While == while && slices.Contains(m.To, to)
	})
}
