package control

import (
	"fmt"
	"testing"

	"havn/lifecycle"
	"havn/state"
)

// TestMoreThanOneTransaction: what does not fit in one transaction is done in several, at once.
func TestMoreThanOneTransaction(t *testing.T) {
	w := newWorld(t, All()...)
	const many = 1203
	for first := 0; first < many; first += 200 {
		w.update(func(tx *state.Tx) {
			for n := first; n < min(first+200, many); n++ {
				name := fmt.Sprintf("c%04d", n)
				state.Clusters.Put(tx, state.Cluster{ARN: arn("cluster", name), Name: name, Status: "ACTIVE"})
			}
		})
	}
	w.update(func(tx *state.Tx) { state.Nodes.Put(tx, state.Node{ID: "n1", EveryCluster: true}) })
	w.pass(1000)
	var home state.Instance
	w.store.View(func(r *state.Reader) {
		if n := state.Instances.CountBy(r, "node", "n1"); n != many {
			t.Errorf("the node is in %d of %d clusters", n, many)
		}
		for i := range state.Instances.By(r, "cluster", arn("cluster", "c0000")) {
			home = i
		}
	})

	for first := 0; first < many; first += 200 {
		w.update(func(tx *state.Tx) {
			for n := first; n < min(first+200, many); n++ {
				state.Tasks.Put(tx, state.Task{
					ARN: arn("task", fmt.Sprintf("c0000/t%04d", n)), ClusterARN: home.ClusterARN, InstanceARN: home.ARN, NodeID: "n1",
					Desired: lifecycle.Running, Last: lifecycle.Running, Reserved: state.Resources{CPU: 2},
				})
			}
		})
	}
	home.Status = "INACTIVE"
	w.update(func(tx *state.Tx) { state.Instances.Put(tx, home) })
	w.pass(1000)
	w.store.View(func(r *state.Reader) {
		for task := range state.Tasks.By(r, "instance", home.ARN) {
			if task.Last != lifecycle.Stopped {
				t.Fatalf("%s is %s", task.ARN, task.Last)
			}
		}
		if n, _ := state.Nodes.Get(r, "n1"); n.Remaining.CPU != 2*many {
			t.Errorf("%d units came back, want %d", n.Remaining.CPU, 2*many)
		}
	})

	// The way back: the node leaves every cluster, the one where it is deregistered too.
	w.update(func(tx *state.Tx) {
		n, _ := state.Nodes.Get(tx, "n1")
		n.EveryCluster = false
		state.Nodes.Put(tx, n)
	})
	w.pass(1000)
	w.store.View(func(r *state.Reader) {
		if n := state.Instances.CountBy(r, "node", "n1"); n != 0 {
			t.Errorf("the node is still in %d clusters", n)
		}
	})
}

// TestManyNodesLeaveACluster: a cluster that is deleted loses all its nodes, however many.
func TestManyNodesLeaveACluster(t *testing.T) {
	w := newWorld(t, All()...)
	const many = 1203
	demo := state.Cluster{ARN: arn("cluster", "demo"), Name: "demo", Status: "ACTIVE"}
	w.update(func(tx *state.Tx) { state.Clusters.Put(tx, demo) })
	for first := 0; first < many; first += 200 {
		w.update(func(tx *state.Tx) {
			for n := first; n < min(first+200, many); n++ {
				state.Nodes.Put(tx, state.Node{ID: fmt.Sprintf("n%04d", n), EveryCluster: true})
			}
		})
	}
	w.pass(1000)
	members := func() (n int) {
		w.store.View(func(r *state.Reader) { n = state.Instances.CountBy(r, "cluster", demo.ARN) })
		return n
	}
	if n := members(); n != many {
		t.Fatalf("%d of %d nodes are in the cluster", n, many)
	}
	demo.Status, demo.DeletedAt = "INACTIVE", w.now
	w.update(func(tx *state.Tx) { state.Clusters.Put(tx, demo) })
	w.pass(1000)
	if n := members(); n != 0 {
		t.Errorf("%d nodes are still in the cluster", n)
	}
}
