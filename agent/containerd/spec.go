package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"havn/agent/gpu"
	"havn/protocol"
)

// Docker's PATH for an image that sets none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// dockerConfig is what stands in a container's Docker documents.
type dockerConfig struct {
	config protocol.ContainerConfig
	host   protocol.HostConfig
}

func dockerOf(c *protocol.Container) (dockerConfig, error) {
	var d dockerConfig
	if c.DockerConfig == nil {
		return d, nil
	}
	for _, part := range []struct {
		name, text string
		into       any
	}{{"config", c.DockerConfig.Config, &d.config}, {"hostConfig", c.DockerConfig.HostConfig, &d.host}} {
		if part.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(part.text), part.into); err != nil {
			return d, fmt.Errorf("cannot decode the container's docker %s: %w", part.name, err)
		}
	}
	return d, nil
}

func userOf(d dockerConfig, i *image) string {
	if d.config.User != "" {
		return d.config.User
	}
	return i.config.Config.User
}

// specInput is all that a container's specification follows from.
type specInput struct {
	id        string
	task      *protocol.Task
	container *protocol.Container
	docker    dockerConfig
	image     *image
	insides   *insides
	user      specs.User
	hostname  string
	netns     string // empty: the host's
	dir       string // with hosts, hostname and resolv.conf
	volumes   []mounted
	fromFiles map[string]string // of the environment
	cgroup    string
	swap      swapSupport
	shared    sharedNamespaces
	gpus      *gpu.Devices
	init      string // the program that is to be the first process, if any
}

// buildSpec is what Docker would tell runc about the container, in containerd's form.
func buildSpec(in specInput) (*specs.Spec, error) {
	ours := namespaces.WithNamespace(context.Background(), Namespace)
	s, err := oci.GenerateSpec(ours, nil, &containers.Container{ID: in.id})
	if err != nil {
		return nil, err
	}
	args, err := arguments(in.container, in.image)
	if err != nil {
		return nil, err
	}
	s.Process.Args = args
	s.Process.Env = environment(in)
	s.Process.User = in.user
	s.Process.Terminal = in.docker.config.Tty
	if s.Process.Rlimits, err = rlimits(in.docker.host.Ulimits); err != nil {
		return nil, err
	}
	if dir := firstOf(in.docker.config.WorkingDir, in.image.config.Config.WorkingDir); dir != "" {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("the working directory '%s' is invalid, it needs to be an absolute path", dir)
		}
		s.Process.Cwd = dir
	}
	s.Hostname = in.hostname
	s.Annotations = map[string]string{shimGroup: in.task.ARN}
	s.Root.Readonly = in.docker.host.ReadonlyRootfs
	s.Linux.CgroupsPath = in.cgroup
	if err := limit(s.Linux.Resources, in); err != nil {
		return nil, err
	}
	if s.Mounts, err = mounts(s.Mounts, in); err != nil {
		return nil, err
	}
	for _, step := range []func(*specs.Spec, specInput) error{join, share, setKernel, addDevices, addInit, addGPUs, confine} {
		if err := step(s, in); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// initInside is where a container has its init: in memory that is mounted there anyway, so that no layer and no volume
// gets a trace of it.
const initInside = "/dev/havn-init"

// addInit makes havn-init the first process, which starts the container's command.
func addInit(s *specs.Spec, in specInput) error {
	if in.init == "" {
		return nil
	}
	s.Process.Args = append([]string{initInside, "--"}, s.Process.Args...)
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: initInside, Type: "bind", Source: in.init, Options: []string{"bind", "rprivate", "ro", "nosuid"},
	})
	return nil
}

// arguments merges the image's command with the container's as Docker does: a new entry point also drops the
// image's command, and one that is only an empty word drops the image's entry point for none.
func arguments(c *protocol.Container, i *image) ([]string, error) {
	entry, command := i.config.Config.Entrypoint, i.config.Config.Cmd
	if c.EntryPoint != nil {
		entry, command = *c.EntryPoint, nil
		if len(entry) == 1 && entry[0] == "" {
			entry = nil
		}
	}
	if len(c.Command) > 0 {
		command = c.Command
	}
	args := slices.Concat(entry, command)
	if len(args) == 0 {
		return nil, errors.New("no command specified")
	}
	return args, nil
}

func environment(in specInput) []string {
	set := map[string]string{"HOSTNAME": in.hostname}
	var order []string
	put := func(key, value string) {
		if _, again := set[key]; !again {
			order = append(order, key)
		}
		set[key] = value
	}
	key, value, _ := strings.Cut(defaultPath, "=")
	put(key, value)
	order = append(order, "HOSTNAME")
	if in.docker.config.Tty {
		put("TERM", "xterm")
	}
	for _, e := range in.image.config.Config.Env {
		key, value, _ := strings.Cut(e, "=")
		put(key, value)
	}
	for _, from := range []map[string]string{in.fromFiles, in.container.Environment} {
		for _, key := range slices.Sorted(maps.Keys(from)) {
			put(key, from[key])
		}
	}
	env := make([]string, 0, len(order))
	for _, key := range order {
		env = append(env, key+"="+set[key])
	}
	return env
}

func mounts(base []specs.Mount, in specInput) ([]specs.Mount, error) {
	// Docker leaves /run to the image, and shows a container its cgroup.
	all := slices.DeleteFunc(base, func(m specs.Mount) bool {
		return m.Destination == "/run" || m.Destination == "/sys/fs/cgroup"
	})
	all = append(all, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"ro", "nosuid", "noexec", "nodev"},
	})
	all = sharedMemory(all, in)
	volumes := volumeMounts(in.volumes)
	tmpfs, err := tmpfsMounts(in)
	if err != nil {
		return nil, err
	}
	for _, m := range tmpfs {
		if slices.ContainsFunc(volumes, func(v specs.Mount) bool { return v.Destination == m.Destination }) {
			return nil, fmt.Errorf("Duplicate mount point: %s", m.Destination) //nolint:staticcheck // Docker's words
		}
		volumes = append(volumes, m)
	}
	// A volume takes the place of what would be there.
	replaced := func(m specs.Mount) bool {
		return slices.ContainsFunc(volumes, func(v specs.Mount) bool {
			return v.Destination == m.Destination || v.Destination == "/dev" && strings.HasPrefix(m.Destination, "/dev/")
		})
	}
	all = slices.DeleteFunc(all, replaced)
	mode := "rw"
	if in.docker.host.ReadonlyRootfs {
		mode = "ro" // they look like a part of it
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		own := specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(in.dir, name),
			Options: []string{"rbind", "rprivate", mode},
		}
		if !replaced(own) {
			volumes = append(volumes, own)
		}
	}
	// Outer ones first, or they would hide what is mounted in them.
	depth := func(m specs.Mount) int { return strings.Count(m.Destination, "/") }
	slices.SortStableFunc(volumes, func(a, b specs.Mount) int { return cmp.Compare(depth(a), depth(b)) })
	return append(all, volumes...), nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
