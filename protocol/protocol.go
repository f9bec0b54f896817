// Package protocol holds the messages of the node protocol: what the server and an agent say to each
// other about tasks, in the public form that the Amazon ECS container agent speaks. Havn's own agent has
// no private door, and the stock agent can join a Havn cluster.
//
// Words:
//
//   - ACS (agent communication service): the websocket that carries assignments to a node.
//   - TCS (telemetry communication service): the websocket that carries metrics and health from a node.
//   - envelope: {"type": NAME, "message": {...}}, one text frame, both ways.
//   - payload: the message that assigns tasks. An assignment is level, not edge: the same task may be
//     sent again, and only its desired status matters then.
//   - manifest: the whole list of tasks that the server believes to be on a node, sent after a connect.
//
// The other half of the protocol (RegisterContainerInstance, DiscoverPollEndpoint, Submit*StateChange)
// is ordinary ECS API calls.
package protocol

import (
	"encoding/json"
	"fmt"
)

// MaxFrame is the largest websocket frame that either side accepts, in bytes. A payload carries whole
// task definitions; those are limited to 64 KiB each by ECS, and a message carries at most ten.
const MaxFrame = 1 << 20

// Message is what an envelope can carry: one of the pointer types of this package.
type Message interface{ kind() string }

// Kind is the envelope's type name of a message.
func Kind(m Message) string { return m.kind() }

// Payload assigns tasks to a node: start them, or with desired status STOPPED, stop them.
type Payload struct {
	MessageID            string `json:"messageId"`
	ClusterARN           string `json:"clusterArn"`
	ContainerInstanceARN string `json:"containerInstanceArn"`
	Tasks                []Task `json:"tasks"`
	SeqNum               int64  `json:"seqNum"`
	GeneratedAt          int64  `json:"generatedAt"` // milliseconds since 1970
	Timeline             int64  `json:"timeline,omitempty"`
}

// Ack says that every task of a Payload (or another message that wants it) was accepted.
type Ack struct {
	Cluster           string `json:"cluster"`
	ContainerInstance string `json:"containerInstance"`
	MessageID         string `json:"messageId"`
}

// Nack refuses a message.
type Nack struct {
	Cluster           string `json:"cluster"`
	ContainerInstance string `json:"containerInstance"`
	MessageID         string `json:"messageId"`
	Reason            string `json:"reason"`
}

// Heartbeat keeps both ends sure of each other. The stock agent closes a connection on which it heard
// nothing for a minute or two.
type Heartbeat struct {
	MessageID string `json:"messageId,omitempty"`
	Healthy   bool   `json:"healthy"`
}

// HeartbeatAck answers a Heartbeat on ACS.
type HeartbeatAck struct {
	MessageID string `json:"messageId"`
}

// Manifest lists every task that the server believes to be on the node.
type Manifest struct {
	MessageID            string         `json:"messageId"`
	ClusterARN           string         `json:"clusterArn"`
	ContainerInstanceARN string         `json:"containerInstanceArn"`
	Tasks                []TaskIdentity `json:"tasks"`
	GeneratedAt          int64          `json:"generatedAt"`
	// Timeline grows with every manifest of an instance; an older one is dropped by the agent.
	Timeline int64 `json:"timeline"`
}

// TaskIdentity names a task and where it should get to.
type TaskIdentity struct {
	TaskARN       string `json:"taskArn"`
	ClusterARN    string `json:"taskClusterArn"`
	DesiredStatus string `json:"desiredStatus"`
}

// StopVerification asks whether tasks that a Manifest did not list should really be stopped. Its id is
// the manifest's.
type StopVerification struct {
	MessageID      string         `json:"messageId"`
	StopCandidates []TaskIdentity `json:"stopCandidates"`
}

// StopVerificationAck confirms those that should.
type StopVerificationAck struct {
	MessageID   string         `json:"messageId"`
	GeneratedAt int64          `json:"generatedAt"`
	StopTasks   []TaskIdentity `json:"stopTasks"`
}

// Failure is an exception sent as a message, or as the body of a refused handshake.
type Failure struct {
	Name    string `json:"-"` // e.g. InactiveInstanceException
	Message string `json:"message"`
}

// The exceptions that an agent knows on ACS.
const (
	InvalidInstance  = "InvalidInstanceException"
	InvalidCluster   = "InvalidClusterException"
	InactiveInstance = "InactiveInstanceException"
	AccessDenied     = "AccessDeniedException"
	ServerFault      = "ServerException"
	BadRequest       = "BadRequestException"
)

func (*Payload) kind() string             { return "PayloadMessage" }
func (*Ack) kind() string                 { return "AckRequest" }
func (*Nack) kind() string                { return "NackRequest" }
func (*Heartbeat) kind() string           { return "HeartbeatMessage" }
func (*HeartbeatAck) kind() string        { return "HeartbeatAckRequest" }
func (*Manifest) kind() string            { return "TaskManifestMessage" }
func (*StopVerification) kind() string    { return "TaskStopVerificationMessage" }
func (*StopVerificationAck) kind() string { return "TaskStopVerificationAck" }
func (f *Failure) kind() string           { return f.Name }

func blank(kind string) Message {
	switch kind {
	case "PayloadMessage":
		return &Payload{}
	case "AckRequest":
		return &Ack{}
	case "NackRequest":
		return &Nack{}
	case "HeartbeatMessage":
		return &Heartbeat{}
	case "HeartbeatAckRequest":
		return &HeartbeatAck{}
	case "TaskManifestMessage":
		return &Manifest{}
	case "TaskStopVerificationMessage":
		return &StopVerification{}
	case "TaskStopVerificationAck":
		return &StopVerificationAck{}
	case InvalidInstance, InvalidCluster, InactiveInstance, AccessDenied, ServerFault, BadRequest:
		return &Failure{Name: kind}
	}
	return nil
}

type envelope struct {
	Type    string          `json:"type"`
	Message json.RawMessage `json:"message"`
}

// Encode puts a message into its envelope.
func Encode(m Message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", m.kind(), err)
	}
	return json.Marshal(envelope{Type: m.kind(), Message: body})
}

// Decode takes a message out of its envelope. A type that this version does not know gives a nil message
// and no error: both ends ignore what they do not know, so that either can be newer.
func Decode(frame []byte) (Message, error) {
	var e envelope
	if err := json.Unmarshal(frame, &e); err != nil {
		return nil, fmt.Errorf("cannot decode envelope: %w", err)
	}
	m := blank(e.Type)
	if m == nil {
		return nil, nil
	}
	if len(e.Message) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(e.Message, m); err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", e.Type, err)
	}
	return m, nil
}
