package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"
)

// prepareAdoption arranges what an earlier process left, so that containerd keeps what it should and nothing else.
func (r *Runtime) prepareAdoption(ctx context.Context) error {
	if err := r.killOrphans(ctx); err != nil {
		return err
	}
	return r.keepExited(ctx)
}

// keepExited makes containerd adopt the shims of containers that ended while nobody was there. At its start it would
// take a shim without a process for one that was left behind half-made, end it, and with it would go the exit code. It
// spares a shim that it knows as a sandbox. So every container that was started is written down as one, before
// containerd looks; nothing else in this engine knows or cares for sandboxes. Half-made ones are still cleared away.
func (r *Runtime) keepExited(ctx context.Context) error {
	started, err := r.startedContainers()
	if err != nil {
		return err
	}
	path := metadataPath(r.dataDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // never opened before
	}
	db, err := bolt.Open(path, 0o644, nil)
	if err != nil {
		return fmt.Errorf("cannot open containerd's metadata: %w", err)
	}
	store := metadata.NewSandboxStore(metadata.NewDB(db, nil, nil))
	err = db.Update(func(tx *bolt.Tx) error {
		ctx := boltutil.WithTransaction(namespaces.WithNamespace(ctx, Namespace), tx)
		old, err := store.List(ctx)
		if err != nil {
			return err
		}
		if len(old) == 0 && len(started) == 0 {
			return errNothing // and spare the disk a write
		}
		for _, s := range old {
			if err := store.Delete(ctx, s.ID); err != nil {
				return err
			}
		}
		for _, id := range started {
			s := sandbox.Sandbox{ID: id, Sandboxer: "havn", Runtime: sandbox.RuntimeOpts{Name: "havn"}}
			if _, err := store.Create(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("cannot prepare the adoption of containers: %w", err)
	}
	return nil
}

var errNothing = errors.New("nothing to do")

// startedContainers lists the IDs of containers that have a shim and were started.
func (r *Runtime) startedContainers() ([]string, error) {
	tasks, err := os.ReadDir(filepath.Join(r.dataDir, "tasks"))
	if err != nil {
		return nil, err
	}
	var started []string
	for _, t := range tasks {
		rec, err := readTaskRecord(filepath.Join(r.dataDir, "tasks", t.Name()))
		if err != nil {
			r.log.Warn("cannot read the record of a task", "folder", t.Name(), "error", err)
		}
		for i, id := range rec.containerIDs() {
			name := rec.Containers[i]
			if _, err := os.Stat(filepath.Join(bundles(r.runtimeDir), id)); err != nil {
				continue
			}
			if at, err := startedAt(r.containerDir(rec.ARN, name)); err == nil && !at.IsZero() {
				started = append(started, id)
			}
		}
	}
	return started, nil
}
