package dispatch

import (
	"strings"
	"time"

	"havn/protocol"
	"havn/state"
)

// Hello is what an agent says of itself when it connects.
type Hello struct {
	Instance      string // ARN
	Cluster       string // as the agent was configured: a name, an ARN or nothing
	AgentVersion  string
	AgentHash     string
	DockerVersion string
	Address       string // what it connected from; empty = this machine
}

// Refusal is why an agent may not connect.
type Refusal struct {
	Name string // of the exceptions in package protocol
	Text string
}

func (r *Refusal) Error() string { return r.Name + ": " + r.Text }

// Connect writes that a node is connected, and begins its session. Its error is a *Refusal.
//
// Each session takes a block of manifest numbers off its node's timeline. The last of the block also tells
// sessions apart: a newer one has a higher.
func Connect(tx *state.Tx, h Hello, now time.Time) (*Session, error) {
	i, n, err := admit(tx, h)
	if err != nil {
		return nil, err
	}
	if !n.Connected {
		n.Connected, n.ConnectedAt = true, now
	}
	n.AgentVersion, n.AgentHash, n.DockerVersion = h.AgentVersion, h.AgentHash, h.DockerVersion
	n.Address = h.Address
	n.Timeline += manifests
	state.Nodes.Put(tx, n)
	return newSession(tx.NewID(), n, i), nil
}

func admit(src state.Source, h Hello) (state.Instance, state.Node, error) {
	i, ok := state.Instances.Get(src, h.Instance)
	if !ok {
		return i, state.Node{}, &Refusal{protocol.InvalidInstance, "The container instance is not registered."}
	}
	n, ok := state.Nodes.Get(src, i.NodeID)
	if !ok {
		return i, n, &Refusal{protocol.InvalidInstance, "The container instance is not registered."}
	}
	if i.Status == "INACTIVE" && !n.EveryCluster {
		return i, n, &Refusal{protocol.InactiveInstance, "The container instance is deregistered."}
	}
	if h.Cluster != "" && h.Cluster != i.ClusterARN && !strings.HasSuffix(i.ClusterARN, ":cluster/"+h.Cluster) {
		return i, n, &Refusal{protocol.InvalidCluster, "The container instance is registered in another cluster."}
	}
	return i, n, nil
}

// Disconnect writes that the session's node is no longer connected, unless a newer session of it is.
func (s *Session) Disconnect(tx *state.Tx, now time.Time) {
	n, ok := state.Nodes.Get(tx, s.node)
	if ok && n.Timeline == s.lastTimeline {
		disconnect(tx, n, now)
	}
}

// maxDisconnects is how many nodes one transaction disconnects.
const maxDisconnects = 500

// DisconnectAll writes that no node is connected, as is true when the server starts. It reports whether
// there are more than fit in one transaction.
func DisconnectAll(tx *state.Tx, now time.Time) (more bool) {
	count := 0
	for n := range state.Nodes.All(tx) {
		if !n.Connected {
			continue
		}
		if count++; count > maxDisconnects {
			return true
		}
		n, _ = state.Nodes.Get(tx, n.ID) // guarded
		disconnect(tx, n, now)
	}
	return false
}

func disconnect(tx *state.Tx, n state.Node, now time.Time) {
	if n.Connected {
		n.Connected, n.ConnectedAt = false, now
		state.Nodes.Put(tx, n)
	}
}
