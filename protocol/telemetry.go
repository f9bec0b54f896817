package protocol

import (
	"encoding/json"
	"time"
)

// HealthReport is what a node says of the health of containers, on TCS: of those that have a health check.
type HealthReport struct {
	Metadata  HealthMetadata `json:"metadata"`
	Tasks     []TaskHealth   `json:"tasks"`
	Timestamp Epoch          `json:"timestamp"`
}

// HealthMetadata says who speaks. What does not fit into one message is told in several, of which the last
// is marked.
type HealthMetadata struct {
	Cluster           string `json:"cluster"`
	ContainerInstance string `json:"containerInstance"`
	MessageID         string `json:"messageId"`
	Fin               bool   `json:"fin"`
}

// TaskHealth is a task with containers that have a health check.
type TaskHealth struct {
	TaskARN    string            `json:"taskArn"`
	ClusterARN string            `json:"clusterArn,omitempty"`
	Family     string            `json:"taskDefinitionFamily,omitempty"`
	Version    string            `json:"taskDefinitionVersion,omitempty"`
	Containers []ContainerHealth `json:"containers"`
}

// ContainerHealth is what the last probes of a container said.
type ContainerHealth struct {
	Name   string `json:"containerName"`
	Status string `json:"healthStatus"` // HEALTHY, UNHEALTHY, UNKNOWN
	Since  Epoch  `json:"statusSince,omitzero"`
	// Message is what the last probe wrote.
	Message string `json:"statusMessage,omitempty"`
}

// MaxHealthTasks is how many tasks a HealthReport tells of, as the stock agent has it.
const MaxHealthTasks = 10

func (*HealthReport) kind() string { return "PublishHealthRequest" }

// ConditionReport is what a node says of the machine itself, on TCS.
type ConditionReport struct {
	Metadata  ConditionMetadata `json:"metadata"`
	Statuses  []Condition       `json:"statuses"`
	Timestamp Epoch             `json:"timestamp"`
}

// ConditionMetadata says who speaks.
type ConditionMetadata struct {
	Cluster           string `json:"cluster"`
	ContainerInstance string `json:"containerInstance"`
	RequestID         string `json:"requestId"`
}

// Condition is how one check of the machine went.
type Condition struct {
	Type       string `json:"type"`   // ContainerRuntime
	Status     string `json:"status"` // OK, IMPAIRED, INSUFFICIENT_DATA, INITIALIZING
	Updated    Epoch  `json:"lastUpdated,omitzero"`
	LastChange Epoch  `json:"lastStatusChange,omitzero"`
	Reason     string `json:"statusReason,omitempty"`
}

// ContainerRuntime is the check of whether the machine can run containers.
const ContainerRuntime = "ContainerRuntime"

func (*ConditionReport) kind() string { return "PublishInstanceStatusRequest" }

// Epoch is a time on the wire: seconds since 1970, with a fraction. It is read from RFC 3339 as well, and
// what is neither, or nowhere near, is the zero time: a time is never why a report is lost.
type Epoch struct{ time.Time }

// MarshalJSON writes seconds, in milliseconds' precision.
func (e Epoch) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(e.UnixMilli()) / 1000)
}

// UnmarshalJSON never fails.
func (e *Epoch) UnmarshalJSON(b []byte) error {
	*e = Epoch{}
	var text string
	if json.Unmarshal(b, &text) == nil {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			e.Time = t.UTC()
		}
		return nil
	}
	const latest = 253402300799 // the end of the year 9999
	var seconds float64
	if json.Unmarshal(b, &seconds) == nil && seconds > 0 && seconds < latest {
		e.Time = time.UnixMilli(int64(seconds * 1000)).UTC()
	}
	return nil
}
