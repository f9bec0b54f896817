package containerd

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// addDevices gives the container those devices of the node that it was promised: a node of each, and leave to use it.
// A folder stands for all devices in it. A privileged container has all of them.
func addDevices(s *specs.Spec, in specInput) error {
	none := context.Background()
	host := in.docker.host
	if host.Privileged {
		if err := oci.Compose(oci.WithHostDevices, oci.WithAllDevicesAllowed)(none, nil, nil, s); err != nil {
			return fmt.Errorf("error getting the devices of the host: %w", err)
		}
	}
	for _, d := range host.Devices {
		path, err := filepath.EvalSymlinks(d.PathOnHost)
		if err == nil {
			at := filepath.Clean(d.PathInContainer)
			s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(o specs.LinuxDevice) bool { return o.Path == at })
			err = oci.WithDevices(path, at, d.CgroupPermissions)(none, nil, nil, s)
		}
		if err != nil {
			return fmt.Errorf("error gathering device information while adding custom device %q: %w", d.PathOnHost, err)
		}
	}
	return nil
}

// addGPUs gives the container the GPUs that the server reserved for it.
func addGPUs(s *specs.Spec, in specInput) error {
	var names []string
	for _, a := range in.task.Associations {
		if a.Type == "gpu" && slices.Contains(a.Containers, in.container.Name) {
			names = append(names, a.Name)
		}
	}
	return in.gpus.Give(s, names)
}
