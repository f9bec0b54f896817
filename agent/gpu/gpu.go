// Package gpu knows the GPUs of a node by the Container Device Interface (CDI): files that a vendor's tools write under
// /etc/cdi and /var/run/cdi, and that say what a container needs for a device: nodes, libraries, variables, hooks. A
// GPU is a device of any vendor whose class is "gpu", and its name is the qualified one, vendor.com/gpu=NAME.
package gpu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
)

// DefaultDirs are where vendors' tools write, the later winning.
var DefaultDirs = []string{"/etc/cdi", "/var/run/cdi"}

// Devices are what the files in some folders say now: they are read again when they change.
type Devices struct{ cache *cdi.Cache }

// Open reads the files. One that is damaged or missing is as if its devices were.
func Open(dirs ...string) (*Devices, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, fmt.Errorf("cannot read the CDI specifications in %s: %w", strings.Join(dirs, ", "), err)
	}
	return &Devices{cache}, nil
}

// List names each GPU once, in order. Vendors give one device several names (its number, its UUID), and one name to
// all devices together.
func (d *Devices) List() []string {
	d.cache.Refresh() //nolint:errcheck // damaged files are left out
	byNodes := map[string]string{}
	for _, name := range d.cache.ListDevices() {
		_, class, short, err := parser.ParseQualifiedName(name)
		if err != nil || class != "gpu" || short == "all" {
			continue
		}
		device := d.cache.GetDevice(name)
		if device == nil {
			continue
		}
		key := name
		if len(device.ContainerEdits.DeviceNodes) > 0 {
			var nodes []string
			for _, n := range device.ContainerEdits.DeviceNodes {
				nodes = append(nodes, n.Path)
			}
			slices.Sort(nodes)
			key = strings.Join(nodes, "\x00")
		}
		if known, ok := byNodes[key]; !ok || !isUUID(known) && isUUID(name) {
			byNodes[key] = name
		}
	}
	var all []string
	for _, name := range byNodes {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// isUUID tells the name that stays with the device from the one that depends on what else is in the machine.
func isUUID(name string) bool { return strings.Contains(name, "=GPU-") }

// Give adds to a container's specification all that it needs to use the GPUs.
func (d *Devices) Give(s *specs.Spec, names []string) error {
	if len(names) == 0 {
		return nil
	}
	d.cache.Refresh() //nolint:errcheck // damaged files are left out, and what is missing is named below
	if unknown, err := d.cache.InjectDevices(s, names...); err != nil {
		if len(unknown) > 0 {
			return fmt.Errorf("CDI device injection failed: this node has no GPU %s any more", strings.Join(unknown, ", "))
		}
		return fmt.Errorf("CDI device injection failed: %w", err)
	}
	return nil
}
