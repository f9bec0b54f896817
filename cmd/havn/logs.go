package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"havn/agent/logging/jsonfile"
)

func logsCommand(open opener) *cobra.Command {
	var follow bool
	var p logPrinter
	var tail, since string
	cmd := &cobra.Command{
		Use:   "logs [-f] TASK [CONTAINER]",
		Short: "Print what a task's container wrote",
		Long: `Print what a task's container wrote: its standard output to standard output, its standard error to standard
error. TASK is an id, the beginning of one, or an ARN; CONTAINER is needed where the task has several. The
logs of this machine's tasks only: they stay for three hours after a task stopped, and the oldest lines of a
long log go earlier. Wherever else the log goes (awslogs, fluentd ...), it is here, too.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if p.tail, err = tailOf(tail); err != nil {
				return err
			}
			if p.since, err = sinceOf(since, time.Now()); err != nil {
				return err
			}
			h, err := open()
			if err != nil {
				return err
			}
			file, err := h.logFile(args)
			if err != nil {
				return err
			}
			p.out, p.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			log := jsonfile.NewReader(file, jsonfile.Position{})
			defer log.Close()
			if err := p.printThere(log); err != nil || !follow {
				return err
			}
			return h.followLog(cmd.Context(), &p, log, file)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on printing until the task has stopped")
	f.BoolVarP(&p.times, "timestamps", "t", false, "print the time before each line")
	f.StringVarP(&tail, "tail", "n", "all", "print only so many of the last lines")
	f.StringVar(&since, "since", "", "print only lines since a time (2026-01-02T15:04:05Z) or for so long (10m)")
	return cmd
}

// tailOf is -1 for all.
func tailOf(text string) (int, error) {
	if text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("--tail %q is neither a number of lines nor all", text)
	}
	return n, nil
}

// sinceOf is the zero time for ever.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since %q is neither a duration such as 10m nor a time such as 2026-01-02T15:04:05Z", text)
	}
	return at, nil
}

// logFile finds the log of a container of a task.
func (h home) logFile(args []string) (string, error) {
	prefix := lastPart(args[0])
	if prefix == "" || strings.ContainsAny(prefix, `*?[\.`) {
		return "", fmt.Errorf("%q is not a task id", args[0])
	}
	tasks, err := namesIn(h.path("logs"), prefix, "")
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
	names, err := namesIn(h.path("logs", tasks[0]), "", ".log")
	if err != nil {
		return "", err
	}
	path := func(name string) string { return h.path("logs", tasks[0], name+".log") }
	if len(args) == 2 && slices.Contains(names, args[1]) {
		return path(args[1]), nil
	}
	switch {
	case len(args) == 2:
		return "", fmt.Errorf("task %s has no log of a container %s; it has: %s", prefix, args[1], strings.Join(names, " "))
	case len(names) == 0:
		return "", fmt.Errorf("task %s has written nothing yet", prefix)
	case len(names) > 1:
		return "", fmt.Errorf("task %s has several containers, name one: %s", prefix, strings.Join(names, " "))
	}
	return path(names[0]), nil
}

// namesIn are the names in a folder that begin and end so, without the end. The folder's path is the user's, and no
// pattern.
func namesIn(dir, prefix, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

// logPrinter prints lines of a log to where the container wrote them.
type logPrinter struct {
	out, err io.Writer
	times    bool
	tail     int // of the lines that are there; -1 = all
	since    time.Time
	within   map[string]bool // by stream: the last that was printed is a part of a line
}

// printThere prints what is there when it is called, as much of it as is wanted.
func (p *logPrinter) printThere(log *jsonfile.Reader) error {
	if p.tail < 0 {
		return p.printNext(log)
	}
	last, err := lastOf(log, p.tail)
	if err != nil {
		return err
	}
	for _, line := range last {
		if err := p.print(line); err != nil {
			return err
		}
	}
	return nil
}

// lastOf reads up to the end of what is there, and returns the last n lines.
func lastOf(log *jsonfile.Reader, n int) ([]jsonfile.Line, error) {
	var last []jsonfile.Line // with the parts of n lines, and at times of twice as many
	for whole := 0; ; {
		line, err := log.Next()
		if errors.Is(err, io.EOF) {
			return endOf(last, n), nil
		}
		if err != nil {
			return nil, err
		}
		last = append(last, line)
		if bytes.HasSuffix(line.Log, []byte("\n")) {
			whole++
		}
		if whole > 2*n {
			last, whole = endOf(last, n), n
		}
	}
}

// endOf is the end of lines, from where n of them begin. What has no end yet is one, too.
func endOf(lines []jsonfile.Line, n int) []jsonfile.Line {
	for i := len(lines) - 1; i >= 0; i-- {
		if i < len(lines)-1 && !bytes.HasSuffix(lines[i].Log, []byte("\n")) {
			continue // a part of what has been counted
		}
		if n--; n < 0 {
			return slices.Clone(lines[i+1:])
		}
	}
	return lines
}

// printNext prints up to the end of what is there.
func (p *logPrinter) printNext(log *jsonfile.Reader) error {
	for {
		line, err := log.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
}

func (p *logPrinter) print(line jsonfile.Line) error {
	if line.Time.Before(p.since) {
		return nil
	}
	to := p.out
	if line.Stream == jsonfile.Stderr {
		to = p.err
	}
	text := line.Log
	if p.times && !p.within[line.Stream] {
		text = slices.Concat([]byte(line.Time.Format(time.RFC3339Nano)+" "), text)
	}
	if p.within == nil {
		p.within = map[string]bool{}
	}
	p.within[line.Stream] = !bytes.HasSuffix(line.Log, []byte("\n"))
	_, err := to.Write(text)
	return err
}

// followLog prints what is added to the log, until its task is stopped or its log discarded.
func (h home) followLog(ctx context.Context, p *logPrinter, log *jsonfile.Reader, file string) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot follow: %w", err)
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(file)); err != nil { // not the file: it is another one after a rotation
		return fmt.Errorf("cannot follow: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- h.waitStopped(ctx, filepath.Base(filepath.Dir(file))) }()
	for {
		if err := p.printNext(log); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
			return nil // discarded
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-stopped:
			return errors.Join(p.printNext(log), err)
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
