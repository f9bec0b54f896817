package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/api/ecs"
	"havn/control"
	"havn/lifecycle"
	"havn/placement"
	"havn/state"
	"havn/state/etcd"
	"havn/wire"
)

// measureScale fills a state with many nodes and tasks that nobody runs, and places more: in memory, then durably,
// through the API, on an etcd of its own.
func measureScale(ctx context.Context, _ config) ([]result, error) {
	var results []result
	for _, size := range []struct{ nodes, tasks int }{{500, 10_000}, {5000, 10_000}, {5000, 100_000}} {
		r, err := inMemory(ctx, size.nodes, size.tasks)
		if err != nil {
			return nil, err
		}
		results = append(results, r...)
	}
	durable, err := durably(ctx, 5000, 100_000)
	return append(results, durable...), err
}

// fleet is a cluster in a state, as scale measures it.
type fleet struct {
	store      *state.Store
	cluster    state.Cluster
	definition state.TaskDefinition
}

const scaleCluster = "arn:aws:ecs:" + region + ":000000000000:cluster/scale"

// fill writes nodes, connected, in three zones, and tasks that run on them, of a hundred services.
func fill(ctx context.Context, store *state.Store, nodes, tasks int) (fleet, error) {
	f := fleet{store: store}
	f.cluster = state.Cluster{ARN: scaleCluster, Name: "scale", Status: "ACTIVE", CreatedAt: time.Now()}
	spec := types.TaskDefinition{
		NetworkMode: types.NetworkModeBridge, Compatibilities: []types.Compatibility{types.CompatibilityEc2},
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("c"), Image: aws.String(image), Memory: aws.Int32(16), Essential: aws.Bool(true)}},
	}
	f.definition = state.TaskDefinition{ARN: strings.Replace(scaleCluster, "cluster/scale", "task-definition/load:1", 1), Family: "load", Revision: 1,
		Spec: spec, Status: types.TaskDefinitionStatusActive, RegisteredAt: time.Now()}
	err := store.Update(ctx, func(tx *state.Tx) error {
		state.Clusters.Put(tx, f.cluster)
		state.TaskDefinitions.Put(tx, f.definition)
		state.Families.Put(tx, state.Family{Name: "load", LastRevision: 1})
		return nil
	})
	const atOnce = 200
	each := (tasks + nodes - 1) / nodes
	for from := 0; from < nodes && err == nil; from += atOnce {
		err = store.Update(ctx, func(tx *state.Tx) error {
			for n := from; n < min(nodes, from+atOnce); n++ {
				total := state.Resources{CPU: 8192, Memory: 32768, TCPPorts: []uint16{22, 2375, 2376, 51678, 51679}}
				id := fmt.Sprintf("node-%05d", n)
				state.Nodes.Put(tx, state.Node{ID: id, Total: total, Remaining: total, Connected: true, AgentVersion: "1.105.0", RegisteredAt: time.Now(),
					Attributes: []types.Attribute{
						{Name: aws.String("ecs.availability-zone"), Value: aws.String(region + string(rune('a'+n%3)))},
						{Name: aws.String("ecs.os-type"), Value: aws.String("linux")},
						{Name: aws.String("ecs.cpu-architecture"), Value: aws.String("x86_64")},
						{Name: aws.String("ecs.instance-type"), Value: aws.String("m5.large")},
					}})
				state.Instances.Put(tx, state.Instance{ARN: f.instance(n), ClusterARN: scaleCluster, NodeID: id, Status: "ACTIVE", RegisteredAt: time.Now(), Version: 1})
			}
			return nil
		})
	}
	for n := 0; n < nodes && tasks > 0 && err == nil; n++ {
		err = store.Update(ctx, func(tx *state.Tx) error {
			i, _ := state.Instances.Get(tx, f.instance(n))
			var asks []placement.Ask
			for k := range min(each, tasks) {
				a := f.ask(tx, fmt.Sprintf("service:s%02d", (n*each+k)%100))
				a.Task.Last, a.Task.Version, a.Task.StartedAt = lifecycle.Running, 3, time.Now()
				asks = append(asks, a)
			}
			placement.PlaceOn(tx, i, asks)
			return nil
		})
		tasks -= each
	}
	return f, err
}

func (f fleet) instance(n int) string {
	return fmt.Sprintf("arn:aws:ecs:%s:000000000000:container-instance/scale/%032x", region, n)
}

func (f fleet) ask(tx *state.Tx, group string) placement.Ask {
	return placement.NewAsk(tx, f.definition, state.Task{ClusterARN: scaleCluster, Group: group, LaunchType: types.LaunchTypeEc2, CreatedAt: time.Now()})
}

// inMemory measures a state without a disk: what it weighs, and how quickly it takes more tasks.
func inMemory(ctx context.Context, nodes, tasks int) ([]result, error) {
	before := heap()
	store, err := state.Open(ctx, &state.Memory{}, state.Config{Synchronous: true, History: 64})
	if err != nil {
		return nil, err
	}
	f, err := fill(ctx, store, nodes, tasks)
	if err != nil {
		return nil, err
	}
	filled := heap()
	what := fmt.Sprintf("scale, %d nodes, %d tasks", nodes, tasks)
	var results []result
	results = append(results, result{what + ": the state with its log", fmt.Sprintf("%.0f MiB", mib(filled-before)), ""})
	if err := store.Update(ctx, func(tx *state.Tx) error { placement.Place(tx, scaleCluster, 1, nil); return nil }); err != nil {
		return nil, err
	}
	results = append(results, result{what + ": the cluster kept prepared", fmt.Sprintf("%.0f MiB", mib(heap()-filled)), ""})
	for _, each := range []int{1, 10, 100} {
		var decided time.Duration
		placed := 0
		begin := time.Now()
		for time.Since(begin) < time.Second {
			err := store.Update(ctx, func(tx *state.Tx) error {
				asks := make([]placement.Ask, each)
				for n := range asks {
					asks[n] = f.ask(tx, "service:load")
				}
				start := time.Now()
				done, refused := placement.Place(tx, scaleCluster, 1, asks)
				decided += time.Since(start)
				if placed += len(done); len(refused) > 0 {
					return fmt.Errorf("no place: %s", refused[0].Detail)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		took := time.Since(begin)
		results = append(results, result{fmt.Sprintf("%s: transactions of %d", what, each),
			fmt.Sprintf("%.0f placements/s; Place alone %.0f us a task", float64(placed)/took.Seconds(), float64(decided.Microseconds())/float64(placed)), ""})
	}
	runtime.KeepAlive(store)
	return results, nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// durably measures RunTask of ten through the API: signed, over HTTP, each answer on disk.
func durably(ctx context.Context, nodes, tasks int) ([]result, error) {
	dir, err := os.MkdirTemp("/tmp", "havn-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	log, err := etcd.StartEmbedded(ctx, etcd.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer log.Close()
	store, err := state.Open(ctx, log)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if _, err := fill(ctx, store, nodes, tasks); err != nil {
		return nil, err
	}
	filled := time.Since(begin)
	api := ecs.NewServer(ecs.Config{Store: store, Region: region, Account: "000000000000"}).API()
	credential := wire.Credential{Secret: "test", Principal: wire.Principal{ARN: "arn:aws:iam::000000000000:root", UserID: "000000000000", Account: "000000000000"}}
	server := &http.Server{Handler: wire.NewServer(wire.Config{APIs: []*wire.API{api}, Region: region, Account: "000000000000",
		Credentials: func(context.Context, string, string) (wire.Credential, error) { return credential, nil }})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go server.Serve(listener) //nolint:errcheck // ends with the bench
	defer server.Close()
	results := []result{{fmt.Sprintf("scale, %d nodes, %d tasks: written durably", nodes, tasks), fmt.Sprintf("%.1f s", filled.Seconds()), ""}}
	for _, clients := range []int{1, 4, 8, 16} {
		rate, latency, err := runTasks(ctx, listener.Addr().String(), clients)
		if err != nil {
			return nil, err
		}
		aim := ""
		if clients == 8 {
			aim = "over 3750/s"
		}
		results = append(results, result{fmt.Sprintf("scale, %d nodes: RunTask of 10, durable, %d clients", nodes, clients),
			fmt.Sprintf("%.0f tasks/s, p50 %s, p99 %s", rate, millis(percentile(latency, 50)), millis(percentile(latency, 99))), aim})
	}
	many, err := servicesAtOnce(ctx, store)
	return append(results, many...), err
}

const manyServices = 1000

// servicesAtOnce measures how long control takes to start a task for each of many services that are there at once.
func servicesAtOnce(ctx context.Context, store *state.Store) ([]result, error) {
	name := func(n int) string {
		return strings.Replace(scaleCluster, ":cluster/", ":service/", 1) + fmt.Sprintf("/many-%04d", n)
	}
	for from := 0; from < manyServices; from += 100 {
		err := store.Update(ctx, func(tx *state.Tx) error {
			for n := from; n < from+100; n++ {
				s := state.Service{ARN: name(n), Name: fmt.Sprintf("many-%04d", n), ClusterARN: scaleCluster, Status: "ACTIVE", CreatedAt: time.Now(), Desired: 1,
					Scheduling: types.SchedulingStrategyReplica, Controller: types.DeploymentControllerTypeEcs, DeploymentARN: name(n) + "/d",
					Configuration: types.DeploymentConfiguration{Strategy: types.DeploymentStrategyRolling}}
				state.Services.Put(tx, s)
				state.ServiceRevisions.Put(tx, state.ServiceRevision{ARN: name(n) + "/r", ServiceARN: s.ARN, ClusterARN: scaleCluster, DeploymentID: "ecs-svc/" + fmt.Sprint(n),
					DefinitionARN: strings.Replace(scaleCluster, "cluster/scale", "task-definition/load:1", 1), CreatedAt: time.Now()})
				state.ServiceDeployments.Put(tx, state.ServiceDeployment{ARN: s.DeploymentARN, ServiceARN: s.ARN, ClusterARN: scaleCluster, RevisionARN: name(n) + "/r",
					Status: types.ServiceDeploymentStatusPending, CreatedAt: time.Now(), Configuration: s.Configuration})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	begin := time.Now()
	from := store.Revision()
	done := make(chan error, 1)
	go func() {
		done <- control.NewLoop(control.Config{Store: store, Controllers: []control.Controller{control.Deploy(time.Minute)}, Log: slog.New(slog.DiscardHandler)}).Run(running)
	}()
	started := 0
	for c := range store.Watch(ctx, from) {
		for _, change := range c.Changes {
			if t, ok := change.New.(state.Task); ok && change.Old == nil && t.ServiceARN != "" {
				started++
			}
		}
		if started == manyServices {
			break
		}
	}
	took := time.Since(begin)
	stop()
	return []result{{fmt.Sprintf("scale, %d services of one task that are there at once", manyServices),
		fmt.Sprintf("a task placed for each, durably, in %.2f s: %.0f/s", took.Seconds(), manyServices/took.Seconds()), ""}}, errors.Join(ctx.Err(), <-done)
}

// runTasks lets clients run tasks for some seconds.
func runTasks(ctx context.Context, address string, clients int) (rate float64, latency []time.Duration, err error) {
	request, err := signed("http://"+address, "test", "test", "RunTask", `{"cluster":"scale","taskDefinition":"load","count":10}`)
	if err != nil {
		return 0, nil, err
	}
	var mu sync.Mutex
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	begin := time.Now()
	for range clients {
		workers.Go(func() {
			conn, err := dial(address)
			if err != nil {
				failed.Store(&err)
				return
			}
			defer conn.Close()
			for time.Since(begin) < apiTime && ctx.Err() == nil {
				start := time.Now()
				status, err := conn.call(request)
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("RunTask answered %d", status)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				mu.Lock()
				latency = append(latency, time.Since(start))
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return 0, nil, *err
	}
	return float64(10*len(latency)) / time.Since(begin).Seconds(), latency, nil
}
