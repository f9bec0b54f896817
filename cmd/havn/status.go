package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// statusReport is what `havn status --json` prints.
type statusReport struct {
	Running   bool      `json:"running"`
	DataDir   string    `json:"dataDir"`
	Endpoint  string    `json:"endpoint,omitempty"`
	Region    string    `json:"region,omitempty"`
	Account   string    `json:"account,omitempty"`
	PID       int       `json:"pid,omitempty"`
	Version   string    `json:"version,omitempty"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	Clusters  int       `json:"clusters"`
	Nodes     int       `json:"nodes"`
	Connected int       `json:"nodesConnected"`
	Tasks     int       `json:"tasks"`
}

func statusCommand(open opener) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether Havn runs, where, and what is on it (exit code 3 if it does not run)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			report, err := h.status(cmd)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				if err := json.NewEncoder(out).Encode(report); err != nil {
					return err
				}
			} else if !report.Running {
				fmt.Fprintf(out, "not running (data folder %s); start it with: havn up --detach\n", h.dir)
			} else {
				fmt.Fprintf(out, "running since %s, pid %d, version %s\n", report.StartedAt.Local().Format(time.DateTime), report.PID, report.Version)
				fmt.Fprintf(out, "  endpoint     %s (region %s, account %s)\n", report.Endpoint, report.Region, report.Account)
				fmt.Fprintf(out, "  data folder  %s\n", report.DataDir)
				fmt.Fprintf(out, "  clusters     %d\n", report.Clusters)
				fmt.Fprintf(out, "  nodes        %d, %d connected\n", report.Nodes, report.Connected)
				fmt.Fprintf(out, "  tasks        %d\n", report.Tasks)
			}
			if !report.Running {
				return exit(3)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (h home) status(cmd *cobra.Command) (statusReport, error) {
	report := statusReport{DataDir: h.dir, Running: h.running()}
	if !report.Running {
		return report, nil
	}
	client, info, err := h.client()
	if err != nil {
		return report, err
	}
	report.Endpoint, report.Region, report.Account = info.Endpoint, info.Region, info.Account
	report.PID, report.Version, report.StartedAt = info.PID, info.Version, info.StartedAt
	ctx := cmd.Context()
	connected := map[string]bool{} // by node: a node is a container instance of many clusters
	clusters := ecs.NewListClustersPaginator(client, &ecs.ListClustersInput{})
	for clusters.HasMorePages() {
		page, err := clusters.NextPage(ctx)
		if err != nil {
			return report, err
		}
		report.Clusters += len(page.ClusterArns)
		for _, cluster := range page.ClusterArns {
			if err := eachInstance(cmd, client, cluster, func(i types.ContainerInstance) { connected[nodeOf(i)] = i.AgentConnected }); err != nil {
				return report, err
			}
		}
	}
	report.Nodes = len(connected)
	for _, is := range connected {
		if is {
			report.Connected++
		}
	}
	err = eachTask(ctx, client, false, func(types.Task) { report.Tasks++ })
	return report, err
}

func eachInstance(cmd *cobra.Command, client *ecs.Client, cluster string, f func(types.ContainerInstance)) error {
	pages := ecs.NewListContainerInstancesPaginator(client, &ecs.ListContainerInstancesInput{Cluster: &cluster})
	for pages.HasMorePages() {
		page, err := pages.NextPage(cmd.Context())
		if err != nil {
			return err
		}
		if len(page.ContainerInstanceArns) == 0 {
			continue
		}
		described, err := client.DescribeContainerInstances(cmd.Context(), &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: page.ContainerInstanceArns})
		if err != nil {
			return err
		}
		for _, i := range described.ContainerInstances {
			f(i)
		}
	}
	return nil
}

// nodeOf tells which machine a container instance is.
func nodeOf(i types.ContainerInstance) string {
	for _, a := range i.Attributes {
		if *a.Name == "havn.node-id" && a.Value != nil {
			return *a.Value
		}
	}
	return *i.ContainerInstanceArn
}
