package containerd

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/platforms"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"havn/agent/observe"
	"havn/protocol"
)

// Facts are what the engine knows of a container. The error is errdefs.ErrNotFound where there is none.
func (r *Runtime) Facts(ctx context.Context, task *protocol.Task, container string) (observe.Facts, error) {
	id := containerID(task.ARN, container)
	record, err := r.containers.Get(ctx, id)
	if err != nil {
		return observe.Facts{}, fmt.Errorf("cannot look at container %s: %w", container, err)
	}
	f := observe.Facts{CreatedAt: record.CreatedAt, Snapshotter: record.Snapshotter, Addresses: r.network.Addresses(id)}
	if record.Spec != nil {
		f.Mounts = r.mountsIn(record.Spec)
	}
	if image, err := r.imageID(ctx, record.Image); err == nil { // or somebody has removed its name
		f.ImageID = image
	}
	return f, nil
}

// imageID is the digest of an image's configuration, as Docker names an image.
func (r *Runtime) imageID(ctx context.Context, name string) (string, error) {
	image, err := r.imageStore.Get(ctx, name)
	if err != nil {
		return "", err
	}
	manifest, err := images.Manifest(ctx, r.client.ContentStore(), image.Target, platforms.Default())
	if err != nil {
		return "", err
	}
	return manifest.Config.Digest.String(), nil
}

// mountsIn are the mounts of a container's specification that show something of the host's, but for those few files
// that every container has.
func (r *Runtime) mountsIn(encoded typeurl.Any) (all []observe.Mount) {
	decoded, err := typeurl.UnmarshalAny(encoded)
	if err != nil {
		return nil
	}
	spec, ok := decoded.(*specs.Spec)
	if !ok {
		return nil
	}
	for _, m := range spec.Mounts {
		if m.Type == "bind" && !r.ownFile(m.Source) {
			all = append(all, observe.Mount{Source: m.Source, Destination: m.Destination})
		}
	}
	return all
}

// ownFile reports whether a path is that of hosts, hostname or resolv.conf of a container.
func (r *Runtime) ownFile(path string) bool {
	return filepath.Base(filepath.Dir(filepath.Dir(path))) == "containers" && strings.HasPrefix(path, filepath.Join(r.dataDir, "tasks"))
}

// Sample is what the kernel has counted of a container that runs.
func (r *Runtime) Sample(ctx context.Context, task *protocol.Task, container string) (observe.Sample, error) {
	id := containerID(task.ARN, container)
	g := observe.Group{Root: r.cgroups.root, Unified: r.cgroups.unified, Path: r.cgroups.path(task.ARN, id)}
	if r.network.Netns(id) != "" {
		resp, err := r.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id})
		if err != nil {
			return observe.Sample{}, fmt.Errorf("cannot look at container %s: %w", container, errgrpc.ToNative(err))
		}
		g.PID = int(resp.Process.Pid)
	}
	return g.Read(time.Now())
}

// Addresses are those that the containers of a task have on the bridge.
func (r *Runtime) Addresses(task *protocol.Task) []netip.Addr {
	var ids []string
	for _, c := range task.Containers {
		ids = append(ids, containerID(task.ARN, c.Name))
	}
	return r.network.Addresses(ids...)
}

// Netns is the path of a container's own network namespace; nothing if it has none.
func (r *Runtime) Netns(task *protocol.Task, container string) string {
	return r.network.Netns(containerID(task.ARN, container))
}
