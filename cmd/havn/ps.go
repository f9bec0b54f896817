package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// psRow is one task, as `havn ps --json` prints it.
type psRow struct {
	Task       string    `json:"task"`
	Cluster    string    `json:"cluster"`
	Definition string    `json:"definition"`
	Status     string    `json:"status"`
	Desired    string    `json:"desired"`
	Service    string    `json:"service,omitempty"`
	Ports      []string  `json:"ports,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
}

func psCommand(open opener) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List tasks of all clusters",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			client, _, err := h.client()
			if err != nil {
				return err
			}
			rows, err := listTasks(cmd.Context(), client, all)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "TASK\tCLUSTER\tDEFINITION\tSTATUS\tCREATED\tSERVICE\tPORTS\tREASON")
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Task, r.Cluster, r.Definition, r.Status,
					r.CreatedAt.Local().Format(time.DateTime), r.Service, strings.Join(r.Ports, ", "), r.Reason)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show stopped tasks too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listTasks(ctx context.Context, client *ecs.Client, stoppedToo bool) ([]psRow, error) {
	rows := []psRow{}
	err := eachTask(ctx, client, stoppedToo, func(t types.Task) { rows = append(rows, rowOf(t)) })
	slices.SortFunc(rows, func(a, b psRow) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return rows, err
}

// eachTask calls f for every task of every cluster.
func eachTask(ctx context.Context, client *ecs.Client, stoppedToo bool, f func(types.Task)) error {
	desired := []types.DesiredStatus{types.DesiredStatusRunning}
	if stoppedToo {
		desired = append(desired, types.DesiredStatusStopped)
	}
	clusters := ecs.NewListClustersPaginator(client, &ecs.ListClustersInput{})
	for clusters.HasMorePages() {
		page, err := clusters.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, cluster := range page.ClusterArns {
			for _, status := range desired {
				tasks := ecs.NewListTasksPaginator(client, &ecs.ListTasksInput{Cluster: &cluster, DesiredStatus: status})
				for tasks.HasMorePages() {
					found, err := tasks.NextPage(ctx)
					if err != nil {
						return err
					}
					if len(found.TaskArns) == 0 {
						continue
					}
					described, err := client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: found.TaskArns})
					if err != nil {
						return err
					}
					for _, t := range described.Tasks {
						f(t)
					}
				}
			}
		}
	}
	return nil
}

func rowOf(t types.Task) psRow {
	row := psRow{
		Task:       lastPart(aws.ToString(t.TaskArn)),
		Cluster:    lastPart(aws.ToString(t.ClusterArn)),
		Definition: lastPart(aws.ToString(t.TaskDefinitionArn)),
		Status:     aws.ToString(t.LastStatus),
		Desired:    aws.ToString(t.DesiredStatus),
		Reason:     aws.ToString(t.StoppedReason),
		CreatedAt:  aws.ToTime(t.CreatedAt),
	}
	if service, is := strings.CutPrefix(aws.ToString(t.Group), "service:"); is {
		row.Service = service
	}
	for _, c := range t.Containers {
		for _, b := range c.NetworkBindings {
			row.Ports = append(row.Ports, fmt.Sprintf("%s:%d->%d/%s", aws.ToString(b.BindIP), aws.ToInt32(b.HostPort), aws.ToInt32(b.ContainerPort), b.Protocol))
		}
		if row.Reason == "" || row.Status == "STOPPED" && aws.ToString(c.Reason) != "" {
			row.Reason = strings.TrimPrefix(row.Reason+": "+aws.ToString(c.Reason), ": ")
		}
	}
	return row
}

// lastPart is the id or name at the end of an ARN.
func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
