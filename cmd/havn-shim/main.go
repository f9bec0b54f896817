//go:build linux

// Command havn-shim stands between Havn and one container: it starts runc, holds the container's output
// open, reaps its processes and remembers how it ended. It outlives Havn, which is why containers do.
//
// It is containerd's own runc shim and links nothing else: there is one such process for each running
// container, so every page counts.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	"github.com/containerd/containerd/v2/pkg/shim"
)

func main() {
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}
