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
