package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"havn/agent/containerd"
)

func imageCommand(open opener) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Work with the images of this node",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "load FILE",
		Short: `Load images from an archive of "docker save" or an OCI archive ("-" reads standard input)`,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("cannot load images: %w", err)
				}
				defer f.Close()
				in = f
			}
			images, err := h.images(cmd)
			if err != nil {
				return err
			}
			defer images.Close()
			loaded, err := images.LoadArchive(cmd.Context(), in)
			if err != nil {
				return fmt.Errorf("cannot load %s: %w", args[0], err)
			}
			for _, image := range loaded {
				fmt.Fprintf(cmd.OutOrStdout(), "Loaded image: %s\n", image.Name)
			}
			return nil
		},
	})
	return cmd
}

func imagesCommand(open opener) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List the images of this node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			images, err := h.images(cmd)
			if err != nil {
				return err
			}
			defer images.Close()
			list, err := images.ListImages(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "IMAGE\tDIGEST\tSIZE\tCREATED")
			for _, i := range list {
				created := "-" // the builder did not say
				if !i.Created.IsZero() {
					created = i.Created.Local().Format(time.DateTime)
				}
				fmt.Fprintf(w, "%s\t%.19s\t%.1f MB\t%s\n", i.Name, i.Digest, float64(i.Size)/1e6, created)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// images connects to the node's containerd.
func (h home) images(cmd *cobra.Command) (*containerd.Images, error) {
	if !h.running() {
		return nil, fmt.Errorf("no Havn runs with data folder %s; start one with: havn up --detach --data-dir %s", h.dir, h.dir)
	}
	return containerd.Dial(containerd.SocketPath(h.runtimeDir()))
}
