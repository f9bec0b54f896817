package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"havn/protocol"
)

// A container's process that was started once is never started again, so the mark is made before the start. It holds
// the round, so that a process of one round is told from that of the next.
func markStarted(dir string, round int) error {
	return replaceFile(startedMark(dir), []byte(strconv.Itoa(round)))
}

// startedRound is the round of the last process that was started; -1 if none was.
func startedRound(dir string) (int, error) {
	data, err := os.ReadFile(startedMark(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil || len(data) == 0 { // empty: written before there were rounds
		return 0, err
	}
	round, err := strconv.Atoi(string(data))
	if err != nil {
		return 0, fmt.Errorf("cannot read the mark of the container's start: %w", err)
	}
	return round, nil
}

// renew makes the container's process of a further round, which waits to be started, in the place of the last one. The
// container stays what it is: its layer, network and log are as the last one left them.
func (r *Runtime) renew(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	id := containerID(task.ARN, c.Name)
	if err := r.removeProcess(ctx, task.ARN, id); err != nil {
		return fmt.Errorf("cannot remove the container's last process: %w", err)
	}
	rootfs, err := r.snapshots.Mounts(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot find the container's layer: %w", err)
	}
	return r.createProcess(ctx, task, c, rootfs)
}
