package dispatch

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/protocol"
)

const mebibyte = 1 << 20

// dockerConfig says in Docker's own documents what the protocol has no fields for. The stock agent decodes them on top
// of what it built from the fields, so a member that is present overrules it: only what was asked for is there.
func dockerConfig(id string, spec types.TaskDefinition, c types.ContainerDefinition) *protocol.DockerConfig {
	config := protocol.ContainerConfig{
		User:            aws.ToString(c.User),
		WorkingDir:      aws.ToString(c.WorkingDirectory),
		Hostname:        aws.ToString(c.Hostname),
		Labels:          maps.Clone(c.DockerLabels),
		Tty:             aws.ToBool(c.PseudoTerminal),
		OpenStdin:       aws.ToBool(c.Interactive),
		NetworkDisabled: aws.ToBool(c.DisableNetworking),
		Healthcheck:     healthcheck(c.HealthCheck),
	}
	host := protocol.HostConfig{
		NetworkMode:       string(networkMode(spec)),
		MemoryReservation: int64(aws.ToInt32(c.MemoryReservation)) * mebibyte,
		Privileged:        aws.ToBool(c.Privileged),
		ReadonlyRootfs:    aws.ToBool(c.ReadonlyRootFilesystem),
		SecurityOpt:       c.DockerSecurityOptions,
		DNS:               c.DnsServers,
		DNSSearch:         c.DnsSearchDomains,
	}
	for _, h := range c.ExtraHosts {
		host.ExtraHosts = append(host.ExtraHosts, aws.ToString(h.Hostname)+":"+aws.ToString(h.IpAddress))
	}
	for _, u := range c.Ulimits {
		host.Ulimits = append(host.Ulimits, protocol.Ulimit{Name: string(u.Name), Soft: int64(u.SoftLimit), Hard: int64(u.HardLimit)})
	}
	for _, s := range c.SystemControls {
		if host.Sysctls == nil {
			host.Sysctls = map[string]string{}
		}
		host.Sysctls[aws.ToString(s.Namespace)] = aws.ToString(s.Value)
	}
	if l := c.LinuxParameters; l != nil {
		linuxParameters(&host, l, int64(aws.ToInt32(c.Memory)))
	}
	if l := c.LogConfiguration; l != nil { // left out, an engine would take what it was started with
		host.LogConfig = logConfig(id, c)
	}
	// No Version: the agent then speaks to its engine in a version that the engine has.
	return &protocol.DockerConfig{Config: text(config), HostConfig: text(host)}
}

// logConfig is where the container of the task with an id logs to. The name of an awslogs stream is worked out here, as
// in ECS: a node knows no prefix. AWS documentation, "Send Amazon ECS logs to CloudWatch", awslogs-stream-prefix.
func logConfig(id string, c types.ContainerDefinition) *protocol.LogConfig {
	l := &protocol.LogConfig{Type: string(c.LogConfiguration.LogDriver), Config: maps.Clone(c.LogConfiguration.Options)}
	if prefix := l.Config["awslogs-stream-prefix"]; prefix != "" && c.LogConfiguration.LogDriver == types.LogDriverAwslogs {
		delete(l.Config, "awslogs-stream-prefix")
		if l.Config["awslogs-stream"] == "" {
			l.Config["awslogs-stream"] = prefix + "/" + aws.ToString(c.Name) + "/" + id
		}
	}
	return l
}

// healthcheck is nil for none. ECS's defaults are Docker's, but for those that a definition has had filled in.
func healthcheck(h *types.HealthCheck) *protocol.Healthcheck {
	if h == nil {
		return nil
	}
	seconds := func(n *int32) int64 { return int64(aws.ToInt32(n)) * int64(time.Second) }
	return &protocol.Healthcheck{Test: h.Command, Interval: seconds(h.Interval), Timeout: seconds(h.Timeout),
		StartPeriod: seconds(h.StartPeriod), Retries: int(aws.ToInt32(h.Retries))}
}

// linuxParameters of a container with so many MiB of memory, zero for no limit.
func linuxParameters(host *protocol.HostConfig, l *types.LinuxParameters, memory int64) {
	if c := l.Capabilities; c != nil {
		host.CapAdd, host.CapDrop = c.Add, c.Drop
	}
	for _, d := range l.Devices {
		host.Devices = append(host.Devices, device(d))
	}
	host.Init = l.InitProcessEnabled
	host.ShmSize = int64(aws.ToInt32(l.SharedMemorySize)) * mebibyte
	for _, t := range l.Tmpfs {
		if host.Tmpfs == nil {
			host.Tmpfs = map[string]string{}
		}
		options := append([]string{fmt.Sprintf("size=%d", int64(t.Size)*mebibyte)}, t.MountOptions...)
		host.Tmpfs[aws.ToString(t.ContainerPath)] = strings.Join(options, ",")
	}
	// Swap is counted on top of memory here, and together with it by Docker; swappiness means nothing without it.
	// Amazon ECS API Reference, "LinuxParameters". A container without a limit of its own is the node's to refuse.
	if l.MaxSwap != nil {
		both := (memory + int64(*l.MaxSwap)) * mebibyte
		host.MemorySwap = &both
		if l.Swappiness != nil {
			host.MemorySwappiness = aws.Int64(int64(*l.Swappiness))
		}
	}
}

func device(d types.Device) protocol.DeviceMapping {
	out := protocol.DeviceMapping{PathOnHost: aws.ToString(d.HostPath), PathInContainer: aws.ToString(d.ContainerPath)}
	if out.PathInContainer == "" {
		out.PathInContainer = out.PathOnHost
	}
	for _, p := range d.Permissions {
		switch p {
		case types.DeviceCgroupPermissionRead:
			out.CgroupPermissions += "r"
		case types.DeviceCgroupPermissionWrite:
			out.CgroupPermissions += "w"
		case types.DeviceCgroupPermissionMknod:
			out.CgroupPermissions += "m"
		}
	}
	if out.CgroupPermissions == "" {
		out.CgroupPermissions = "rwm"
	}
	return out
}
