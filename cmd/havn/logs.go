package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"
)

func logsCommand(open opener) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs [-f] TASK [CONTAINER]",
		Short: "Print what a task's container wrote",
		Long: `Print what a task's container wrote to its standard output and error. TASK is an id, the beginning of
one, or an ARN; CONTAINER is needed where the task has several. The logs of this machine's tasks only:
they stay for three hours after a task stopped.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			file, err := h.logFile(args)
			if err != nil {
				return err
			}
			if !follow {
				_, err = printFrom(cmd.OutOrStdout(), file, 0)
				return err
			}
			return h.followLog(cmd.Context(), cmd.OutOrStdout(), file)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing until the task has stopped")
	return cmd
}

// logFile finds the log of a container of a task.
func (h home) logFile(args []string) (string, error) {
	prefix := lastPart(args[0])
	if prefix == "" || strings.ContainsAny(prefix, `*?[\.`) {
		return "", fmt.Errorf("%q is not a task id", args[0])
	}
	tasks, err := filepath.Glob(h.path("logs", prefix+"*"))
	if err != nil {
		return "", err
	}
	switch len(tasks) {
	case 0:
		return "", fmt.Errorf("no logs of a task %s on this machine; see: havn ps --all", prefix)
	case 1:
	default:
		return "", fmt.Errorf("%d tasks begin with %s; give more of the id", len(tasks), prefix)
	}
	files, err := filepath.Glob(filepath.Join(tasks[0], "*.log"))
	if err != nil {
		return "", err
	}
	var names []string
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".log")
		if len(args) == 2 && name == args[1] {
			return f, nil
		}
		names = append(names, name)
	}
	switch {
	case len(args) == 2:
		return "", fmt.Errorf("task %s has no log of a container %s; it has: %s", prefix, args[1], strings.Join(names, " "))
	case len(files) == 0:
		return "", fmt.Errorf("task %s has written nothing yet", prefix)
	case len(files) > 1:
		return "", fmt.Errorf("task %s has several containers, name one: %s", prefix, strings.Join(names, " "))
	}
	return files[0], nil
}

// printFrom copies what stands after offset, and returns the new end.
func printFrom(out io.Writer, file string, offset int64) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return offset, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	n, err := io.Copy(out, f)
	return offset + n, err
}

// followLog prints the file as it grows, until its task is stopped or its log discarded.
func (h home) followLog(ctx context.Context, out io.Writer, file string) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot follow: %w", err)
	}
	defer watcher.Close()
	if err := watcher.Add(file); err != nil {
		return fmt.Errorf("cannot follow: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- h.waitStopped(ctx, filepath.Base(filepath.Dir(file))) }()
	var offset int64
	for {
		if offset, err = printFrom(out, file, offset); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-stopped:
			if _, perr := printFrom(out, file, offset); perr != nil && !errors.Is(perr, fs.ErrNotExist) {
				return perr
			}
			return err
		case <-watcher.Events:
		case err := <-watcher.Errors:
			return fmt.Errorf("cannot follow: %w", err)
		}
	}
}

// waitStopped returns when the task is STOPPED, by the SDK's own waiter. A node alone has no server to ask:
// there the log is followed until it is discarded.
func (h home) waitStopped(ctx context.Context, id string) error {
	if _, err := os.Stat(h.path(identityFile)); errors.Is(err, fs.ErrNotExist) {
		<-ctx.Done()
		return nil
	}
	client, _, err := h.client()
	if err != nil {
		return err
	}
	var found *types.Task
	if err := eachTask(ctx, client, true, func(t types.Task) {
		if lastPart(*t.TaskArn) == id {
			found = &t
		}
	}); err != nil {
		return err
	}
	if found == nil {
		return nil
	}
	waiter := ecs.NewTasksStoppedWaiter(client)
	err = waiter.Wait(ctx, &ecs.DescribeTasksInput{Cluster: found.ClusterArn, Tasks: []string{*found.TaskArn}}, 1<<62)
	if ctx.Err() != nil {
		err = nil // the reader has gone; that is no failure
	}
	return err
}
