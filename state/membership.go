package state

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// A node that serves every cluster is a container instance of each ACTIVE one. Whoever makes such a pair
// possible writes the record in the same transaction, so that nobody ever sees a cluster without the
// machines that it has: CreateCluster calls JoinCluster, RegisterContainerInstance calls JoinNode. Two of
// these at the same time may not see each other; control's Membership closes that gap, with these same
// functions.

// JoinCluster makes all nodes that serve every cluster container instances of c.
func JoinCluster(tx *Tx, c Cluster, now time.Time) {
	for n := range Nodes.All(tx) {
		join(tx, c, n, now)
	}
}

// JoinNode makes n a container instance of all clusters, if it serves every one.
func JoinNode(tx *Tx, n Node, now time.Time) {
	for c := range Clusters.All(tx) {
		join(tx, c, n, now)
	}
}

// LeaveCluster removes the automatic container instances of a cluster that is no longer ACTIVE. An
// instance that still has a task stays until that is STOPPED.
func LeaveCluster(tx *Tx, clusterARN string) {
	for i := range Instances.By(tx, "cluster", clusterARN) {
		if i.Automatic && !hasUnstopped(tx, i.ARN) {
			Instances.Delete(tx, i.ARN)
		}
	}
}

func join(tx *Tx, c Cluster, n Node, now time.Time) {
	if !n.EveryCluster || c.Status != "ACTIVE" {
		return
	}
	for i := range Instances.By(tx, "node", n.ID) {
		if i.ClusterARN == c.ARN {
			return // also if a user has deregistered it: that is remembered as long as the cluster is
		}
	}
	arn := automaticInstanceARN(c.ARN, n.ID)
	if _, ok := Instances.Get(tx, arn); ok {
		return
	}
	Instances.Put(tx, Instance{
		ARN: arn, ClusterARN: c.ARN, NodeID: n.ID, Automatic: true,
		Status: "ACTIVE", RegisteredAt: now, Version: 1,
	})
}

// automaticInstanceARN is the same for the same pair, so that two writers cannot make two records.
func automaticInstanceARN(clusterARN, nodeID string) string {
	sum := sha256.Sum256([]byte(clusterARN + "|" + nodeID))
	return strings.Replace(clusterARN, ":cluster/", ":container-instance/", 1) + "/" + hex.EncodeToString(sum[:16])
}

func hasUnstopped(tx *Tx, instanceARN string) bool {
	for t := range Tasks.By(tx, "instance", instanceARN) {
		if t.Last != "STOPPED" {
			return true
		}
	}
	return false
}
