package placement

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"time"

	"havn/state"
)

// A node that serves every cluster is a container instance of each ACTIVE one. Whoever makes such a pair
// possible writes the record in the same transaction, so that nobody ever sees a cluster without the
// machines that it has: CreateCluster calls JoinCluster, RegisterContainerInstance calls JoinNode. Two of
// these at the same time may not see each other; control's Membership closes that gap, with these same
// functions.

// maxMembers is how many container instances one call makes or removes. Control does the rest.
const maxMembers = 500

// JoinCluster makes all nodes that serve every cluster container instances of c. It reports whether there
// are more than one call makes.
func JoinCluster(tx *state.Tx, c state.Cluster, now time.Time) (more bool) {
	if c.Status != "ACTIVE" {
		return false
	}
	joined := map[string]bool{}
	for i := range state.Instances.By(tx, "cluster", c.ARN) {
		joined[i.NodeID] = true // also what a user has deregistered: remembered as long as the cluster is
	}
	made := 0
	for n := range state.Nodes.All(tx) {
		if !n.EveryCluster || joined[n.ID] {
			continue
		}
		if made++; made > maxMembers {
			return true
		}
		join(tx, c.ARN, n.ID, now)
	}
	return false
}

// JoinNode makes n a container instance of all clusters, if it serves every one. It reports whether there
// are more than one call makes.
func JoinNode(tx *state.Tx, n state.Node, now time.Time) (more bool) {
	if !n.EveryCluster {
		return false
	}
	joined := map[string]bool{}
	for i := range state.Instances.By(tx, "node", n.ID) {
		joined[i.ClusterARN] = true
	}
	made := 0
	for c := range state.Clusters.All(tx) {
		if c.Status != "ACTIVE" || joined[c.ARN] {
			continue
		}
		if made++; made > maxMembers {
			return true
		}
		join(tx, c.ARN, n.ID, now)
	}
	return false
}

// LeaveCluster removes the automatic container instances of a cluster that is no longer ACTIVE. It reports
// whether there are more than one call removes. DeleteCluster calls it, once it has seen that nothing else
// is in the cluster.
func LeaveCluster(tx *state.Tx, clusterARN string) (more bool) {
	return leave(tx, state.Instances.By(tx, "cluster", clusterARN))
}

// LeaveNode removes the automatic container instances of a node that no longer serves every cluster. It
// reports whether there are more than one call removes.
func LeaveNode(tx *state.Tx, nodeID string) (more bool) {
	return leave(tx, state.Instances.By(tx, "node", nodeID))
}

func leave(tx *state.Tx, instances iter.Seq[state.Instance]) (more bool) {
	removed := 0
	for i := range instances {
		if !i.Automatic {
			continue
		}
		if removed++; removed > maxMembers {
			return true
		}
		state.Instances.Delete(tx, i.ARN)
	}
	return false
}

func join(tx *state.Tx, clusterARN, nodeID string, now time.Time) {
	arn := AutomaticInstanceARN(clusterARN, nodeID)
	if _, ok := state.Instances.Get(tx, arn); ok {
		return
	}
	state.Instances.Put(tx, state.Instance{
		ARN: arn, ClusterARN: clusterARN, NodeID: nodeID, Automatic: true,
		Status: "ACTIVE", RegisteredAt: now, Version: 1,
	})
}

// AutomaticInstanceARN names the container instance that a node is of a cluster because it serves every
// one. It is the same for the same pair, so that two writers cannot make two records.
func AutomaticInstanceARN(clusterARN, nodeID string) string {
	sum := sha256.Sum256([]byte(clusterARN + "|" + nodeID))
	return memberARN(clusterARN, "container-instance", hex.EncodeToString(sum[:16]))
}
