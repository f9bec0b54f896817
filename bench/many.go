package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

const manyTasks = 500

// measureMany starts many tasks at once, lets them idle, stops them at once, and sees that nothing of them is left.
func measureMany(ctx context.Context, c config) ([]result, error) {
	h, err := startHavn(ctx, c)
	if err != nil {
		return nil, err
	}
	defer h.stop()
	if err := h.loadImage(ctx); err != nil {
		return nil, err
	}
	small := definition("small")
	small.ContainerDefinitions[0].Memory = aws.Int32(16)
	small.ContainerDefinitions[0].PortMappings = nil
	if _, err := h.client.RegisterTaskDefinition(ctx, small); err != nil {
		return nil, err
	}
	before, err := memoryOf(h.pid)
	if err != nil {
		return nil, err
	}
	const each = 10
	begin := time.Now()
	for range manyTasks / each {
		out, err := h.client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("small"), Count: aws.Int32(each)})
		if err != nil {
			return nil, err
		}
		if len(out.Failures) > 0 {
			return nil, fmt.Errorf("no place for all: %s %s", aws.ToString(out.Failures[0].Reason), aws.ToString(out.Failures[0].Detail))
		}
	}
	if err := h.awaitRunning(ctx, manyTasks); err != nil {
		return nil, err
	}
	started := time.Since(begin)
	pause(ctx, 5*time.Second)
	after, err := memoryOf(h.pid)
	if err != nil {
		return nil, err
	}
	shims, count, err := shimMemory(h.bin)
	if err != nil {
		return nil, err
	}
	begin = time.Now()
	if err := h.stopMany(ctx); err != nil {
		return nil, err
	}
	if err := h.awaitRunning(ctx, 0); err != nil {
		return nil, err
	}
	stopped := time.Since(begin)
	if err := h.leftNothing(ctx); err != nil {
		return nil, err
	}
	return []result{
		{fmt.Sprintf("%d tasks at once", manyTasks), fmt.Sprintf("all RUNNING after %.1f s (%.1f tasks/s), all stopped in %.1f s, no shim left",
			started.Seconds(), manyTasks/started.Seconds(), stopped.Seconds()), "start and stop cleanly"},
		{fmt.Sprintf("memory of each of %d idle tasks", manyTasks), fmt.Sprintf("%.2f MiB in Havn, %.2f MiB in its shim (proportional, %d shims)",
			mib(after.resident-before.resident)/manyTasks, mib(shims)/float64(max(count, 1)), count), "8 MiB or less"},
	}, nil
}

func (h *havn) awaitRunning(ctx context.Context, want int32) error {
	for deadline := time.Now().Add(5 * time.Minute); ; pause(ctx, 4*pollInterval) {
		out, err := h.client.DescribeClusters(ctx, &ecs.DescribeClustersInput{})
		if err != nil {
			return err
		}
		c := out.Clusters[0]
		if c.RunningTasksCount == want && c.PendingTasksCount == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d tasks run and %d are pending after five minutes, not %d", c.RunningTasksCount, c.PendingTasksCount, want)
		}
	}
}

func (h *havn) stopMany(ctx context.Context) error {
	var arns []string
	for page := ecs.NewListTasksPaginator(h.client, &ecs.ListTasksInput{}); page.HasMorePages(); {
		out, err := page.NextPage(ctx)
		if err != nil {
			return err
		}
		arns = append(arns, out.TaskArns...)
	}
	const atOnce = 8
	for some := range slices.Chunk(arns, atOnce) {
		if _, err := together(len(some), func(n int) (time.Duration, error) {
			_, err := h.client.StopTask(ctx, &ecs.StopTaskInput{Task: &some[n]})
			return 0, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// leftNothing looks whether a shim of the tasks is still there. The last ones may be about to end.
func (h *havn) leftNothing(ctx context.Context) error {
	for deadline := time.Now().Add(10 * time.Second); ; pause(ctx, pollInterval) {
		_, count, err := shimMemory(h.bin)
		if err != nil || count == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d shims are left", count)
		}
	}
}
