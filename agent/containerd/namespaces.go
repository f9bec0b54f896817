package containerd

import (
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"havn/agent/network"
)

// join puts the container into the network that was made for it.
func join(s *specs.Spec, in specInput) error {
	if modeOf(in.task, in.container) == network.Host {
		leaveOut(s, specs.NetworkNamespace)
		return nil
	}
	if in.netns == "" {
		return errors.New("the container has no network namespace")
	}
	enter(s, specs.NetworkNamespace, in.netns)
	// As Docker: in its own network a container may listen on any port and ping, whoever it runs as.
	s.Linux.Sysctl = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
	return nil
}

// share says which processes, and whose messages and memory, the container sees: its own unless the task says that all
// its containers are together, or are as if they were on the host.
func share(s *specs.Spec, in specInput) error {
	for _, mode := range []struct {
		is   string
		kind specs.LinuxNamespaceType
		path string
	}{
		{in.task.PIDMode, specs.PIDNamespace, in.shared.pid},
		{in.task.IPCMode, specs.IPCNamespace, in.shared.ipc},
	} {
		switch mode.is {
		case "host":
			leaveOut(s, mode.kind)
		case "task":
			if mode.path == "" {
				return errors.New("the task has no " + string(mode.kind) + " namespace")
			}
			enter(s, mode.kind, mode.path)
		}
	}
	return nil
}

func leaveOut(s *specs.Spec, kind specs.LinuxNamespaceType) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

func enter(s *specs.Spec, kind specs.LinuxNamespaceType, path string) {
	leaveOut(s, kind)
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
}

// setKernel sets the parameters of the kernel that belong to the container's namespaces. runc refuses those that
// belong to the host, in words of its own.
func setKernel(s *specs.Spec, in specInput) error {
	if len(in.docker.host.Sysctls) == 0 {
		return nil
	}
	if s.Linux.Sysctl == nil {
		s.Linux.Sysctl = make(map[string]string)
	}
	maps.Copy(s.Linux.Sysctl, in.docker.host.Sysctls)
	return nil
}
