package ecs_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/api/ecs"
	"havn/state"
	"havn/wire"
)

const (
	region  = "us-east-1"
	account = "000000000000"
)

// world is the API over HTTP, with a state in memory and ids that count.
type world struct {
	*sdk.Client
	store *state.Store
	log   *state.Memory
	url   string
}

// newWorld makes a world in which it is now. The SDK's client signs with the real time, so a world that has
// another is for requests that are signed by hand.
func newWorld(t testing.TB, now func() time.Time) *world {
	t.Helper()
	w := &world{log: &state.Memory{}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var ids atomic.Int64
	store, err := state.Open(ctx, w.log, state.Config{NewID: func() string { return fmt.Sprintf("%032x", ids.Add(1)) }})
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	server := ecs.NewServer(ecs.Config{
		Store: store, Region: region, Account: account,
		PollEndpoint: func(context.Context) string { return "http://127.0.0.1:4566" },
	})
	h := httptest.NewServer(wire.NewServer(wire.Config{
		APIs:    []*wire.API{server.API()},
		Region:  region,
		Account: account,
		Credentials: func(context.Context, string, string) (wire.Credential, error) {
			return wire.Credential{Secret: "secret", Principal: wire.Principal{
				ARN: "arn:aws:iam::" + account + ":user/alice", UserID: "AIDAALICE", Account: account}}, nil
		},
		Now: now,
	}))
	t.Cleanup(h.Close)
	w.url = h.URL
	w.Client = sdk.New(sdk.Options{
		Region:       region,
		BaseEndpoint: aws.String(h.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		HTTPClient:   h.Client(),
		Retryer:      aws.NopRetryer{},
	})
	return w
}

// put writes records as those would who own them: an agent that connects, placement that places.
func (w *world) put(t testing.TB, f func(tx *state.Tx)) {
	t.Helper()
	if err := w.store.Update(context.Background(), func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// web is a small task definition that runs.
func web() *sdk.RegisterTaskDefinitionInput {
	return &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"),
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("web"), Image: aws.String("web:1"), Memory: aws.Int32(64),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
		}},
	}
}

// machine is what an agent of Havn's says when it registers.
func machine(node string, attributes ...types.Attribute) *sdk.RegisterContainerInstanceInput {
	return &sdk.RegisterContainerInstanceInput{
		Attributes: append([]types.Attribute{
			{Name: aws.String("ecs.os-type"), Value: aws.String("linux")},
			{Name: aws.String("havn.node-id"), Value: aws.String(node)},
		}, attributes...),
		TotalResources: []types.Resource{
			{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: 2048},
			{Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: 4096},
			{Name: aws.String("PORTS"), Type: aws.String("STRINGSET"), StringSetValue: []string{"22"}},
			{Name: aws.String("PORTS_UDP"), Type: aws.String("STRINGSET"), StringSetValue: []string{}},
		},
	}
}

func everyCluster() types.Attribute {
	return types.Attribute{Name: aws.String("havn.every-cluster"), Value: aws.String("true")}
}
