// Command havn is Amazon ECS on machines you own: the control plane, the node, and the few commands that
// the AWS CLI does not have. This package holds flags, configuration and wiring, and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// exit is an error that has been told already, with the exit code it asks for.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run is the whole command, for main and for tests.
func run(ctx context.Context, args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(os.Stderr, "havn:", err)
	return 1
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "havn",
		Short:         "Amazon ECS on machines you own",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	dir := os.Getenv("HAVN_DATA_DIR")
	if dir == "" {
		dir = defaultDataDir
	}
	dataDir := root.PersistentFlags().String("data-dir", dir, "data folder; the environment variable HAVN_DATA_DIR sets the default")
	open := func() (home, error) { return openHome(*dataDir) }
	root.AddCommand(
		upCommand(open), nodeCommand(open), downCommand(open), statusCommand(open), envCommand(open),
		psCommand(open), whyCommand(open), logsCommand(open), imageCommand(open), imagesCommand(open), versionCommand(),
	)
	return root
}

// opener opens the data folder that the flags name.
type opener func() (home, error)
