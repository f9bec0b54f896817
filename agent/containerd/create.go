package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"havn/agent/network"
	"havn/lifecycle"
	"havn/protocol"
)

// Labels of a container's record. Those of ECS are for people and tools; ours are what we go by.
const (
	labelTask       = "havn.task"
	labelContainer  = "havn.container"
	labelStopSignal = "havn.stop-signal"
	labelDigest     = "havn.digest" // of the image, as Pull told it
)

// The longest time that a shim may take to make or to start a process. It is a fraction of a second when all is well.
const shimTime = 2 * time.Minute

func (r *Runtime) create(ctx context.Context, task *protocol.Task, c *protocol.Container) (lifecycle.Result, error) {
	result := lifecycle.Result{RuntimeID: containerID(task.ARN, c.Name)}
	if started, err := startedAt(r.containerDir(task.ARN, c.Name)); err != nil || !started.IsZero() {
		return result, err // it is there, and has been more than created
	}
	rootfs, err := r.prepare(ctx, task, c)
	if err != nil {
		return lifecycle.Result{}, err
	}
	// See the package's page: Start does this again if it fails, and reports.
	if err := r.createProcess(ctx, task, c, rootfs); err != nil && ctx.Err() != nil {
		return lifecycle.Result{}, err
	}
	return result, nil
}

// prepare makes everything that a container's process needs, and returns how to mount its root file system.
func (r *Runtime) prepare(ctx context.Context, task *protocol.Task, c *protocol.Container) ([]mount.Mount, error) {
	id := containerID(task.ARN, c.Name)
	image, err := r.images.get(ctx, c.Image)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("No such image: %s", c.Image) //nolint:staticcheck // Docker's words
		}
		return nil, err
	}
	attached, err := r.attach(ctx, task, c)
	if err != nil {
		return nil, err
	}
	docker, err := dockerOf(c)
	if err != nil {
		return nil, err
	}
	dir := r.containerDir(task.ARN, c.Name)
	if err := r.recordTask(task); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	hostname := hostnameOf(docker, id, attached)
	if err := writeFiles(dir, hostname, attached); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(LogPath(r.dataDir, task.ARN, c.Name)), 0o700); err != nil {
		return nil, err
	}
	insides, err := r.images.lookInto(ctx, image)
	if err != nil {
		return nil, err
	}
	user, err := insides.lookUpUser(userOf(docker, image))
	if err != nil {
		return nil, err
	}
	volumes, err := r.bindVolumes(task, c)
	if err != nil {
		return nil, err
	}
	spec, err := buildSpec(specInput{
		id: id, task: task, container: c, docker: docker, image: image, insides: insides, user: user,
		hostname: hostname, netns: attached.Netns, dir: dir, volumes: volumes,
		cgroup: r.cgroups.path(task.ARN, id),
	})
	if err != nil {
		return nil, err
	}
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return nil, err
	}
	runc, err := typeurl.MarshalAny(&options.Options{BinaryName: r.runc, Root: filepath.Join(r.runtimeDir, "r")})
	if err != nil {
		return nil, err
	}
	_, err = r.containers.Create(ctx, containers.Container{
		ID:          id,
		Labels:      labelsOf(task, c, docker, image),
		Image:       image.name,
		Runtime:     containers.RuntimeInfo{Name: r.shim, Options: runc},
		Spec:        encoded,
		Snapshotter: snapshotter,
		SnapshotKey: id,
	})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, fmt.Errorf("cannot record the container: %w", err)
	}
	return r.layer(ctx, id, image)
}

// layer makes the container's writable layer on top of its image's, or finds it made.
func (r *Runtime) layer(ctx context.Context, id string, image *image) ([]mount.Mount, error) {
	parent := image.chainID()
	mounts, err := r.snapshots.Prepare(ctx, id, parent)
	switch {
	case errdefs.IsAlreadyExists(err):
		return r.snapshots.Mounts(ctx, id)
	case errdefs.IsNotFound(err) && parent != "":
		// The image's layers went away behind our back.
		if err := r.images.unpack(ctx, image); err != nil {
			return nil, err
		}
		return r.snapshots.Prepare(ctx, id, parent)
	}
	return mounts, err
}

// createProcess makes the container's namespaces and cgroup, with a process in them that waits to be started.
func (r *Runtime) createProcess(
	ctx context.Context, task *protocol.Task, c *protocol.Container, rootfs []mount.Mount,
) error {
	id := containerID(task.ARN, c.Name)
	log := (&url.URL{Scheme: "file", Path: LogPath(r.dataDir, task.ARN, c.Name)}).String()
	request := &tasksapi.CreateTaskRequest{ContainerID: id, Stdout: log, Stderr: log}
	for _, m := range rootfs {
		request.Rootfs = append(request.Rootfs,
			&types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	done, err := r.cgroups.enter(task)
	if err != nil {
		return err
	}
	defer done()
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here on it is not cancelled: a shim that is interrupted while it starts could stay, unknown to anybody.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), shimTime)
	defer cancel()
	_, err = r.tasks.Create(whole, request)
	if err = errgrpc.ToNative(err); errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func hostnameOf(docker dockerConfig, id string, a network.Attachment) string {
	if docker.config.Hostname != "" {
		return docker.config.Hostname
	}
	if a.Netns == "" { // on the host's network, as the host
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return id[:12]
}

// writeFiles writes the files that are mounted over those in the image.
func writeFiles(dir, hostname string, a network.Attachment) error {
	resolv, err := network.HostResolvConf()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	hosts := network.Hosts(hostname, a.IP)
	if a.Netns == "" {
		if hosts, err = os.ReadFile("/etc/hosts"); err != nil {
			hosts = network.Hosts(hostname, netip.Addr{})
		}
	} else {
		resolv = network.ResolvConf(resolv)
	}
	for name, data := range map[string][]byte{
		"hostname": network.Hostname(hostname), "hosts": hosts, "resolv.conf": resolv,
	} {
		// In place: a container may have it mounted already.
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bindVolumes returns the folder on the host of each volume that the container mounts.
func (r *Runtime) bindVolumes(task *protocol.Task, c *protocol.Container) (map[string]string, error) {
	wanted := make(map[string]bool)
	for _, m := range c.MountPoints {
		wanted[m.SourceVolume] = true
	}
	folders := make(map[string]string)
	for _, v := range task.Volumes {
		if !wanted[v.Name] {
			continue
		}
		if v.Type != "" && v.Type != "host" {
			return nil, fmt.Errorf("volume %q is of the type %q, which this node does not know", v.Name, v.Type)
		}
		folder := r.volumeDir(task.ARN, v.Name)
		if v.Host != nil && v.Host.SourcePath != "" {
			folder = v.Host.SourcePath
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the folder of volume %q: %w", v.Name, err)
		}
		folders[v.Name] = folder
	}
	for name := range wanted {
		if _, ok := folders[name]; !ok {
			return nil, fmt.Errorf("the task has no volume %q", name)
		}
	}
	return folders, nil
}

func labelsOf(task *protocol.Task, c *protocol.Container, docker dockerConfig, image *image) map[string]string {
	labels := make(map[string]string)
	for key, value := range docker.config.Labels {
		// containerd acts on labels of its own, and refuses long ones.
		if !strings.HasPrefix(key, "containerd.io/") && len(key)+len(value) <= 4096 {
			labels[key] = value
		}
	}
	for key, value := range map[string]string{
		"com.amazonaws.ecs.task-arn":                task.ARN,
		"com.amazonaws.ecs.container-name":          c.Name,
		"com.amazonaws.ecs.task-definition-family":  task.Family,
		"com.amazonaws.ecs.task-definition-version": task.Version,
		"com.amazonaws.ecs.cluster":                 task.ClusterARN,
		labelTask:                                   task.ARN,
		labelContainer:                              c.Name,
		labelStopSignal:                             image.config.Config.StopSignal,
		labelDigest:                                 image.digest(),
	} {
		labels[key] = value
	}
	return labels
}
