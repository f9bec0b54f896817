//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	shimtask "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"

	"havn/agent/logging/jsonfile"
)

// The shim's service is containerd's own. Before it comes ours, which writes the logs.
func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			down, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			inner, err := shimtask.NewTaskService(ic.Context, publisher.(shim.Publisher), down.(shutdown.Service))
			if err != nil {
				return nil, err
			}
			return &service{TTRPCTaskService: inner, outputs: map[string]*output{}}, nil
		},
	})
}

// service writes down what containers print, where their creator has asked for it with a URI of jsonfile. containerd's
// shim copies into pipes that it takes for named ones, and here is their other end.
type service struct {
	task.TTRPCTaskService
	mu      sync.Mutex
	outputs map[string]*output // by container
}

func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	task.RegisterTTRPCTaskService(server, s)
	return nil
}

func (s *service) Create(ctx context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	options, ours, err := jsonfile.ParseURI(r.Stdout)
	if err != nil {
		return nil, err
	}
	if !ours {
		return s.TTRPCTaskService.Create(ctx, r)
	}
	out, err := openOutput(options)
	if err != nil {
		return nil, err
	}
	r.Stdout, r.Stderr = out.pipe(jsonfile.Stdout), ""
	if !r.Terminal { // which has no other stream
		r.Stderr = out.pipe(jsonfile.Stderr)
	}
	if out.err != nil {
		out.begin()
		return nil, out.err
	}
	resp, err := s.TTRPCTaskService.Create(ctx, r)
	out.begin()
	if err == nil {
		s.mu.Lock()
		s.outputs[r.ID] = out
		s.mu.Unlock()
	}
	return resp, err
}

// Delete returns when all that the container has printed is written down.
func (s *service) Delete(ctx context.Context, r *task.DeleteRequest) (*task.DeleteResponse, error) {
	if r.ExecID != "" {
		return s.TTRPCTaskService.Delete(ctx, r)
	}
	s.mu.Lock()
	out := s.outputs[r.ID]
	s.mu.Unlock()
	if out != nil {
		out.release()
		// containerd's shim gives the last of the output two seconds, which on a busy machine is not enough.
		if state, err := s.State(ctx, &task.StateRequest{ID: r.ID}); err == nil && state.Status == tasktypes.Status_STOPPED {
			out.await(ctx)
		}
	}
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err == nil && out != nil {
		out.await(ctx)
		s.mu.Lock()
		delete(s.outputs, r.ID)
		s.mu.Unlock()
	}
	return resp, err
}

// output is what one container prints, on its way into its log.
type output struct {
	log     *jsonfile.Writer
	release func()
	ends    []*os.File // for containerd to write to, until it has opened them for itself
	copies  []func() error
	written chan struct{} // closed when all is
	err     error         // a pipe could not be made
}

func openOutput(o jsonfile.Options) (*output, error) {
	w, err := jsonfile.NewWriter(o)
	if err != nil {
		return nil, err
	}
	return &output{log: w, release: sync.OnceFunc(w.Release), written: make(chan struct{})}, nil
}

// pipe returns a name under which this process can open the way to the log.
func (o *output) pipe(stream string) string {
	r, w, err := os.Pipe()
	if err != nil {
		o.err = fmt.Errorf("cannot make a pipe for the log: %w", err)
		return ""
	}
	o.ends = append(o.ends, w)
	o.copies = append(o.copies, func() error { return errors.Join(o.log.Copy(stream, r), r.Close()) })
	return fmt.Sprintf("/proc/self/fd/%d", w.Fd())
}

// begin copies until nobody can write any more: neither the container nor what it has left behind.
func (o *output) begin() {
	for _, w := range o.ends {
		w.Close()
	}
	var all sync.WaitGroup
	for _, run := range o.copies {
		all.Go(func() {
			if err := run(); err != nil {
				log.L.WithError(err).Warn("a container's output is not written down any more")
			}
		})
	}
	go func() {
		defer close(o.written)
		all.Wait()
		if err := o.log.Close(); err != nil {
			log.L.WithError(err).Warn("a log ends badly")
		}
	}()
}

// patience is how long the end of a container waits for its log. Only a process of another container can have kept the
// output open.
const patience = 5 * time.Second

func (o *output) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-o.written:
	case <-ctx.Done():
	}
}
