package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func envCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: `Print what AWS clients need: eval "$(havn env)"`,
		Long: `Print shell lines that point the AWS CLI, the SDKs and everything built on them at this Havn:

    eval "$(havn env)"

AWS_ENDPOINT_URL is read by AWS CLI 2.13 and boto3 1.28 or newer; for older ones add --endpoint-url.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			info, err := h.server()
			if err != nil {
				return err
			}
			key, err := h.readRootKey()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			// AWS_DEFAULT_REGION beside AWS_REGION: version 1 of the AWS CLI and boto3 read only the former.
			for _, line := range [][2]string{
				{"AWS_ENDPOINT_URL", info.Endpoint},
				{"AWS_REGION", info.Region},
				{"AWS_DEFAULT_REGION", info.Region},
				{"AWS_ACCESS_KEY_ID", key.AccessKeyID},
				{"AWS_SECRET_ACCESS_KEY", key.SecretAccessKey},
			} {
				fmt.Fprintf(out, "export %s=%s\n", line[0], line[1])
			}
			// A few operations of AWS have a host of their own, which clients make of ours by putting a prefix before it:
			// stream- for aws logs start-live-tail. There is no such host beside this one.
			fmt.Fprintln(out, "export AWS_DISABLE_HOST_PREFIX_INJECTION=true")
			// A session token left over from real AWS would make every signature wrong.
			fmt.Fprintln(out, "unset AWS_SESSION_TOKEN AWS_PROFILE")
			return nil
		},
	}
}
