package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func downCommand(open opener) *cobra.Command {
	var tasks bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop Havn; its tasks run on and are found again by the next havn up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			if !h.running() {
				if tasks {
					return fmt.Errorf("no Havn runs with data folder %s, so nobody can stop its tasks; start it first: havn up --detach --data-dir %s", h.dir, h.dir)
				}
				fmt.Fprintln(cmd.OutOrStdout(), "not running")
				return nil
			}
			if tasks {
				if err := h.stopAllTasks(cmd); err != nil {
					return err
				}
			}
			return h.stopServer(cmd)
		},
	}
	cmd.Flags().BoolVar(&tasks, "tasks", false, "stop all tasks first; services start theirs again with the next havn up")
	return cmd
}

// restSignal tells a running Havn to start no more tasks for services: their user wants them again when Havn is up again.
const restSignal = unix.SIGUSR1

// rest tells the server that services are to rest.
func (h home) rest() error {
	info, err := h.server()
	if err != nil || !info.Rests {
		return err
	}
	pid, err := h.holder()
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("cannot find process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, restSignal, nil, 0); err != nil {
		return fmt.Errorf("cannot let the services of process %d rest: %w", pid, err)
	}
	return nil
}

// stopAllTasks stops the tasks of all clusters and returns when they are STOPPED. A service may start another in the
// moment before it hears that it is to rest: that is stopped, too.
func (h home) stopAllTasks(cmd *cobra.Command) error {
	client, _, err := h.client()
	if err != nil {
		return err
	}
	if err := h.rest(); err != nil {
		return err
	}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	for {
		byCluster, count, err := unstoppedTasks(ctx, client)
		if err != nil || count == 0 {
			return err
		}
		fmt.Fprintf(out, "stopping %d tasks\n", count)
		for cluster, tasks := range byCluster {
			for _, task := range tasks {
				if _, err := client.StopTask(ctx, &ecs.StopTaskInput{Cluster: &cluster, Task: &task, Reason: aws.String("havn down --tasks")}); err != nil {
					return err
				}
			}
		}
		waiter := ecs.NewTasksStoppedWaiter(client, func(o *ecs.TasksStoppedWaiterOptions) {
			o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
		})
		for cluster, tasks := range byCluster {
			for chunk := range slices.Chunk(tasks, 100) { // DescribeTasks takes at most 100
				if err := waiter.Wait(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: chunk}, 5*time.Minute); err != nil {
					return fmt.Errorf("cannot wait for the tasks to stop; see: havn ps: %w", err)
				}
			}
		}
	}
}

func unstoppedTasks(ctx context.Context, client *ecs.Client) (byCluster map[string][]string, count int, err error) {
	byCluster = map[string][]string{}
	err = eachTask(ctx, client, true, func(t types.Task) {
		if aws.ToString(t.LastStatus) != "STOPPED" {
			byCluster[*t.ClusterArn] = append(byCluster[*t.ClusterArn], *t.TaskArn)
			count++
		}
	})
	return byCluster, count, err
}

// stopServer asks the running process to end, and waits until it has let go of the data folder.
func (h home) stopServer(cmd *cobra.Command) error {
	pid, err := h.holder()
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot find process %d: %w", pid, err)
	}
	if err == nil {
		defer unix.Close(fd)
		if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot stop process %d: %w", pid, err)
		}
		if err := waitExit(cmd.Context(), fd, 30*time.Second); err != nil {
			return fmt.Errorf("process %d does not end (see %s): %w", pid, h.path("havn.log"), err)
		}
	}
	fmt.Fprintln(cmd.OutOrStdout(), "Havn is down")
	return nil
}

// waitExit returns when the process of a pidfd has ended: the descriptor is then readable.
func waitExit(ctx context.Context, pidfd int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(min(left, time.Second).Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
