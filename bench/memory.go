package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"havn/testimage"
)

const idleTasks = 20

// measureMemory measures the whole process at idle, and what each idle task adds: in the process, and in
// its shim.
func measureMemory(ctx context.Context, c config) ([]result, error) {
	h, err := startHavn(ctx, c)
	if err != nil {
		return nil, err
	}
	defer h.stop()
	pause(ctx, 3*time.Second)
	idle, err := memoryOf(h.pid)
	if err != nil {
		return nil, err
	}
	if err := h.loadImage(ctx); err != nil {
		return nil, err
	}
	pause(ctx, 3*time.Second)
	before, err := memoryOf(h.pid)
	if err != nil {
		return nil, err
	}
	for range idleTasks / 10 {
		if _, err := h.client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("bench"), Count: aws.Int32(10)}); err != nil {
			return nil, err
		}
	}
	list, err := h.client.ListTasks(ctx, &ecs.ListTasksInput{})
	if err != nil {
		return nil, err
	}
	for _, task := range list.TaskArns {
		if _, err := h.await(ctx, task, "RUNNING"); err != nil {
			return nil, err
		}
	}
	pause(ctx, 5*time.Second)
	after, err := memoryOf(h.pid)
	if err != nil {
		return nil, err
	}
	shims, count, err := shimMemory(h.bin)
	if err != nil {
		return nil, err
	}
	return []result{
		{"idle memory of the whole process", fmt.Sprintf("%.1f MiB resident, %.1f MiB of it anonymous", mib(idle.resident), mib(idle.anonymous)), "under 80 MiB"},
		{fmt.Sprintf("memory of an idle task, over %d", len(list.TaskArns)), fmt.Sprintf("%.2f MiB in Havn, %.2f MiB in its shim (proportional, %d shims)",
			mib(after.resident-before.resident)/float64(len(list.TaskArns)), mib(shims)/float64(max(count, 1)), count), ""},
	}, nil
}

// memory is in bytes. proc(5), /proc/pid/smaps_rollup.
type memory struct{ resident, proportional, anonymous int64 }

var memoryLine = regexp.MustCompile(`(?m)^(Rss|Pss|Anonymous): +(\d+) kB`)

func memoryOf(pid int) (memory, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for _, match := range memoryLine.FindAllStringSubmatch(string(content), -1) {
		kib, err := strconv.ParseInt(match[2], 10, 64)
		if err != nil {
			return m, err
		}
		switch match[1] {
		case "Rss":
			m.resident = kib << 10
		case "Pss":
			m.proportional = kib << 10
		case "Anonymous":
			m.anonymous = kib << 10
		}
	}
	return m, nil
}

// shimMemory adds up the shims that were started from our binary.
func shimMemory(bin string) (total int64, count int, err error) {
	out, err := exec.Command("pgrep", "-f", bin+"/havn-shim").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return 0, 0, nil // pgrep(1): no process matched
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot list shims: %w", err)
	}
	for _, text := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return 0, 0, err
		}
		m, err := memoryOf(pid)
		if err != nil {
			continue // a shim that has just ended
		}
		total += m.proportional
		count++
	}
	return total, count, nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// dockerArchive is the bench's image, for a Docker engine to load.
func dockerArchive() (*os.File, error) {
	f, err := os.CreateTemp("", "havn-bench-*.tar")
	if err != nil {
		return nil, err
	}
	if err := testimage.WriteArchive(f, image, testimage.Busybox("sleep", "100000")); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, 0)
	return f, err
}
