package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker in releases and by the Makefile.
var version = "dev"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of Havn and of what it runs on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "havn %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
			for _, module := range []string{containerdModule, "go.etcd.io/etcd/server/v3", "github.com/aws/aws-sdk-go-v2/service/ecs"} {
				fmt.Fprintf(out, "  %s %s\n", module, versionOf(module))
			}
			return nil
		},
	}
}

const containerdModule = "github.com/containerd/containerd/v2"

// versionOf is the version of a module that this program was built with.
func versionOf(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}
