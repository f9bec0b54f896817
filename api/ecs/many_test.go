package ecs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"

	"havn/lifecycle"
	"havn/state"
)

// TestMoreThanOneTransaction: what is more than one transaction may write does not keep a user from it.
// Package control does the rest.
func TestMoreThanOneTransaction(t *testing.T) {
	const many, slice = 1203, 200
	w := newWorld(t, time.Now)
	demo, err := w.CreateCluster(t.Context(), &sdk.CreateClusterInput{ClusterName: aws.String("demo")})
	if err != nil {
		t.Fatal(err)
	}
	cluster := *demo.Cluster.ClusterArn
	home := state.Instance{ARN: "arn:aws:ecs:us-east-1:000000000000:container-instance/demo/home", ClusterARN: cluster, NodeID: "home", Status: "ACTIVE"}
	for first := 0; first < many; first += slice {
		w.put(t, func(tx *state.Tx) {
			state.Nodes.Put(tx, state.Node{ID: "home"})
			state.Instances.Put(tx, home)
			for n := first; n < min(first+slice, many); n++ {
				name := fmt.Sprintf("%04d", n)
				state.Nodes.Put(tx, state.Node{ID: name, EveryCluster: true})
				state.Instances.Put(tx, state.Instance{ARN: home.ARN + name, ClusterARN: cluster, NodeID: name, Automatic: true, Status: "ACTIVE"})
				state.Tasks.Put(tx, state.Task{ARN: "arn:aws:ecs:us-east-1:000000000000:task/demo/" + name, ClusterARN: cluster,
					InstanceARN: home.ARN, NodeID: home.NodeID, Desired: lifecycle.Running, Last: lifecycle.Running})
			}
		})
	}

	if _, err := w.DeregisterContainerInstance(t.Context(), &sdk.DeregisterContainerInstanceInput{
		Cluster: &cluster, ContainerInstance: &home.ARN, Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	for first := 0; first < many; first += slice {
		w.put(t, func(tx *state.Tx) {
			for n := first; n < min(first+slice, many); n++ {
				state.Tasks.Delete(tx, fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/demo/%04d", n))
			}
		})
	}
	deleted, err := w.DeleteCluster(t.Context(), &sdk.DeleteClusterInput{Cluster: &cluster})
	if err != nil {
		t.Fatal(err)
	}
	if *deleted.Cluster.Status != "INACTIVE" {
		t.Errorf("the cluster is %s", *deleted.Cluster.Status)
	}
}
