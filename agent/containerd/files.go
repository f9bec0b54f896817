package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"havn/agent/network"
	"havn/protocol"
)

// writeFiles writes the files that are mounted over those in the image: hostname, hosts, resolv.conf.
func (r *Runtime) writeFiles(
	ctx context.Context, task *protocol.Task, c *protocol.Container, docker dockerConfig, hostname string, a network.Attachment,
) error {
	extra, err := r.extraHosts(ctx, task, c, docker, a)
	if err != nil {
		return err
	}
	hosts := network.Hosts(hostname, a.IP)
	resolv, err := network.HostResolvConf()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if a.Netns == "" {
		if hosts, err = os.ReadFile("/etc/hosts"); err != nil {
			hosts = network.Hosts(hostname, netip.Addr{})
		}
	} else {
		resolv = network.ResolvConf(resolv)
	}
	if hosts, err = network.WithHosts(hosts, extra); err != nil {
		return err
	}
	if resolv, err = network.WithResolvers(resolv, docker.host.DNS, docker.host.DNSSearch); err != nil {
		return err
	}
	dir := r.containerDir(task.ARN, c.Name)
	for name, data := range map[string][]byte{
		"hostname": network.Hostname(hostname), "hosts": hosts, "resolv.conf": resolv,
	} {
		// In place: a container may have it mounted already.
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// extraHosts are the names that the container knows beside its own: those of its extraHosts, and those of the containers
// that it is linked to.
func (r *Runtime) extraHosts(
	ctx context.Context, task *protocol.Task, c *protocol.Container, docker dockerConfig, a network.Attachment,
) ([]network.NamedHost, error) {
	var all []network.NamedHost
	for _, h := range docker.host.ExtraHosts {
		name, address, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("bad format for add-host: %q", h)
		}
		if address == "host-gateway" && a.Gateway.IsValid() {
			address = a.Gateway.String()
		}
		ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if err != nil {
			return nil, fmt.Errorf("invalid IP address in add-host: %q", address)
		}
		all = append(all, network.NamedHost{Address: ip, Names: []string{name}})
	}
	if len(c.Links) > 0 && modeOf(task, c) != network.Bridge {
		return nil, errors.New("conflicting options: only a container on the bridge can be linked to others")
	}
	for _, link := range c.Links {
		name, alias, _ := strings.Cut(link, ":")
		i := slices.IndexFunc(task.Containers, func(other protocol.Container) bool { return other.Name == name })
		if i < 0 || name == c.Name {
			return nil, fmt.Errorf("could not get container for %s", name)
		}
		other := &task.Containers[i]
		to, err := r.attach(ctx, task, other)
		if err != nil {
			return nil, err
		}
		if !to.IP.IsValid() {
			return nil, fmt.Errorf("Cannot link to %s, as it has no network", name) //nolint:staticcheck // as Docker words it
		}
		theirs, err := dockerOf(other)
		if err != nil {
			return nil, err
		}
		names := []string{alias, name, hostnameOf(theirs, containerID(task.ARN, name), to)}
		names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
		all = append(all, network.NamedHost{Address: to.IP, Names: slices.Compact(names)})
	}
	return all, nil
}

func hostnameOf(docker dockerConfig, id string, a network.Attachment) string {
	if docker.config.Hostname != "" {
		return docker.config.Hostname
	}
	if a.Netns == "" { // on the host's network, as the host
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return id[:12]
}
