package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"havn/agent/network"
	"havn/lifecycle"
	"havn/protocol"
)

// At most so many containers of a task are worked on at once.
const parallel = 8

func networkMode(task *protocol.Task) network.Mode {
	if task.NetworkMode == "" {
		return network.Bridge // ECS's default
	}
	return network.Mode(task.NetworkMode)
}

func (r *Runtime) connect(ctx context.Context, task *protocol.Task) (lifecycle.Result, error) {
	if err := r.recordTask(task); err != nil {
		return lifecycle.Result{}, fmt.Errorf("cannot record the task: %w", err)
	}
	if err := r.provision(ctx, task); err != nil {
		return lifecycle.Result{}, err
	}
	if _, err := r.holdNamespaces(ctx, task); err != nil {
		return lifecycle.Result{}, err
	}
	bindings := make([][]lifecycle.Binding, len(task.Containers))
	var all errgroup.Group
	all.SetLimit(parallel)
	for i := range task.Containers {
		c := &task.Containers[i]
		all.Go(func() error {
			a, err := r.attach(ctx, task, c)
			if err != nil {
				return err
			}
			bindings[i] = bindingsOf(c.Name, a.Bindings)
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return lifecycle.Result{}, err
	}
	return lifecycle.Result{Bindings: slices.Concat(bindings...)}, nil
}

// modeOf is how one container of the task is connected.
func modeOf(task *protocol.Task, c *protocol.Container) network.Mode {
	if docker, err := dockerOf(c); err == nil && docker.config.NetworkDisabled {
		return network.None
	}
	return networkMode(task)
}

// attach connects a container to the network, or finds it connected.
func (r *Runtime) attach(ctx context.Context, task *protocol.Task, c *protocol.Container) (network.Attachment, error) {
	e := network.Endpoint{ID: containerID(task.ARN, c.Name), Mode: modeOf(task, c)}
	if e.Mode != network.None {
		for _, m := range c.PortMappings {
			p, err := portOf(m)
			if err != nil {
				return network.Attachment{}, err
			}
			e.Ports = append(e.Ports, p)
		}
	}
	a, err := r.network.Connect(ctx, e)
	return a, r.namePort(ctx, err)
}

func portOf(m protocol.PortMapping) (network.Port, error) {
	p := network.Port{ContainerPort: m.ContainerPort, HostPort: m.HostPort, Protocol: network.Protocol(m.Protocol)}
	if m.ContainerPortRange == "" {
		return p, nil
	}
	first, last, ok := strings.Cut(m.ContainerPortRange, "-")
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err1 != nil || err2 != nil || low == 0 || high < low {
		return p, fmt.Errorf("%q is no range of ports", m.ContainerPortRange)
	}
	p.ContainerPort, p.Count = uint16(low), uint16(high-low+1)
	return p, nil
}

func bindingsOf(container string, from []network.Binding) []lifecycle.Binding {
	var all []lifecycle.Binding
	for _, b := range from {
		to := lifecycle.Binding{Container: container, BindIP: b.BindIP, Protocol: string(b.Protocol)}
		if b.Count > 1 {
			to.ContainerPortRange = fmt.Sprintf("%d-%d", b.ContainerPort, int(b.ContainerPort)+int(b.Count)-1)
			to.HostPortRange = fmt.Sprintf("%d-%d", b.HostPort, int(b.HostPort)+int(b.Count)-1)
		} else {
			to.ContainerPort, to.HostPort = b.ContainerPort, b.HostPort
		}
		all = append(all, to)
	}
	return all
}

// disconnect also frees what a task is recorded to have had, for a caller who knows only its ARN. What was mounted for
// its containers is given up, too; their folders stay until the task is discarded.
func (r *Runtime) disconnect(ctx context.Context, task *protocol.Task) error {
	if err := r.volumes.Release(r.volumesOf(task.ARN)); err != nil {
		return err
	}
	names, err := r.containerNames(task)
	if err != nil {
		r.log.Warn("cannot read what a task had", "task", task.ARN, "error", err)
	}
	var all errgroup.Group
	all.SetLimit(parallel)
	for _, name := range names {
		all.Go(func() error { return r.network.Disconnect(ctx, containerID(task.ARN, name)) })
	}
	all.Go(func() error { return r.freeNamespaces(ctx, task.ARN) })
	return all.Wait()
}

func (r *Runtime) containerNames(task *protocol.Task) ([]string, error) {
	rec, err := readTaskRecord(r.taskDir(task.ARN))
	var names []string
	if rec.ARN == task.ARN {
		names = rec.Containers
	}
	for _, c := range task.Containers {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// discard removes the task's record last: as long as there is anything, Tasks names it.
func (r *Runtime) discard(task *protocol.Task) error {
	dir := r.taskDir(task.ARN)
	err := errors.Join(
		os.RemoveAll(filepath.Join(r.dataDir, "logs", TaskID(task.ARN))),
		removeUnmounted(filepath.Join(dir, "volumes")), // somebody may have mounted something there
		removeUnmounted(filepath.Join(dir, "containers")),
	)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot delete what is left of the task: %w", err)
	}
	return nil
}
