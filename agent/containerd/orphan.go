package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"golang.org/x/sys/unix"
)

// shimGroup annotates a container's specification with its task: containerd's shim serves all containers with the same
// value in one process, which the first of them starts.
const shimGroup = "io.containerd.runc.v2.group"

// killOrphans ends shims that were started by a process which was killed before it could write down how to speak to
// them. They have no container yet, and they would be in the way of the next shim for it: that one finds the socket
// taken and leaves the work to an orphan, whose folder is gone. Only while no engine makes containers is it sure that a
// shim without a note will never get one. A start that is still under way could make an orphan after we looked, so we look
// until there is nothing to see.
func (r *Runtime) killOrphans(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		orphans, err := r.orphans()
		if err != nil {
			return fmt.Errorf("cannot look for orphaned shims: %w", err)
		}
		if len(orphans) == 0 {
			return nil
		}
		for _, pid := range orphans {
			if err := killAndAwait(pid); err != nil {
				return fmt.Errorf("cannot end the orphaned shim %d: %w", pid, err)
			}
		}
	}
}

// orphans are our shims of which no container has a note in its folder. A shim bears the ID of the container that it was
// started for, which may have left it since.
func (r *Runtime) orphans() ([]int, error) {
	noted, err := r.notedShims()
	if err != nil {
		return nil, err
	}
	return r.shimsOf(func(id string) bool { return !noted[id] })
}

// notedShims are the IDs that a shim can bear of which a note tells how to speak to it.
func (r *Runtime) notedShims() (map[string]bool, error) {
	tasks, err := os.ReadDir(filepath.Join(r.dataDir, "tasks"))
	if err != nil {
		return nil, err
	}
	noted := make(map[string]bool)
	for _, t := range tasks {
		rec, err := readTaskRecord(filepath.Join(r.dataDir, "tasks", t.Name()))
		if err != nil {
			r.log.Warn("cannot read the record of a task", "folder", t.Name(), "error", err)
		}
		ids := rec.containerIDs()
		if slices.ContainsFunc(ids, func(id string) bool {
			_, err := os.Stat(filepath.Join(bundles(r.runtimeDir), id, "bootstrap.json"))
			return err == nil
		}) {
			for _, id := range ids {
				noted[id] = true
			}
		}
	}
	return noted, nil
}

// shimsOf are the processes of our shim, for our socket, whose container's ID is wanted.
func (r *Runtime) shimsOf(wanted func(id string) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	socket := []byte(SocketPath(r.runtimeDir))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := bytes.Split(line, []byte{0})
		i := slices.IndexFunc(args, func(a []byte) bool { return string(a) == "-id" })
		if filepath.Base(string(args[0])) == shimName && i >= 0 && i+1 < len(args) &&
			slices.ContainsFunc(args, func(a []byte) bool { return bytes.Equal(a, socket) }) &&
			wanted(string(args[i+1])) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// endForgotten ends what there may still be of a container that containerd knows nothing of any more, and the task's
// shim with the last container. On a machine with too much to do, containerd gives up clearing away a half-made one
// after seconds.
func (r *Runtime) endForgotten(taskARN, id string) error {
	if err := r.endShim(taskARN, id); err != nil {
		return err
	}
	pids, err := r.cgroups.processes(r.cgroups.path(taskARN, id))
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := killAndAwait(pid); err != nil {
			return fmt.Errorf("cannot end the process %d: %w", pid, err)
		}
	}
	for _, dir := range []string{filepath.Join(bundles(r.runtimeDir), id), filepath.Join(r.runtimeDir, "r", Namespace, id)} {
		if _, err := os.Stat(dir); err == nil {
			if err := removeUnmounted(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// endShim ends the task's shim, unless another container than the one with this ID is in it.
func (r *Runtime) endShim(taskARN, id string) error {
	socket, err := r.shimSocket(taskARN)
	if err != nil {
		return err
	}
	if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) {
		return nil // no shim: one that ends by itself takes its socket away
	}
	rec, err := readTaskRecord(r.taskDir(taskARN))
	if err != nil {
		r.log.Warn("cannot read the record of a task", "task", taskARN, "error", err)
	}
	ids := rec.containerIDs()
	if slices.ContainsFunc(ids, func(other string) bool {
		_, err := os.Stat(filepath.Join(bundles(r.runtimeDir), other))
		return other != id && err == nil
	}) {
		return nil
	}
	shims, err := r.shimsOf(func(other string) bool { return other == id || slices.Contains(ids, other) })
	if err != nil {
		return err
	}
	for _, pid := range shims {
		if err := killAndAwait(pid); err != nil {
			return fmt.Errorf("cannot end the shim %d: %w", pid, err)
		}
	}
	os.Remove(socket)
	return nil
}

// shimSocket is where the shim of a task listens.
func (r *Runtime) shimSocket(taskARN string) (string, error) {
	ours := namespaces.WithNamespace(context.Background(), Namespace)
	address, err := shim.CreateSocketAddress(ours, shimSockets(r.runtimeDir), r.engine.socket, taskARN, false)
	return strings.TrimPrefix(address, "unix://"), err
}

func killAndAwait(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	const patience = 10_000 // milliseconds
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return errors.New("it does not end")
		}
		return nil
	}
}
