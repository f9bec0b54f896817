package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/cmd/containerd/server"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"havn/reserve"
)

const (
	// Namespace is where containerd keeps what is ours.
	Namespace = "havn"

	snapshotter = "overlayfs"

	socketName = "containerd.sock"

	// Shim sockets are SHIMS/<64 hex>, and a unix socket's path has at most 107 bytes.
	maxShimSocketDir = 42
)

// engine is a containerd server in this process.
type engine struct {
	server *server.Server
	stop   context.CancelFunc
	lock   *os.File // held while open: two servers on one root would spoil it
	socket string
}

func engineRoot(dataDir string) string { return filepath.Join(dataDir, "containerd") }

func metadataPath(dataDir string) string {
	return filepath.Join(engineRoot(dataDir), "io.containerd.metadata.v1.bolt", "meta.db")
}

// The state folder's names are part of every bundle's and socket's path, so they are short.
func stateDir(runtimeDir string) string    { return filepath.Join(runtimeDir, "c") }
func shimSockets(runtimeDir string) string { return filepath.Join(runtimeDir, "s") }

// SocketPath is where the engine that uses this runtime folder listens.
func SocketPath(runtimeDir string) string { return filepath.Join(runtimeDir, socketName) }

// bundles is the folder with one folder for each container that has a shim.
func bundles(runtimeDir string) string {
	return filepath.Join(stateDir(runtimeDir), "io.containerd.runtime.v2.task", Namespace)
}

// openEngine starts the server. Before it looks at what is there, but when it is sure that no other server does,
// prepare is called.
func openEngine(
	ctx context.Context, dataDir, runtimeDir string, log *slog.Logger, prepare func(context.Context) error,
) (_ *engine, err error) {
	if dir := shimSockets(runtimeDir); len(dir) > maxShimSocketDir {
		return nil, fmt.Errorf("the runtime folder %s is too long: %d bytes at most",
			runtimeDir, maxShimSocketDir-len("/s"))
	}
	e := &engine{socket: SocketPath(runtimeDir)}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	root := engineRoot(dataDir)
	for _, dir := range []string{root, runtimeDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	// containers of other users must be able to pass through to what is bind-mounted from below.
	if err := os.Chmod(runtimeDir, 0o711); err != nil {
		return nil, err
	}
	if e.lock, err = lockFile(filepath.Join(root, "lock")); err != nil {
		return nil, err
	}
	if err := link(e.socket, filepath.Join(dataDir, socketName)); err != nil {
		return nil, err
	}
	if err := prepare(ctx); err != nil {
		return nil, err
	}
	// Layers are unpacked in mounts of this folder. Those that a killed process left are of no use.
	if err := mount.SetTempMountLocation(filepath.Join(runtimeDir, "m")); err != nil {
		return nil, err
	}
	if warnings, err := mount.CleanupTempMounts(unix.MNT_DETACH); err != nil {
		return nil, fmt.Errorf("cannot clear away old mounts: %w", errors.Join(append(warnings, err)...))
	}
	if entries, err := os.ReadDir(filepath.Join(runtimeDir, "m")); err == nil { // and folders that were to be mounted on
		for _, e := range entries {
			os.Remove(filepath.Join(runtimeDir, "m", e.Name()))
		}
	}
	config := &srvconfig.Config{
		Version: 4,
		Root:    root,
		State:   stateDir(runtimeDir),
		DisabledPlugins: []string{
			// They would count and trace each call, and the first can be registered only once in a process.
			"io.containerd.metrics.v1.grpc-prometheus",
			"io.containerd.metrics.v1.grpc-otel",
			"io.containerd.server.v1.grpc-tcp",
		},
		// Its own are some seconds, after which it gives up containers that run on: on a machine with too much to do, such as
		// one that starts hundreds of them again, that is soon.
		Timeouts: map[string]string{
			"io.containerd.timeout.shim.load":    "30s",
			"io.containerd.timeout.shim.cleanup": "30s",
		},
		RequiredPlugins: []string{
			"io.containerd.snapshotter.v1." + snapshotter,
			"io.containerd.runtime.v2.task",
			"io.containerd.internal.v1.havn-sweep",
			"io.containerd.server.v1.grpc",
			"io.containerd.server.v1.ttrpc",
		},
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":  map[string]any{"address": e.socket},
			"io.containerd.server.v1.ttrpc": map[string]any{"address": e.socket + ".ttrpc"},
			"io.containerd.shim.v1.manager": map[string]any{"socket_dir": shimSockets(runtimeDir)},
		},
	}
	if err := server.CreateTopLevelDirectories(config); err != nil {
		return nil, err
	}
	// Plugins go on using the context that they are made with.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	opening.Lock()
	defer opening.Unlock()
	if e.server, err = server.New(background, config); err != nil {
		return nil, fmt.Errorf("cannot start containerd: %w", err)
	}
	if err := e.server.Start(background); err != nil {
		return nil, fmt.Errorf("cannot start containerd: %w", err)
	}
	e.server.Wait()
	reserve.Keep(background, log, metadataPath(dataDir), filepath.Join(root, "io.containerd.snapshotter.v1."+snapshotter, "metadata.db"))
	return e, nil
}

// opening guards the registrations of containerd's plugins: they are global, and hold the configuration.
var opening sync.Mutex

// close stops the server. Shims and containers run on.
func (e *engine) close() {
	if e.server != nil {
		e.server.Stop()
	}
	if e.stop != nil {
		e.stop()
	}
	if e.lock != nil {
		e.lock.Close()
	}
}

func dial(socket string) (*client.Client, error) {
	c, err := client.New(socket,
		client.WithDefaultNamespace(Namespace), client.WithDefaultRuntime("io.containerd.runc.v2"))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", socket, err)
	}
	return c, nil
}

// The network has the same few lines. To share them, one of the two would export what has nothing to do with it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process uses %s: %w", filepath.Dir(path), err)
	}
	return f, nil
}

// link makes name a symbolic link to target, whatever it was before.
func link(target, name string) error {
	if now, err := os.Readlink(name); err == nil && now == target {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}
