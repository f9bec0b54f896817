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
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/moby/sys/signal"
	"golang.org/x/sync/errgroup"

	"havn/cause"
	"havn/lifecycle"
	"havn/protocol"
)

// errVanished: the container was started and there is neither a process nor an exit of it, as after a reboot.
var errVanished = errors.New("No container matching saved ID found") //nolint:staticcheck // ECS's words

// killed is the exit code that stands for SIGKILL.
const killed = 128 + int(syscall.SIGKILL)

// The longest time that a container's dead shim is waited for to be cleaned up after.
const cleanupTime = 15 * time.Second

func (r *Runtime) start(ctx context.Context, task *protocol.Task, c *protocol.Container, round int) (lifecycle.Result, error) {
	id, dir := containerID(task.ARN, c.Name), r.containerDir(task.ARN, c.Name)
	done, err := r.making.lock(ctx, id)
	if err != nil {
		return lifecycle.Result{}, err
	}
	defer done()
	before, err := startedAt(dir)
	if err != nil {
		return lifecycle.Result{}, err
	}
	last, err := startedRound(dir)
	if err != nil {
		return lifecycle.Result{}, err
	}
	if again := round > 0 && last < round; again {
		if err := r.renew(ctx, task, c); err != nil {
			return lifecycle.Result{}, err
		}
	} else if !before.IsZero() {
		// It has run, or was just about to. A runc that is told to start what it has let go already, which the shim
		// does not know if that runc was cut off, waits for ever.
		waits, err := r.stillWaits(ctx, id)
		if err != nil && !errdefs.IsNotFound(err) {
			return lifecycle.Result{}, err
		}
		if err != nil || !waits {
			return lifecycle.Result{StartedAt: before}, nil
		}
	}
	if err := r.prepareLog(ctx, task, c); err != nil {
		return lifecycle.Result{}, err
	}
	at := time.Now() // not after the process has begun, which may end before we hear of it
	err = r.startProcess(ctx, id, dir, round)
	if errdefs.IsNotFound(err) && before.IsZero() {
		// What Create could not do. Now it is said why not, unless what it left half-made is the reason.
		if err := r.removeProcess(ctx, task.ARN, id); err != nil {
			return lifecycle.Result{}, err
		}
		var rootfs []mount.Mount
		if rootfs, err = r.prepare(ctx, task, c); err == nil {
			if err = r.createProcess(ctx, task, c, rootfs); err == nil {
				err = r.startProcess(ctx, id, dir, round)
			}
		}
	}
	if err != nil {
		return lifecycle.Result{}, err
	}
	return lifecycle.Result{StartedAt: at}, nil
}

// startProcess marks the container as started first. The mark is taken back only if it is sure that nothing was
// started.
func (r *Runtime) startProcess(ctx context.Context, id, dir string, round int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := markStarted(dir, round); err != nil {
		return fmt.Errorf("cannot mark the container as started: %w", err)
	}
	// Not cancelled, so that it is known whether it was started.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shimTime)
	defer cancel()
	_, err := r.tasks.Start(ctx, &tasksapi.StartRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err == nil {
		return nil
	}
	if waits, unknown := r.stillWaits(ctx, id); unknown == nil && !waits {
		return nil // runc was cut off after it had let the process go; how that one ends is for Wait to tell
	} else if unknown != nil && !errdefs.IsNotFound(unknown) {
		return err
	}
	return errors.Join(err, os.Remove(startedMark(dir)))
}

// stillWaits reports whether the container's process has not been let go: it is runc's own, which becomes the
// container's program only then.
func (r *Runtime) stillWaits(ctx context.Context, id string) (bool, error) {
	resp, err := r.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id})
	if err != nil {
		return false, errgrpc.ToNative(err)
	}
	if resp.Process.Status != tasktypes.Status_CREATED {
		return false, nil
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", resp.Process.Pid))
	if err != nil {
		return false, nil // it is gone already
	}
	args := strings.Split(string(line), "\x00")
	return len(args) > 1 && filepath.Base(args[0]) == runcName && args[1] == "init", nil
}

func (r *Runtime) status(ctx context.Context, id string) (tasktypes.Status, error) {
	resp, err := r.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id})
	if err != nil {
		return 0, errgrpc.ToNative(err)
	}
	return resp.Process.Status, nil
}

func (r *Runtime) wait(ctx context.Context, task *protocol.Task, c *protocol.Container, round int) (lifecycle.Result, error) {
	id := containerID(task.ARN, c.Name)
	if last, err := startedRound(r.containerDir(task.ARN, c.Name)); err != nil || last > round {
		return lifecycle.Result{}, errors.Join(err, errVanished) // its place is taken
	}
	ended, err := r.waitFor(ctx, id)
	if err != nil {
		return lifecycle.Result{}, err
	}
	result := lifecycle.Result{ExitCode: ended.code, FinishedAt: ended.at}
	if result.OutOfMemory, err = r.cgroups.oomKilled(r.cgroups.path(task.ARN, id)); err != nil {
		r.log.Warn("cannot see whether a container ran out of memory", "task", task.ARN, "container", c.Name, "error", err)
	}
	if result.ExitReason = r.exitReason(ctx, task, c, result); result.ExitReason == "" && ended.shimDied && ended.code == killed {
		result.ExitReason = cause.Join("CannotInspectContainerError: "+daemonSays+"shim disconnected", cause.Cause{Code: cause.ShimKilled,
			Words: "the process beside the container (" + shimName + ") was killed, and the container with it"})
	}
	return result, nil
}

// waitFor returns when the container's process has ended.
func (r *Runtime) waitFor(ctx context.Context, id string) (exit, error) {
	told, forget := r.exits.expect(id)
	defer forget()
	resp, err := r.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: id})
	if err == nil {
		return exit{code: int(resp.ExitStatus), at: resp.ExitedAt.AsTime()}, nil
	}
	if ctx.Err() != nil {
		return exit{}, ctx.Err()
	}
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return exit{}, errVanished
	}
	// The shim is gone. containerd cleans up, kills what is left of the container, and tells.
	timeout, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	select {
	case e := <-told:
		return e, nil
	case <-timeout.Done():
		if ctx.Err() != nil {
			return exit{}, ctx.Err()
		}
		return exit{}, fmt.Errorf("%w: %w", errVanished, err)
	}
}

func (r *Runtime) stopContainer(ctx context.Context, taskARN, container string, grace time.Duration) error {
	id := containerID(taskARN, container)
	status, err := r.status(ctx, id)
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case status == tasktypes.Status_STOPPED:
		return nil
	case status == tasktypes.Status_CREATED:
		if waits, err := r.stillWaits(ctx, id); err != nil || waits {
			return r.kill(ctx, id) // it has no program yet that could obey
		}
	}
	record, err := r.containers.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := r.signal(ctx, id, stopSignal(record.Labels[labelStopSignal]), false); err != nil {
		return err
	}
	timeout, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if _, err = r.waitFor(timeout, id); err == nil || errors.Is(err, errVanished) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.kill(ctx, id)
}

// kill ends all processes of the container and returns when they are gone.
func (r *Runtime) kill(ctx context.Context, id string) error {
	if err := r.signal(ctx, id, syscall.SIGKILL, true); err != nil {
		return err
	}
	if _, err := r.waitFor(ctx, id); err != nil && !errors.Is(err, errVanished) {
		return err
	}
	return nil
}

// signal is content when there is nobody to receive it any more.
func (r *Runtime) signal(ctx context.Context, id string, s syscall.Signal, all bool) error {
	_, err := r.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, Signal: uint32(s), All: all})
	err = errgrpc.ToNative(err)
	if err == nil || errdefs.IsNotFound(err) || strings.Contains(err.Error(), "process already finished") {
		return nil
	}
	return err
}

// stopSignal reads what an image says. What it cannot read is SIGTERM.
func stopSignal(s string) syscall.Signal {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= 64 {
		return syscall.Signal(n)
	}
	if parsed, err := signal.ParseSignal(s); err == nil && s != "" {
		return parsed
	}
	return syscall.SIGTERM
}

// each does something with each container of the task that is known of, for a caller who may know only its ARN.
func (r *Runtime) each(ctx context.Context, task *protocol.Task, do func(container string) error) error {
	names, err := r.containerNames(task)
	if err != nil {
		r.log.Warn("cannot read what a task had", "task", task.ARN, "error", err)
	}
	recorded, err := r.containers.List(ctx, fmt.Sprintf("labels.%q==%q", labelTask, task.ARN))
	if err != nil {
		return err
	}
	for _, c := range recorded {
		if name := c.Labels[labelContainer]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var all errgroup.Group
	all.SetLimit(parallel)
	for _, name := range names {
		all.Go(func() error { return do(name) })
	}
	return all.Wait()
}

// remove deletes the record last but for the folder: as long as there is anything, Tasks names the task.
func (r *Runtime) remove(ctx context.Context, taskARN, container string) error {
	id := containerID(taskARN, container)
	// A cancelled Create goes on until it knows what it has made; before that there is nothing to be found.
	done, err := r.making.lock(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if err := r.removeProcess(ctx, taskARN, id); err != nil {
		return fmt.Errorf("cannot remove the container's process: %w", err)
	}
	if err := r.snapshots.Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove the container's layer: %w", err)
	}
	if err := r.containers.Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove the container's record: %w", err)
	}
	r.cgroups.remove(taskARN, id)
	if err := r.imageUsed(ctx, taskARN, container, time.Now()); err != nil {
		return fmt.Errorf("cannot note when the image was used: %w", err)
	}
	return removeUnmounted(r.containerDir(taskARN, container)) // with the anonymous volumes
}

// removeProcess leaves nothing of the container's process, whatever containerd knows of it. If it was the last of its
// task, the shim is gone, too.
func (r *Runtime) removeProcess(ctx context.Context, taskARN, id string) error {
	remove := func() error {
		alone, err := r.shims.alone(ctx, taskARN)
		if err != nil {
			return err
		}
		defer alone()
		_, err = r.tasks.Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id})
		if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if err := r.endForgotten(taskARN, id); err != nil {
			return fmt.Errorf("cannot end what is left of it: %w", err)
		}
		return nil
	}
	// What was never started would be deleted as it is, but only after its shim has waited ten seconds for an end of its
	// output.
	status, err := r.status(ctx, id)
	if err != nil || status != tasktypes.Status_CREATED {
		if err = remove(); err == nil || ctx.Err() != nil {
			return err
		}
	}
	// It has not ended.
	if err := r.kill(ctx, id); err != nil {
		return err
	}
	return remove()
}
