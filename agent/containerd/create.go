package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	containerdlabels "github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

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
	done, err := r.making.lock(ctx, result.RuntimeID)
	if err != nil {
		return lifecycle.Result{}, err
	}
	defer done()
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
	docker, err := dockerOf(c)
	if err != nil {
		return nil, err
	}
	if name := docker.config.Hostname; name != "" {
		if err := network.CheckHostname(name); err != nil {
			return nil, err
		}
	}
	attached, err := r.attach(ctx, task, c)
	if err != nil {
		return nil, err
	}
	shared, err := r.holdNamespaces(ctx, task)
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
	if err := r.writeFiles(ctx, task, c, docker, hostname, attached); err != nil {
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
	volumes, err := r.mountsOf(ctx, task, c, image)
	if err != nil {
		return nil, err
	}
	if volumes, err = r.addRouter(task, c, user, volumes); err != nil {
		return nil, err
	}
	fromFiles, err := r.environmentFrom(c)
	if err != nil {
		return nil, err
	}
	router, err := r.routerAddress(ctx, task, c)
	if err != nil {
		return nil, err
	}
	maps.Copy(fromFiles, router)
	var init string
	if wanted := docker.host.Init; wanted != nil && *wanted {
		if init, err = findBinary(initName, r.initPath); err != nil {
			return nil, err
		}
	}
	spec, err := buildSpec(specInput{
		id: id, task: task, container: c, docker: docker, image: image, insides: insides, user: user,
		hostname: hostname, netns: attached.Netns, dir: dir, volumes: volumes, fromFiles: fromFiles,
		cgroup: r.cgroups.path(task.ARN, id), swap: r.cgroups.swap(), shared: shared, init: init, gpus: r.gpus,
	})
	if err != nil {
		return nil, err
	}
	if r.environ != nil {
		spec.Process.Env = r.environ(task, c.Name, spec.Process.Env)
	}
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return nil, err
	}
	runc, err := typeurl.MarshalAny(&options.Options{BinaryName: r.runc, Root: filepath.Join(r.runtimeDir, "r")})
	if err != nil {
		return nil, err
	}
	labels, extensions, err := labelsOf(task, c, docker, image)
	if err != nil {
		return nil, err
	}
	// The engine would go on with a call that is cancelled, and we would not know what there is when we return.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	whole := context.WithoutCancel(ctx)
	_, err = r.containers.Create(whole, containers.Container{
		ID:          id,
		Labels:      labels,
		Extensions:  extensions,
		Image:       image.name,
		Runtime:     containers.RuntimeInfo{Name: r.shim, Options: runc},
		Spec:        encoded,
		Snapshotter: snapshotter,
		SnapshotKey: id,
	})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, fmt.Errorf("cannot record the container: %w", err)
	}
	rootfs, err := r.layer(ctx, id, image)
	if err != nil {
		return nil, err
	}
	return rootfs, r.fill(whole, rootfs, volumes)
}

// layer makes the container's writable layer on top of its image's, or finds it made.
func (r *Runtime) layer(ctx context.Context, id string, image *image) ([]mount.Mount, error) {
	parent := image.chainID()
	whole := context.WithoutCancel(ctx)
	mounts, err := r.snapshots.Prepare(whole, id, parent)
	switch {
	case errdefs.IsAlreadyExists(err):
		return r.snapshots.Mounts(ctx, id)
	case errdefs.IsNotFound(err) && parent != "":
		// The image's layers went away behind our back.
		if err := r.images.unpack(ctx, image); err != nil {
			return nil, err
		}
		return r.snapshots.Prepare(whole, id, parent)
	}
	return mounts, err
}

// createProcess makes the container's namespaces and cgroup, with a process in them that waits to be started.
func (r *Runtime) createProcess(
	ctx context.Context, task *protocol.Task, c *protocol.Container, rootfs []mount.Mount,
) error {
	err := r.createBehind(ctx, r.shims.together, task, c, rootfs)
	if shimWentAway(err) {
		// Another container of the task could not be made, while none was yet. With it containerd ends the shim, though
		// this one was about to be made in it. While it is made alone there is no other that could do that.
		err = r.createBehind(ctx, r.shims.alone, task, c, rootfs)
	}
	return err
}

// shimWentAway reports whether the shim ended while it was asked. Of the error only its words come through containerd's
// services.
func shimWentAway(err error) bool {
	return err != nil && (strings.Contains(err.Error(), ttrpc.ErrClosed.Error()) || strings.Contains(err.Error(), unix.ECONNREFUSED.Error()))
}

func (r *Runtime) createBehind(
	ctx context.Context, door func(context.Context, string) (func(), error), task *protocol.Task, c *protocol.Container, rootfs []mount.Mount,
) error {
	id := containerID(task.ARN, c.Name)
	output, err := r.logOptions(ctx, task, c)
	if err != nil {
		return err
	}
	request := &tasksapi.CreateTaskRequest{ContainerID: id, Stdout: output.URI()}
	for _, m := range rootfs {
		request.Rootfs = append(request.Rootfs,
			&types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	leave, err := door(ctx, task.ARN)
	if err != nil {
		return err
	}
	defer leave()
	if err := r.connectStdio(request, task, c); err != nil {
		return err
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

// extensionLabels holds the user's labels in a container's record, as JSON.
const extensionLabels = "havn.labels"

// labelsOf returns the labels of a container's record. The user's own are also in the extension, all of them and as
// they were given: containerd itself takes no long ones and none without a value, and acts on those in its name.
func labelsOf(
	task *protocol.Task, c *protocol.Container, docker dockerConfig, image *image,
) (map[string]string, map[string]typeurl.Any, error) {
	labels := make(map[string]string)
	for key, value := range docker.config.Labels {
		if key == "" {
			return nil, nil, fmt.Errorf("a label with the value %q has no name", value)
		}
		if !containerdlabels.IsReserved(key) && containerdlabels.Validate(key, value) == nil {
			labels[key] = value
		}
	}
	maps.Copy(labels, task.Labels(c.Name))
	maps.Copy(labels, map[string]string{
		labelTask:       task.ARN,
		labelContainer:  c.Name,
		labelStopSignal: image.config.Config.StopSignal,
		labelDigest:     image.digest(),
	})
	if len(docker.config.Labels) == 0 {
		return labels, nil, nil
	}
	data, err := json.Marshal(docker.config.Labels)
	if err != nil {
		return nil, nil, err
	}
	return labels, map[string]typeurl.Any{extensionLabels: &anypb.Any{TypeUrl: extensionLabels, Value: data}}, nil
}
