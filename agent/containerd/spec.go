package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"havn/agent/network"
	"havn/protocol"
)

const (
	mebibyte = 1 << 20
	// Docker refuses to run a container in less, and ECS's agent raises smaller values to it.
	minMemory = 6 * mebibyte
	// The kernel's bounds.
	minShares, maxShares = 2, 262144
	// What ECS documents for Fargate. The default of a daemon would depend on how it was started.
	wantedOpenFiles = 65535
	// Docker's PATH for an image that sets none.
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

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
	s.Process.NoNewPrivileges = false
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: openFiles(), Soft: openFiles()}}
	if dir := firstOf(in.docker.config.WorkingDir, in.image.config.Config.WorkingDir); dir != "" {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("the working directory '%s' is invalid, it needs to be an absolute path", dir)
		}
		s.Process.Cwd = dir
	}
	s.Hostname = in.hostname
	s.Annotations = map[string]string{shimGroup: in.task.ARN}
	s.Linux.CgroupsPath = in.cgroup
	limit(s.Linux.Resources, in)
	if err := join(s, in); err != nil {
		return nil, err
	}
	s.Mounts = mounts(s.Mounts, in)
	// The profile depends on the capabilities, so it comes last.
	s.Linux.Seccomp = seccomp.DefaultProfile(s)
	archs := s.Linux.Seccomp.Architectures
	if len(archs) > 1 && !in.insides.thirtyTwoBit && in.image.config.Architecture == runtime.GOARCH {
		// The first is this machine's own. Each further one, for 32-bit programs, makes libseccomp's work on the
		// filter some 30 ms longer, which is a third of a container's whole start. So only images that have such
		// programs pay for it. A static one in another image is killed by SIGSYS.
		s.Linux.Seccomp.Architectures = archs[:1]
	}
	return s, nil
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

func limit(r *specs.LinuxResources, in specInput) {
	shares := uint64(min(max(in.container.CPU, minShares), maxShares))
	r.CPU = &specs.LinuxCPU{Shares: &shares}
	if in.container.Memory > 0 {
		hard := max(in.container.Memory*mebibyte, minMemory)
		r.Memory = &specs.LinuxMemory{Limit: &hard}
	}
	if soft := in.docker.host.MemoryReservation; soft > 0 {
		if r.Memory == nil {
			r.Memory = &specs.LinuxMemory{}
		}
		r.Memory.Reservation = &soft
	}
}

// join puts the container into the network that was made for it.
func join(s *specs.Spec, in specInput) error {
	for i, ns := range s.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			if modeOf(in.task, in.container) == network.Host {
				s.Linux.Namespaces = slices.Delete(s.Linux.Namespaces, i, i+1)
				return nil
			}
			if in.netns == "" {
				return errors.New("the container has no network namespace")
			}
			s.Linux.Namespaces[i].Path = in.netns
			// As Docker: in its own network a container may listen on any port and ping, whoever it runs as.
			s.Linux.Sysctl = map[string]string{
				"net.ipv4.ip_unprivileged_port_start": "0",
				"net.ipv4.ping_group_range":           "0 2147483647",
			}
			return nil
		}
	}
	return errors.New("the specification has no network namespace")
}

func mounts(base []specs.Mount, in specInput) []specs.Mount {
	// Docker leaves /run to the image, and shows a container its cgroup.
	all := slices.DeleteFunc(base, func(m specs.Mount) bool {
		return m.Destination == "/run" || m.Destination == "/sys/fs/cgroup"
	})
	all = append(all, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"ro", "nosuid", "noexec", "nodev"},
	})
	volumes := volumeMounts(in.volumes)
	// A volume takes the place of what would be there.
	replaced := func(m specs.Mount) bool {
		return slices.ContainsFunc(volumes, func(v specs.Mount) bool {
			return v.Destination == m.Destination || v.Destination == "/dev" && strings.HasPrefix(m.Destination, "/dev/")
		})
	}
	all = slices.DeleteFunc(all, replaced)
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		own := specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(in.dir, name),
			Options: []string{"rbind", "rprivate", "rw"},
		}
		if !replaced(own) {
			volumes = append(volumes, own)
		}
	}
	// Outer ones first, or they would hide what is mounted in them.
	depth := func(m specs.Mount) int { return strings.Count(m.Destination, "/") }
	slices.SortStableFunc(volumes, func(a, b specs.Mount) int { return cmp.Compare(depth(a), depth(b)) })
	return append(all, volumes...)
}

// openFiles is how many files a process may have open: not more than we may allow.
var openFiles = sync.OnceValue(func() uint64 {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return 1024
	}
	return min(wantedOpenFiles, own.Max)
})

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
