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
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return nil
			}
			for _, dep := range info.Deps {
				switch dep.Path {
				case "github.com/containerd/containerd/v2", "go.etcd.io/etcd/server/v3", "github.com/aws/aws-sdk-go-v2/service/ecs":
					fmt.Fprintf(out, "  %s %s\n", dep.Path, dep.Version)
				}
			}
			return nil
		},
	}
}
