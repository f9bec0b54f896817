package containerd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/apparmor"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
)

// confine says what the container's processes may do. Without a word of the definition that is Docker's default: few
// capabilities, a filter on system calls, and the parts of /proc and /sys that speak of the host hidden or read only.
func confine(s *specs.Spec, in specInput) error {
	host := in.docker.host
	own, err := cap.Current()
	if err != nil {
		return fmt.Errorf("cannot tell which capabilities this node has: %w", err)
	}
	set, err := capabilitySet(s.Process.Capabilities.Bounding, own, host.CapAdd, host.CapDrop, host.Privileged)
	if err != nil {
		return err
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: set}
	if s.Process.User.UID == 0 { // others have what they may gain by a program that gives it, as after any exec
		s.Process.Capabilities.Effective, s.Process.Capabilities.Permitted = set, set
	}
	s.Process.NoNewPrivileges = false // Docker's default: sudo and ping work
	if err := secure(s, host.SecurityOpt); err != nil {
		return err
	}
	if host.Privileged {
		return oci.Compose(oci.WithMaskedPaths(nil), oci.WithReadonlyPaths(nil), oci.WithWriteableSysfs,
			oci.WithWriteableCgroupfs, oci.WithSeccompUnconfined)(context.Background(), nil, nil, s)
	}
	// The profile depends on the capabilities, so it comes after them.
	s.Linux.Seccomp = seccomp.DefaultProfile(s)
	archs := s.Linux.Seccomp.Architectures
	if len(archs) > 1 && !in.insides.thirtyTwoBit && in.image.config.Architecture == runtime.GOARCH {
		// The first is this machine's own. Each further one, for 32-bit programs, makes libseccomp's work on the
		// filter some 30 ms longer, which is a third of a container's whole start. So only images that have such
		// programs pay for it. A static one in another image is killed by SIGSYS.
		s.Linux.Seccomp.Architectures = archs[:1]
	}
	return nil
}

// capabilitySet is what Docker makes of a container's capabilities: the usual ones, without those to drop, and with
// those to add. ALL is all that the node itself has. One that the node does not have cannot be given, which runc would
// only log.
func capabilitySet(usual, own, add, drop []string, privileged bool) ([]string, error) {
	add, drop = capabilityNames(add), capabilityNames(drop)
	for _, name := range add {
		if name != "ALL" && !slices.Contains(own, name) {
			return nil, fmt.Errorf("invalid CapAdd: the capability %q cannot be given: this node does not have it itself", name)
		}
	}
	dropped := func(name string) bool { return slices.Contains(drop, name) }
	switch {
	case privileged:
		return own, nil
	case slices.Contains(add, "ALL"):
		return slices.DeleteFunc(slices.Clone(own), dropped), nil
	case slices.Contains(drop, "ALL"):
		return add, nil
	}
	set := slices.DeleteFunc(slices.Clone(usual), dropped)
	for _, name := range add {
		if !slices.Contains(set, name) {
			set = append(set, name)
		}
	}
	return set, nil
}

// capabilityNames are in the kernel's form. ECS leaves out the prefix.
func capabilityNames(short []string) []string {
	var names []string
	for _, name := range short {
		name = strings.ToUpper(name)
		if name != "ALL" && !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		names = append(names, name)
	}
	return names
}

// secure applies the security options that ECS documents: no-new-privileges, apparmor:PROFILE and label:VALUE. Docker
// takes "=" for ":" as well. What the host's kernel cannot do fails: a confinement that is not there must not be
// believed in.
func secure(s *specs.Spec, options []string) error {
	var labels []string
	for _, option := range options {
		name, value := option, ""
		if i := strings.IndexAny(option, ":="); i >= 0 {
			name, value = option[:i], option[i+1:]
		}
		switch name {
		case "no-new-privileges":
			on, err := strconv.ParseBool(value)
			if err != nil && value != "" {
				return fmt.Errorf("invalid --security-opt: %q", option)
			}
			s.Process.NoNewPrivileges = on || value == ""
		case "apparmor":
			if !apparmor.HostSupports() {
				return fmt.Errorf("security option %q: AppArmor is not enabled on this node", option)
			}
			s.Process.ApparmorProfile = value
		case "label":
			labels = append(labels, value)
		default:
			return fmt.Errorf("invalid --security-opt: %q", option)
		}
	}
	if len(labels) == 0 {
		return nil
	}
	if !selinux.GetEnabled() {
		return errors.New("security option \"label:" + labels[0] + "\": SELinux is not enabled on this node")
	}
	process, mount, err := label.InitLabels(labels)
	if err != nil {
		return fmt.Errorf("invalid --security-opt: %w", err)
	}
	s.Process.SelinuxLabel, s.Linux.MountLabel = process, mount
	return nil
}
