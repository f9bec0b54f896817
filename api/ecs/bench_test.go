package ecs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"

	"havn/api/ecs"
	"havn/state"
	"havn/wire"
)

// benchServer is the handlers alone: no HTTP, and a log in memory.
func benchServer(b *testing.B) (*ecs.Server, context.Context) {
	b.Helper()
	ctx := wire.WithRequest(b.Context(), wire.Request{Now: time.Now(), Caller: wire.Principal{ARN: "arn:aws:iam::000000000000:root", Account: account}})
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		b.Fatal(err)
	}
	return ecs.NewServer(ecs.Config{Store: store, Region: region, Account: account}), ctx
}

func BenchmarkRegisterTaskDefinition(b *testing.B) {
	s, ctx := benchServer(b)
	for b.Loop() {
		if _, err := s.RegisterTaskDefinition(ctx, web()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDescribeTaskDefinition(b *testing.B) {
	s, ctx := benchServer(b)
	for range 100 {
		if _, err := s.RegisterTaskDefinition(ctx, web()); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() { // by family: the latest of 100 is looked for
		if _, err := s.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListClusters(b *testing.B) {
	s, ctx := benchServer(b)
	for n := range 100 {
		if _, err := s.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: aws.String(fmt.Sprint("c", n))}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.ListClusters(ctx, &sdk.ListClustersInput{}); err != nil {
			b.Fatal(err)
		}
	}
}
