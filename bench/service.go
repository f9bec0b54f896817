package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

const copies = 20

// steadyAfter is how long a task must run to count as healthy while services are measured. ECS's 40 seconds would be
// all that there is to see.
const steadyAfter = time.Second

// measureService measures a service of many copies from its creation until all run, beside Docker Swarm where an engine
// is at hand, and how long a copy whose process was killed takes to be replaced.
func measureService(ctx context.Context, c config) ([]result, error) {
	h, err := startHavn(ctx, c, "--steady-after", steadyAfter.String())
	if err != nil {
		return nil, err
	}
	defer h.stop()
	if err := h.loadImage(ctx); err != nil {
		return nil, err
	}
	var all []time.Duration
	for n := range serviceRounds {
		took, err := h.createService(ctx, fmt.Sprint("many-", n))
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	results := []result{{fmt.Sprintf("CreateService of %d copies until the last is RUNNING", copies),
		fmt.Sprintf("p50 %s, max %s", millis(percentile(all, 50)), millis(percentile(all, 100))), ""}}
	peer, err := measureSwarm(ctx, percentile(all, 50))
	if err != nil {
		return nil, err
	}
	results = append(results, peer)
	replaced, err := h.killAndReplace(ctx, c.rounds/2)
	if err != nil {
		return nil, err
	}
	return append(results, result{"kill -9 of a service's container until its replacement is RUNNING",
		fmt.Sprintf("p50 %s, p99 %s", millis(percentile(replaced, 50)), millis(percentile(replaced, 99))), "p50 under 300 ms"}), nil
}

const serviceRounds = 3

// createService returns how long it took from the call until the last copy's startedAt, and deletes the service.
func (h *havn) createService(ctx context.Context, name string) (time.Duration, error) {
	begin := time.Now()
	if _, err := h.client.CreateService(ctx, &ecs.CreateServiceInput{ServiceName: &name, TaskDefinition: aws.String("bench"), DesiredCount: aws.Int32(copies)}); err != nil {
		return 0, err
	}
	tasks, err := h.awaitCopies(ctx, name, copies)
	if err != nil {
		return 0, err
	}
	last := begin
	for _, t := range tasks {
		if t.StartedAt.After(last) {
			last = *t.StartedAt
		}
	}
	if _, err := h.client.DeleteService(ctx, &ecs.DeleteServiceInput{Service: &name, Force: aws.Bool(true)}); err != nil {
		return 0, err
	}
	return last.Sub(begin), h.awaitRunning(ctx, 0)
}

// awaitCopies returns the tasks of a service once so many run.
func (h *havn) awaitCopies(ctx context.Context, name string, want int) ([]types.Task, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); pause(ctx, pollInterval) {
		list, err := h.client.ListTasks(ctx, &ecs.ListTasksInput{ServiceName: &name})
		if err != nil {
			return nil, err
		}
		if len(list.TaskArns) < want {
			continue
		}
		out, err := h.client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: list.TaskArns})
		if err != nil {
			return nil, err
		}
		var running []types.Task
		for _, t := range out.Tasks {
			if aws.ToString(t.LastStatus) == "RUNNING" {
				running = append(running, t)
			}
		}
		if len(running) == want && len(out.Tasks) == want {
			return running, nil
		}
	}
	return nil, fmt.Errorf("the service %s has not %d tasks that run after a minute", name, want)
}

// killAndReplace kills a service's only process again and again, each time that its task has been healthy.
func (h *havn) killAndReplace(ctx context.Context, rounds int) ([]time.Duration, error) {
	c, err := client.New(filepath.Join(h.dir, "containerd.sock"), client.WithDefaultNamespace("havn"))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	const name = "killed"
	if _, err := h.client.CreateService(ctx, &ecs.CreateServiceInput{ServiceName: aws.String(name), TaskDefinition: aws.String("bench"), DesiredCount: aws.Int32(1)}); err != nil {
		return nil, err
	}
	var all []time.Duration
	for range rounds {
		tasks, err := h.awaitCopies(ctx, name, 1)
		if err != nil {
			return nil, err
		}
		pause(ctx, steadyAfter+500*time.Millisecond) // a task that was never healthy has failed, and failures wait
		killed := *tasks[0].TaskArn
		pid, err := processOf(ctx, c, aws.ToString(tasks[0].Containers[0].RuntimeId))
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
			return nil, err
		}
		for {
			if tasks, err = h.awaitCopies(ctx, name, 1); err != nil {
				return nil, err
			}
			if *tasks[0].TaskArn != killed {
				break
			}
			pause(ctx, pollInterval)
		}
		all = append(all, tasks[0].StartedAt.Sub(begin))
	}
	_, err = h.client.DeleteService(ctx, &ecs.DeleteServiceInput{Service: aws.String(name), Force: aws.Bool(true)})
	return all, err
}

func processOf(ctx context.Context, c *client.Client, container string) (uint32, error) {
	ctx = namespaces.WithNamespace(ctx, "havn")
	found, err := c.LoadContainer(ctx, container)
	if err != nil {
		return 0, err
	}
	task, err := found.Task(ctx, nil)
	if err != nil {
		return 0, err
	}
	return task.Pid(), nil
}

// measureSwarm measures `docker service create` of the same image and as many copies, until Swarm's own record of the
// last says that it runs. Its copies publish no port, which spares them what Havn's do.
func measureSwarm(ctx context.Context, havn time.Duration) (result, error) {
	what := fmt.Sprintf("docker service create --replicas %d until the last runs", copies)
	state, err := exec.CommandContext(ctx, "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").Output()
	if err != nil || strings.TrimSpace(string(state)) != "active" {
		return result{what, "no Docker Swarm on this machine (docker swarm init)", "Havn under 0.35 of it"}, nil
	}
	archive, err := dockerArchive()
	if err != nil {
		return result{}, err
	}
	defer os.Remove(archive.Name())
	load := exec.CommandContext(ctx, "docker", "load")
	load.Stdin = archive
	if out, err := load.CombinedOutput(); err != nil {
		return result{}, fmt.Errorf("docker load: %w: %s", err, out)
	}
	var all []time.Duration
	for n := range serviceRounds {
		took, err := swarmService(ctx, fmt.Sprint("havn-bench-", n))
		if err != nil {
			return result{}, err
		}
		all = append(all, took)
	}
	p50 := percentile(all, 50)
	return result{what, fmt.Sprintf("p50 %s, max %s; Havn takes %.2f of it", millis(p50), millis(percentile(all, 100)), float64(havn)/float64(p50)), "under 0.35"}, nil
}

func swarmService(ctx context.Context, name string) (took time.Duration, err error) {
	begin := time.Now()
	out, err := exec.CommandContext(ctx, "docker", "service", "create", "--detach", "--no-resolve-image", "--replicas", fmt.Sprint(copies), "--name", name, image).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("docker service create: %w: %s", err, bytes.TrimSpace(out))
	}
	defer func() {
		remove := exec.Command("docker", "service", "rm", name) // also when ctx has ended
		err = errors.Join(err, remove.Run(), swarmGone(ctx))
	}()
	for deadline := begin.Add(2 * time.Minute); time.Now().Before(deadline); pause(ctx, pollInterval) {
		tasks, err := swarmTasks(ctx, name)
		if err != nil {
			return 0, err
		}
		running, last := 0, begin
		for _, t := range tasks {
			if t.Status.State == "running" {
				running++
				if t.Status.Timestamp.After(last) {
					last = t.Status.Timestamp
				}
			}
		}
		if running == copies {
			return last.Sub(begin), nil
		}
	}
	return 0, fmt.Errorf("%s does not run after two minutes", name)
}

type swarmTask struct {
	Status struct {
		State     string
		Timestamp time.Time
	}
}

// swarmTasks asks the engine itself: its client would be a load of its own.
func swarmTasks(ctx context.Context, name string) (tasks []swarmTask, err error) {
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if socket == "" {
		socket = "/var/run/docker.sock"
	}
	engine := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/tasks?filters="+url.QueryEscape(fmt.Sprintf(`{"service":[%q]}`, name)), nil)
	if err != nil {
		return nil, err
	}
	res, err := engine.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return tasks, json.NewDecoder(res.Body).Decode(&tasks)
}

// swarmGone returns when no container of the image is left.
func swarmGone(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); pause(ctx, 4*pollInterval) {
		out, err := exec.CommandContext(ctx, "docker", "ps", "-aq", "--filter", "ancestor="+image).Output()
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			return err
		}
	}
	return errors.New("containers of Docker Swarm are left")
}
