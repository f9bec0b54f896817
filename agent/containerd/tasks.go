package containerd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"havn/protocol"
)

// Tasks lists the tasks that there is anything of; see agent.Runtime.
func (r *Runtime) Tasks(ctx context.Context) ([]string, error) {
	found := make(map[string]bool)
	dirs, err := os.ReadDir(filepath.Join(r.dataDir, "tasks"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the tasks: %w", err)
	}
	for _, d := range dirs {
		rec, err := readTaskRecord(filepath.Join(r.dataDir, "tasks", d.Name()))
		if err != nil {
			r.log.Warn("cannot read the record of a task", "folder", d.Name(), "error", err)
		}
		if rec.ARN != "" {
			found[rec.ARN] = true
		}
	}
	recorded, err := r.containers.List(ctx, "labels."+`"`+labelTask+`"`)
	if err != nil {
		return nil, fmt.Errorf("cannot list the containers: %w", err)
	}
	for _, c := range recorded {
		found[c.Labels[labelTask]] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Destroy removes all tasks, stops the engine and deletes what is ours under the runtime folder. The data folder, which
// the images are in, stays.
func (r *Runtime) Destroy(ctx context.Context) error {
	err := r.destroy(ctx)
	err = errors.Join(err, r.Close())
	if err != nil {
		return fmt.Errorf("cannot destroy the container runtime: %w", err)
	}
	if err := r.leave(); err != nil {
		return fmt.Errorf("cannot destroy the container runtime: %w", err)
	}
	return nil
}

// leave deletes what is ours under the runtime folder. Nobody may need it any more: neither the engine nor a shim.
func (r *Runtime) leave() error {
	for _, name := range []string{socketName, socketName + ".ttrpc", shimName, runcName} {
		os.Remove(filepath.Join(r.runtimeDir, name))
	}
	for _, dir := range []string{
		stateDir(r.runtimeDir), shimSockets(r.runtimeDir), filepath.Join(r.runtimeDir, "r"), filepath.Join(r.runtimeDir, "m"),
		filepath.Join(r.runtimeDir, "t"),
	} {
		if err := removeUnmounted(dir); err != nil {
			return err
		}
	}
	if err := r.volumes.Leave(); err != nil {
		return err
	}
	os.Remove(r.runtimeDir) // unless others have something in it
	return nil
}

// deserted reports whether no container has a shim, and no task a namespace for its containers.
func (r *Runtime) deserted() bool {
	for _, dir := range []string{bundles(r.runtimeDir), filepath.Join(r.runtimeDir, "t")} {
		left, err := os.ReadDir(dir)
		if len(left) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	return true
}

func (r *Runtime) destroy(ctx context.Context) error {
	arns, err := r.Tasks(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, arn := range arns {
		task := &protocol.Task{ARN: arn}
		err := r.each(ctx, task, func(name string) error { return r.remove(ctx, arn, name) })
		if err == nil {
			err = r.disconnect(ctx, task)
		}
		if err == nil {
			err = r.discard(task)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// removeUnmounted deletes a folder, but nothing that is mounted in it.
func removeUnmounted(dir string) error {
	for _, m := range mountsBelow(dir) {
		if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", m, err)
		}
	}
	return os.RemoveAll(dir)
}

// mountsBelow lists what is mounted below a folder, the innermost first.
func mountsBelow(dir string) []string {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil
	}
	var all []string
	for _, i := range infos {
		all = append(all, i.Mountpoint)
	}
	slices.Reverse(all)
	return all
}
