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

	"golang.org/x/sys/unix"
)

// killOrphans ends shims that were started by a process which was killed before it could write down how to speak to
// them. They have no container yet, and they would be in the way of the next shim for it: that one finds the socket
// taken and leaves the work to an orphan, whose folder is gone. Only while no engine runs is it sure that a shim
// without a note will never get one. A start that is still under way could make an orphan after we looked, so we look
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

// orphans are our shims that have no note in their container's folder.
func (r *Runtime) orphans() ([]int, error) {
	return r.shimsOf(func(id string) bool {
		_, err := os.Stat(filepath.Join(bundles(r.runtimeDir), id, "bootstrap.json"))
		return errors.Is(err, os.ErrNotExist)
	})
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

// endForgotten ends what there may still be of a container that containerd knows nothing of any more. On a machine with
// too much to do, it gives up clearing away a half-made one after seconds.
func (r *Runtime) endForgotten(taskARN, id, socket string) error {
	if _, err := os.Stat(socket); err == nil { // else no shim: one that ends by itself takes its socket away
		shims, err := r.shimsOf(func(other string) bool { return other == id })
		if err != nil {
			return err
		}
		for _, pid := range shims {
			if err := killAndAwait(pid); err != nil {
				return fmt.Errorf("cannot end the shim %d: %w", pid, err)
			}
		}
		os.Remove(socket)
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
