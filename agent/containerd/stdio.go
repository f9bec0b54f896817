package containerd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"havn/protocol"
)

// connectStdio says what the container's process has for its input, and whether it is on a terminal.
func (r *Runtime) connectStdio(request *tasksapi.CreateTaskRequest, task *protocol.Task, c *protocol.Container) error {
	docker, err := dockerOf(c)
	if err != nil {
		return err
	}
	if docker.config.OpenStdin {
		// The shim holds both ends of the pipe, so the process waits for input that does not come, and not for an end.
		request.Stdin = filepath.Join(r.containerDir(task.ARN, c.Name), "stdin")
		if err := unix.Mkfifo(request.Stdin, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
			return &os.PathError{Op: "mkfifo", Path: request.Stdin, Err: err}
		}
	}
	request.Terminal = docker.config.Tty // its one stream goes where the output goes
	return nil
}
