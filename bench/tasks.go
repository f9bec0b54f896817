package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
)

// measureTasks measures RunTask to RUNNING, from the client's call to the record, in turns with the floor: a bare
// containerd client that creates and starts the same image on the same engine, without network, logs or
// anyone to tell.
func measureTasks(ctx context.Context, c config) ([]result, error) {
	h, err := startHavn(ctx, c)
	if err != nil {
		return nil, err
	}
	defer h.stop()
	if err := h.loadImage(ctx); err != nil {
		return nil, err
	}
	bare, err := newFloor(h)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	var results []result
	var alone time.Duration // p50 at concurrency 1
	for _, concurrency := range []int{1, 8} {
		var tasks, floors []time.Duration
		for range c.rounds / concurrency {
			took, err := together(concurrency, func(int) (time.Duration, error) { return h.runOne(ctx) })
			if err != nil {
				return nil, err
			}
			tasks = append(tasks, took...)
			if err := h.stopAll(ctx); err != nil {
				return nil, err
			}
			took, err = together(concurrency, func(n int) (time.Duration, error) { return bare.runOne(ctx, n) })
			if err != nil {
				return nil, err
			}
			floors = append(floors, took...)
			if err := bare.stopAll(ctx); err != nil {
				return nil, err
			}
		}
		aim := ""
		if concurrency == 1 {
			aim = "ratio within 1.3"
			alone = percentile(tasks, 50)
		}
		results = append(results, result{
			fmt.Sprintf("RunTask to RUNNING, concurrency %d", concurrency),
			fmt.Sprintf("p50 %s, p99 %s, floor p50 %s, p99 %s; ratio of p50 %.2f",
				millis(percentile(tasks, 50)), millis(percentile(tasks, 99)),
				millis(percentile(floors, 50)), millis(percentile(floors, 99)),
				float64(percentile(tasks, 50))/float64(percentile(floors, 50))),
			aim,
		})
	}
	rate, err := h.startRate(ctx)
	if err != nil {
		return nil, err
	}
	peer, err := measureDocker(ctx, c, alone)
	return append(append(results, rate), peer...), err
}

// startRate is how many tasks are RUNNING per second when forty are asked for at once, ten a call.
func (h *havn) startRate(ctx context.Context) (result, error) {
	const calls, each = 4, 10
	begin := time.Now()
	last := begin
	for range calls {
		out, err := h.client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("bench"), Count: aws.Int32(each)})
		if err != nil {
			return result{}, err
		}
		if len(out.Tasks) != each {
			return result{}, fmt.Errorf("%d of %d tasks were placed", len(out.Tasks), each)
		}
	}
	list, err := h.client.ListTasks(ctx, &ecs.ListTasksInput{})
	if err != nil {
		return result{}, err
	}
	for _, arn := range list.TaskArns {
		t, err := h.await(ctx, arn, "RUNNING")
		if err != nil {
			return result{}, err
		}
		if t.StartedAt.After(last) {
			last = *t.StartedAt
		}
	}
	took := last.Sub(begin)
	return result{fmt.Sprintf("%d tasks asked for at once", calls*each), fmt.Sprintf("%.1f tasks/s", calls*each/took.Seconds()), ""}, h.stopAll(ctx)
}

// together runs f n times at once.
func together(n int, f func(int) (time.Duration, error)) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { took[i], errs[i] = f(i) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return took, nil
}

// runOne runs a task and returns how long it took from the call until the state said RUNNING: startedAt,
// on the clock of this same machine. A client that asked without a pause would be a load of its own.
func (h *havn) runOne(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	out, err := h.client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("bench")})
	if err != nil {
		return 0, err
	}
	if len(out.Tasks) == 0 {
		return 0, fmt.Errorf("no task was placed: %s", aws.ToString(out.Failures[0].Reason))
	}
	t, err := h.await(ctx, *out.Tasks[0].TaskArn, "RUNNING")
	if err != nil {
		return 0, err
	}
	return t.StartedAt.Sub(begin), nil
}

// pollInterval is how often it is asked whether a task is there yet.
const pollInterval = 50 * time.Millisecond

func (h *havn) await(ctx context.Context, task, status string) (types.Task, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := h.client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{task}})
		if err != nil {
			return types.Task{}, err
		}
		t := out.Tasks[0]
		switch last := aws.ToString(t.LastStatus); {
		case last == status:
			return t, nil
		case last == "STOPPED":
			return t, fmt.Errorf("task stopped: %s %s", aws.ToString(t.StoppedReason), aws.ToString(t.Containers[0].Reason))
		case time.Now().After(deadline):
			return t, fmt.Errorf("task is %s after half a minute", last)
		}
		pause(ctx, pollInterval)
	}
}

func (h *havn) stopAll(ctx context.Context) error {
	list, err := h.client.ListTasks(ctx, &ecs.ListTasksInput{})
	if err != nil {
		return err
	}
	_, err = together(len(list.TaskArns), func(n int) (time.Duration, error) {
		_, err := h.client.StopTask(ctx, &ecs.StopTaskInput{Task: &list.TaskArns[n]})
		if err == nil {
			_, err = h.await(ctx, list.TaskArns[n], "STOPPED")
		}
		return 0, err
	})
	return err
}

// floor is a bare containerd client.
type floor struct {
	client *client.Client
	image  client.Image
	with   client.NewContainerOpts
	made   sync.Map // container id -> client.Container
	count  int
}

func newFloor(h *havn) (*floor, error) {
	c, err := client.New(filepath.Join(h.dir, "containerd.sock"), client.WithDefaultNamespace("havn"))
	if err != nil {
		return nil, err
	}
	found, err := c.GetImage(context.Background(), "docker.io/"+image)
	if err != nil {
		return nil, err
	}
	runtime := client.WithRuntime(filepath.Join(h.bin, "havn-shim"), &options.Options{BinaryName: filepath.Join(h.bin, "runc"), Root: filepath.Join(h.dir, "floor")})
	return &floor{client: c, image: found, with: runtime}, nil
}

func (f *floor) close() { f.client.Close() }

func (f *floor) runOne(ctx context.Context, n int) (time.Duration, error) {
	ctx = namespaces.WithNamespace(ctx, "havn")
	id := fmt.Sprintf("floor-%d-%d", f.count, n)
	begin := time.Now()
	container, err := f.client.NewContainer(ctx, id, client.WithNewSnapshot(id, f.image), f.with, client.WithNewSpec(oci.WithImageConfig(f.image)))
	if err != nil {
		return 0, err
	}
	f.made.Store(id, container)
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		return 0, err
	}
	if err := task.Start(ctx); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

func (f *floor) stopAll(ctx context.Context) (failure error) {
	ctx = namespaces.WithNamespace(ctx, "havn")
	f.count++
	f.made.Range(func(id, value any) bool {
		container := value.(client.Container)
		task, err := container.Task(ctx, nil)
		if err == nil {
			_, err = task.Delete(ctx, client.WithProcessKill)
		}
		if err == nil {
			err = container.Delete(ctx, client.WithSnapshotCleanup)
		}
		if err != nil {
			failure = err
		}
		f.made.Delete(id)
		return true
	})
	return failure
}

// measureDocker measures `docker run -d` of the same image where an engine is at hand, beside RunTask.
func measureDocker(ctx context.Context, c config, runTask time.Duration) ([]result, error) {
	if exec.CommandContext(ctx, "docker", "info").Run() != nil {
		return []result{{"docker run -d", "no Docker engine on this machine", "RunTask under 0.35 of it"}}, nil
	}
	load := exec.CommandContext(ctx, "docker", "load")
	archive, err := dockerArchive()
	if err != nil {
		return nil, err
	}
	defer os.Remove(archive.Name())
	load.Stdin = archive
	if out, err := load.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("docker load: %w: %s", err, out)
	}
	var took []time.Duration
	for range max(5, c.rounds/3) {
		begin := time.Now()
		id, err := exec.CommandContext(ctx, "docker", "run", "-d", "-p", "80", image).Output()
		if err != nil {
			return nil, fmt.Errorf("docker run: %w", err)
		}
		took = append(took, time.Since(begin))
		if err := exec.CommandContext(ctx, "docker", "rm", "-f", strings.TrimSpace(string(id))).Run(); err != nil {
			return nil, fmt.Errorf("docker rm: %w", err)
		}
	}
	return []result{{"docker run -d -p 80, its client included", fmt.Sprintf("p50 %s, p99 %s; RunTask takes %.2f of it",
		millis(percentile(took, 50)), millis(percentile(took, 99)), float64(runTask)/float64(percentile(took, 50))), "under 0.35"}}, nil
}
