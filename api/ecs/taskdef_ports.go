package ecs

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// maxPortRanges is how many ranges of ports a container may map.
const maxPortRanges = 100

// checkPorts checks the port mappings of all containers: they share one host, and in most network modes
// one set of ports.
func checkPorts(d *types.TaskDefinition) error {
	taken := hostPorts{}
	var names []string
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		if len(c.PortMappings) > 0 && d.NetworkMode == types.NetworkModeNone {
			return clientError("When networkMode=none, the container definition can't specify port mappings.")
		}
		ranges := 0
		for i, p := range c.PortMappings {
			if name := deref(p.Name); p.Name != nil {
				if !portName.MatchString(name) {
					return clientError("Invalid port mapping name '%s' in container '%s'.", name, deref(c.Name))
				}
				if slices.Contains(names, name) {
					return clientError("Duplicate port mapping name '%s'.", name)
				}
				names = append(names, name)
			}
			if p.ContainerPortRange != nil {
				if ranges++; ranges > maxPortRanges {
					return clientError("Container '%s' can have at most %d container port ranges.", deref(c.Name), maxPortRanges)
				}
			}
			if err := checkPort(d, c, p); err != nil {
				return err
			}
			if slices.ContainsFunc(c.PortMappings[:i], func(o types.PortMapping) bool { return overlap(o, p) }) {
				return clientError("The container port ranges of container '%s' cannot overlap.", deref(c.Name))
			}
			if err := taken.take(d, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkPort(d *types.TaskDefinition, c *types.ContainerDefinition, p types.PortMapping) error {
	mode := d.NetworkMode
	if p.ContainerPortRange != nil {
		from, to, ok := portRange(*p.ContainerPortRange)
		switch {
		case !ok || from >= to:
			return badSetting("containerPortRange", c)
		case mode == types.NetworkModeHost:
			return clientError("When networkMode=host, containerPortRange is not supported.")
		case p.ContainerPort != nil || p.HostPort != nil:
			return clientError("When containerPortRange is specified, containerPort and hostPort cannot be, in container '%s'.", deref(c.Name))
		}
		return nil
	}
	container, host := deref(p.ContainerPort), deref(p.HostPort)
	switch {
	case container < 1 || container > 65535:
		return badSetting("containerPort", c)
	case host < 0 || host > 65535:
		return badSetting("hostPort", c)
	case (mode == types.NetworkModeAwsvpc || mode == types.NetworkModeHost) && host != container:
		return clientError("When networkMode=%s, the host ports and container ports in port mappings must match.", mode)
	}
	return nil
}

// overlap: two mappings, of which one is a range, have a container port in common.
func overlap(a, b types.PortMapping) bool {
	if a.Protocol != b.Protocol || a.ContainerPortRange == nil && b.ContainerPortRange == nil {
		return false
	}
	ends := func(p types.PortMapping) (from, to int) {
		if p.ContainerPortRange == nil {
			return int(deref(p.ContainerPort)), int(deref(p.ContainerPort))
		}
		from, to, _ = portRange(*p.ContainerPortRange)
		return from, to
	}
	from, to := ends(a)
	otherFrom, otherTo := ends(b)
	return from <= otherTo && otherFrom <= to
}

// portRange reads "8000-8010".
func portRange(text string) (from, to int, ok bool) {
	low, high, found := strings.Cut(text, "-")
	from, err := strconv.Atoi(low)
	to, err2 := strconv.Atoi(high)
	return from, to, found && err == nil && err2 == nil && from >= 1 && to <= 65535
}

// hostPorts are the fixed ports that the containers of one task take: on the host, or in the one network
// namespace that they share.
type hostPorts map[types.TransportProtocol][][2]int

func (h hostPorts) take(d *types.TaskDefinition, p types.PortMapping) error {
	from, to := int(deref(p.HostPort)), int(deref(p.HostPort))
	if p.ContainerPortRange != nil {
		if d.NetworkMode != types.NetworkModeAwsvpc {
			return nil // their host ports are chosen when the task starts
		}
		from, to, _ = portRange(*p.ContainerPortRange)
	}
	if from == 0 {
		return nil
	}
	for _, other := range h[p.Protocol] {
		if from <= other[1] && other[0] <= to {
			return clientError("The host port '%d' with protocol '%s' is mapped more than once.", max(from, other[0]), p.Protocol)
		}
	}
	h[p.Protocol] = append(h[p.Protocol], [2]int{from, to})
	return nil
}
