package containerd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"havn/agent/bucket"
	"havn/agent/volume"
	"havn/protocol"
)

// resourceError says that a task cannot have what it needs beside its containers.
type resourceError struct {
	name string // ECS's, of the error
	err  error
}

func (e *resourceError) Error() string { return e.name + ": " + e.err.Error() }
func (e *resourceError) Unwrap() error { return e.err }

// provision makes what belongs to the task and not to one container, and looks whether the containers' environment files
// and its log router's configuration can be had: a task that cannot have them ends before it begins, with the reason its own.
func (r *Runtime) provision(ctx context.Context, task *protocol.Task) error {
	for _, v := range task.Volumes {
		if v.Type == "" || v.Type == "host" {
			continue // made when it is mounted
		}
		if _, err := r.provide(ctx, task, v); err != nil {
			return err
		}
	}
	for i := range task.Containers {
		if _, err := r.environmentFrom(&task.Containers[i]); err != nil {
			return err
		}
		if _, err := r.routerFiles(task, &task.Containers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) volumesOf(arn string) volume.Task {
	return volume.Task{ID: TaskID(arn), Dir: filepath.Join(r.taskDir(arn), "volumes")}
}

func (r *Runtime) provide(ctx context.Context, task *protocol.Task, v protocol.Volume) (volume.Place, error) {
	place, err := r.volumes.Provide(ctx, r.volumesOf(task.ARN), v)
	switch {
	case err == nil || ctx.Err() != nil:
		return place, err
	case v.Type == "docker":
		return place, &resourceError{"CannotCreateVolumeError: Error response from daemon", err}
	case v.Type == "efs":
		return place, &resourceError{"ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr", err}
	}
	return place, err
}

// environmentFrom reads the container's environment files. The first that sets a name wins.
func (r *Runtime) environmentFrom(c *protocol.Container) (map[string]string, error) {
	all := map[string]string{}
	for _, f := range slices.Backward(c.EnvironmentFiles) {
		one, err := r.environmentFile(f)
		if err != nil {
			return nil, &resourceError{"ResourceInitializationError: failed to download env files", err}
		}
		maps.Copy(all, one)
	}
	return all, nil
}

func (r *Runtime) environmentFile(f protocol.EnvironmentFile) (map[string]string, error) {
	if f.Type != "s3" {
		return nil, fmt.Errorf("%s is of the type %q, which this node does not know", f.Value, f.Type)
	}
	data, err := r.buckets.Read(f.Value, bucket.MaxEnvironmentFile)
	if err != nil {
		return nil, err
	}
	variables, err := bucket.Environment(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", f.Value, err)
	}
	return variables, nil
}

// mounted is a volume in a container.
type mounted struct {
	place       volume.Place
	destination string // clean
	readOnly    bool
	own         bool // and not another container's, from which it was taken over
}

// mountsOf returns what the container mounts, the outer ones first. Its own mount points come before those that it takes
// over by volumesFrom, of which the last counts, and those before what its image declares; as in Docker.
func (r *Runtime) mountsOf(ctx context.Context, task *protocol.Task, c *protocol.Container, image *image) ([]mounted, error) {
	all, err := r.mountPoints(ctx, task, c)
	if err != nil {
		return nil, err
	}
	add := func(m mounted) {
		if !slices.ContainsFunc(all, func(other mounted) bool { return other.destination == m.destination }) {
			all = append(all, m)
		}
	}
	for _, from := range slices.Backward(c.VolumesFrom) {
		theirs, err := r.mountsFrom(ctx, task, c, from.SourceContainer)
		if err != nil {
			return nil, err
		}
		for _, m := range theirs {
			m.own, m.readOnly = false, m.readOnly || from.ReadOnly
			add(m)
		}
	}
	docker, err := dockerOf(c)
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(image.config.Config.Volumes)) {
		path, err := destinationOf(path)
		if err != nil {
			return nil, err
		}
		taken := func(other mounted) bool { return other.destination == path }
		if slices.ContainsFunc(all, taken) || slices.ContainsFunc(slices.Collect(maps.Keys(docker.host.Tmpfs)),
			func(other string) bool { return filepath.Clean(other) == path }) {
			continue
		}
		place, err := r.volumes.Anonymous(filepath.Join(r.containerDir(task.ARN, c.Name), "volumes"), path)
		if err != nil {
			return nil, err
		}
		add(mounted{place: place, destination: path, own: true})
	}
	// Inner ones would be hidden.
	depth := func(m mounted) int { return strings.Count(m.destination, "/") }
	slices.SortStableFunc(all, func(a, b mounted) int { return cmp.Compare(depth(a), depth(b)) })
	return all, nil
}

// mountPoints are the container's own.
func (r *Runtime) mountPoints(ctx context.Context, task *protocol.Task, c *protocol.Container) ([]mounted, error) {
	var all []mounted
	for _, m := range c.MountPoints {
		path, err := destinationOf(m.ContainerPath)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other mounted) bool { return other.destination == path }) {
			return nil, fmt.Errorf("Duplicate mount point: %s", path) //nolint:staticcheck // Docker's words
		}
		i := slices.IndexFunc(task.Volumes, func(v protocol.Volume) bool { return v.Name == m.SourceVolume })
		if i < 0 {
			return nil, fmt.Errorf("the task has no volume %q", m.SourceVolume)
		}
		place, err := r.provide(ctx, task, task.Volumes[i])
		if err != nil {
			return nil, err
		}
		all = append(all, mounted{place: place, destination: path, readOnly: m.ReadOnly, own: true})
	}
	return all, nil
}

// mountsFrom are the mounts of another container of the task, which was created before this one. Who takes over from
// whom is no circle: that was checked when the task definition was registered.
func (r *Runtime) mountsFrom(ctx context.Context, task *protocol.Task, c *protocol.Container, source string) ([]mounted, error) {
	i := slices.IndexFunc(task.Containers, func(other protocol.Container) bool { return other.Name == source })
	if i < 0 || source == c.Name || len(task.Containers[i].VolumesFrom) > 0 && takesOverFrom(task, source, c.Name, len(task.Containers)) {
		return nil, fmt.Errorf("the container cannot take over the volumes of %q", source)
	}
	image, err := r.images.get(ctx, task.Containers[i].Image)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("No such container: %s", source) //nolint:staticcheck // Docker's words
	}
	if err != nil {
		return nil, err
	}
	return r.mountsOf(ctx, task, &task.Containers[i], image)
}

// takesOverFrom tells whether a container takes over another's volumes, by so many others at most.
func takesOverFrom(task *protocol.Task, container, other string, steps int) bool {
	i := slices.IndexFunc(task.Containers, func(c protocol.Container) bool { return c.Name == container })
	return i >= 0 && slices.ContainsFunc(task.Containers[i].VolumesFrom, func(v protocol.VolumeFrom) bool {
		return v.SourceContainer == other || steps == 0 || takesOverFrom(task, v.SourceContainer, other, steps-1)
	})
}

func destinationOf(path string) (string, error) {
	clean := filepath.Clean(path)
	if !filepath.IsAbs(clean) || clean == "/" {
		return "", fmt.Errorf("invalid volume specification: destination %q must be an absolute path other than /", path)
	}
	return clean, nil
}

func volumeMounts(volumes []mounted) []specs.Mount {
	var all []specs.Mount
	for _, v := range volumes {
		mode := "rw"
		if v.readOnly {
			mode = "ro"
		}
		all = append(all, specs.Mount{
			Destination: v.destination, Type: "bind", Source: v.place.Path, Options: []string{"rbind", "rprivate", mode},
		})
	}
	return all
}

// fill puts into the container's fresh volumes what its image has at their place.
func (r *Runtime) fill(ctx context.Context, rootfs []mount.Mount, volumes []mounted) error {
	var empty []mounted
	for _, v := range volumes {
		if !v.own || !v.place.Fresh {
			continue
		}
		// Most images have nothing there, and then nothing need be mounted to see it.
		if there, err := findInLayers(layersOf(rootfs), v.destination); err != nil || there == "" {
			continue
		}
		if is, err := v.place.Empty(); err != nil {
			return err
		} else if is {
			empty = append(empty, v)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	return mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
		for _, v := range empty {
			from, err := fs.RootPath(root, v.destination)
			if err != nil {
				return err
			}
			if err := r.volumes.Fill(v.place, from); err != nil {
				return err
			}
		}
		return nil
	})
}
