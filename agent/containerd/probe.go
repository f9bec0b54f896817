package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"havn/lifecycle"
	"havn/protocol"
)

// probeID names a health check's process beside the container's own. There is one at a time, so one that an earlier
// process of ours left behind is found and ended by the next.
const probeID = "probe"

// outputTime is how long the output of a probe that has ended is waited for: a program that it left in the background
// may hold it open.
const outputTime = time.Second

// probe runs the container's health check once. That it could not be run, or took too long, is a failure of the check,
// and is told as Docker does; it is none of ours.
func (r *Runtime) probe(ctx context.Context, task *protocol.Task, c *protocol.Container, timeout time.Duration) (lifecycle.Result, error) {
	id, began := containerID(task.ARN, c.Name), time.Now()
	output := new(firstBytes)
	code, err := r.runProbe(ctx, id, filepath.Join(r.containerDir(task.ARN, c.Name), probeID), c, timeout, output)
	if ctx.Err() != nil {
		return lifecycle.Result{}, ctx.Err()
	}
	result := lifecycle.Result{StartedAt: began, ExitCode: code, Output: output.String()}
	if err != nil {
		if result.ExitCode = -1; result.Output == "" {
			result.Output = err.Error()
		} else {
			result.Output = err.Error() + ": " + result.Output
		}
	}
	return result, nil
}

// runProbe returns the exit code. A process that did not end by itself is ended with what it started; see endTree. What
// one that ended by itself has left in the background goes on, as with Docker, until the container ends.
func (r *Runtime) runProbe(
	ctx context.Context, id, dir string, c *protocol.Container, timeout time.Duration, output *firstBytes,
) (code int, err error) {
	process, err := r.probeProcess(ctx, id, c)
	if err != nil {
		return 0, err
	}
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), shimTime)
	defer cancel()
	r.endProbe(whole, id)
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	pipes, err := cio.NewCreator(cio.WithStreams(nil, output, output), cio.WithFIFODir(dir))(probeID)
	if err != nil {
		return 0, fmt.Errorf("cannot read what the health check writes: %w", err)
	}
	defer pipes.Close()
	defer awaitOutput(pipes)
	defer r.endProbe(whole, id)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := r.startProbe(whole, id, process, pipes.Config().Stdout, pipes.Config().Stderr); err != nil {
		return 0, err
	}
	limited, cancelWait := context.WithTimeout(ctx, timeout)
	defer cancelWait()
	resp, err := r.tasks.Wait(limited, &tasksapi.WaitRequest{ContainerID: id, ExecID: probeID})
	if err == nil {
		return int(resp.ExitStatus), nil
	}
	// The engine may know before us that the time is up.
	if err = errgrpc.ToNative(err); errors.Is(err, context.DeadlineExceeded) || limited.Err() != nil {
		return 0, fmt.Errorf("Health check exceeded timeout (%v)", timeout) //nolint:staticcheck // Docker's words
	}
	return 0, err
}

func (r *Runtime) startProbe(ctx context.Context, id string, process *anypb.Any, stdout, stderr string) error {
	request := &tasksapi.ExecProcessRequest{ContainerID: id, ExecID: probeID, Spec: process, Stdout: stdout, Stderr: stderr}
	if _, err := r.tasks.Exec(ctx, request); err != nil {
		return errgrpc.ToNative(err)
	}
	_, err := r.tasks.Start(ctx, &tasksapi.StartRequest{ContainerID: id, ExecID: probeID})
	return errgrpc.ToNative(err)
}

// probeProcess is the check as a process like the container's own: the same user, environment and folder.
func (r *Runtime) probeProcess(ctx context.Context, id string, c *protocol.Container) (*anypb.Any, error) {
	docker, err := dockerOf(c)
	if err != nil {
		return nil, err
	}
	check := docker.config.Healthcheck
	if check == nil || len(check.Test) < 2 {
		return nil, errors.New("the container has no health check")
	}
	record, err := r.containers.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := typeurl.UnmarshalTo(record.Spec, &spec); err != nil {
		return nil, err
	}
	process := *spec.Process
	process.Args = check.Test[1:]
	if check.Test[0] == "CMD-SHELL" {
		process.Args = append([]string{"/bin/sh", "-c"}, process.Args...)
	}
	process.Terminal, process.ConsoleSize = false, nil
	return typeurl.MarshalAnyToProto(&process)
}

// endProbe ends a health check that still runs, with what it started. Where there is none, there is nothing to do, and
// where it does not work, the container's end does it.
func (r *Runtime) endProbe(ctx context.Context, id string) {
	one := &tasksapi.DeleteProcessRequest{ContainerID: id, ExecID: probeID}
	if _, err := r.tasks.DeleteProcess(ctx, one); err == nil {
		return
	}
	running, err := r.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id, ExecID: probeID})
	if err != nil {
		return
	}
	if err := endTree(ctx, int(running.Process.Pid)); err != nil {
		r.log.Warn("cannot end all that a health check has started", "container", id, "error", err)
		if _, err := r.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, ExecID: probeID, Signal: uint32(syscall.SIGKILL)}); err != nil {
			return
		}
	}
	if _, err := r.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: id, ExecID: probeID}); err == nil {
		r.tasks.DeleteProcess(ctx, one) //nolint:errcheck // see above
	}
}

// awaitOutput lets what was written arrive.
func awaitOutput(pipes cio.IO) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pipes.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(outputTime):
		pipes.Cancel()
		<-ended
	}
}

// firstBytes keeps as much of an output as is reported, and swallows the rest.
type firstBytes struct {
	mu   sync.Mutex
	kept []byte
}

func (f *firstBytes) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = append(f.kept, p[:min(len(p), lifecycle.MaxOutput-len(f.kept))]...)
	return len(p), nil
}

func (f *firstBytes) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.kept)
}
