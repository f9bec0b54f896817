//go:build linux

// Command havn-shim stands between Havn and the containers of one task: it starts runc, holds their output
// open, reaps their processes and remembers how they ended. It outlives Havn, which is why containers do.
//
// It is containerd's own runc shim, and what writes the logs (output.go), and links nothing else: there is one such
// process for each running task, so every page counts.
package main

import (
	"context"
	"errors"
	"runtime"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/log"
)

func main() {
	log.L.Logger.AddHook(watcherEnd{})
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}

// watcherEnd ends the goroutine that watches for the kernel's out-of-memory kills on cgroup v1. It does not know the error
// that tells it of a shutdown, and would log it in a tight loop, thousands of times, until the process is gone.
type watcherEnd struct{}

func (watcherEnd) Levels() []log.Level { return []log.Level{log.ErrorLevel} }

func (watcherEnd) Fire(e *log.Entry) error {
	if err, ok := e.Data["error"].(error); ok && e.Message == "cgroups: epoll wait" && errors.Is(err, shutdown.ErrShutdown) {
		runtime.Goexit()
	}
	return nil
}
