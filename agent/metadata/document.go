package metadata

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"havn/agent"
	"havn/agent/observe"
	"havn/lifecycle"
	"havn/protocol"
)

// version is that of the endpoint: what a document shows grew with it. Version 2 is for tasks with an address of their
// own in the VPC, which no Havn node has.
type version int

const (
	v3 version = 3
	v4 version = 4
)

// Container is a container's document.
type Container struct {
	DockerID      string `json:"DockerId"`
	Name          string
	DockerName    string
	Image         string
	ImageID       string
	Ports         []Port            `json:",omitempty"`
	Labels        map[string]string `json:",omitempty"`
	DesiredStatus string
	KnownStatus   string
	ExitCode      *int `json:",omitempty"`
	Limits        ContainerLimits
	CreatedAt     *time.Time `json:",omitempty"`
	StartedAt     *time.Time `json:",omitempty"`
	FinishedAt    *time.Time `json:",omitempty"`
	Type          string
	Health        *Health           `json:",omitempty"`
	Volumes       []Volume          `json:",omitempty"`
	LogDriver     string            `json:",omitempty"`
	LogOptions    map[string]string `json:",omitempty"`
	ContainerARN  string            `json:",omitempty"`
	Networks      []Network         `json:",omitempty"`
	Snapshotter   string            `json:",omitempty"`
	RestartCount  *int              `json:",omitempty"` // of a container that has a restart policy
}

// Health is what a container's health check says.
type Health struct {
	Status      string     `json:"status"`
	StatusSince *time.Time `json:"statusSince,omitempty"`
	ExitCode    int        `json:"exitCode,omitempty"`
	Output      string     `json:"output,omitempty"`
}

// Port is a port of a container, and where it is on the host.
type Port struct {
	ContainerPort uint16
	Protocol      string
	HostPort      uint16 `json:",omitempty"`
	HostIP        string `json:"HostIp,omitempty"`
}

// ContainerLimits are in CPU units and MiB.
type ContainerLimits struct{ CPU, Memory int64 }

// Volume is a folder of the host that a container sees.
type Volume struct {
	Source      string `json:",omitempty"`
	Destination string `json:",omitempty"`
}

// Network is one that a container is in.
type Network struct {
	NetworkMode   string
	IPv4Addresses []string `json:",omitempty"`
}

// Task is a task's document.
type Task struct {
	Cluster               string
	TaskARN               string
	Family                string
	Revision              string
	ServiceName           string `json:",omitempty"`
	DesiredStatus         string
	KnownStatus           string
	Limits                *TaskLimits       `json:",omitempty"`
	PullStartedAt         *time.Time        `json:",omitempty"`
	PullStoppedAt         *time.Time        `json:",omitempty"`
	ExecutionStoppedAt    *time.Time        `json:",omitempty"`
	TaskTags              map[string]string `json:",omitempty"`
	ContainerInstanceTags map[string]string `json:",omitempty"`
	LaunchType            string            `json:",omitempty"`
	Containers            []Container
	FaultInjectionEnabled *bool       `json:",omitempty"`
	Errors                []TaskError `json:",omitempty"`
}

// TaskLimits are in vCPU and MiB; what is not limited is left out.
type TaskLimits struct {
	CPU    float64 `json:",omitempty"`
	Memory int64   `json:",omitempty"`
}

// TaskError says which part of a document could not be had, and why.
type TaskError struct {
	ErrorField   string
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
	StatusCode   int    `json:",omitempty"`
	RequestID    string `json:"RequestId,omitempty"`
	ResourceARN  string
}

// taskDocument shows a task; facts are by the container's name.
func taskDocument(v version, r agent.Record, facts map[string]observe.Facts) Task {
	d := Task{
		Cluster: name(r.Task.ClusterARN), TaskARN: r.Task.ARN, Family: r.Task.Family, Revision: r.Task.Version,
		DesiredStatus: string(r.Life.Desired), KnownStatus: knownStatus(r.Life.Containers),
	}
	if r.Task.CPU > 0 || r.Task.Memory > 0 {
		d.Limits = &TaskLimits{r.Task.CPU, r.Task.Memory}
	}
	report := r.Life.Report()
	d.PullStartedAt, d.PullStoppedAt = known(report.PullStartedAt), known(report.PullStoppedAt)
	d.ExecutionStoppedAt = known(report.ExecutionStoppedAt)
	for _, c := range r.Task.Containers {
		d.Containers = append(d.Containers, containerDocument(v, r, c.Name, facts[c.Name]))
	}
	if v >= v4 {
		d.LaunchType, d.ServiceName = r.Task.LaunchType, r.Task.ServiceName
		d.FaultInjectionEnabled = &r.Task.EnableFaultInjection
	}
	return d
}

// containerDocument shows one container of a task.
func containerDocument(v version, r agent.Record, container string, f observe.Facts) Container {
	i := slices.IndexFunc(r.Task.Containers, func(c protocol.Container) bool { return c.Name == container })
	doc := r.Task.Containers[i]
	d := Container{
		Name: doc.Name, Image: doc.Image, ImageID: f.ImageID,
		DesiredStatus: string(r.Life.Desired), KnownStatus: "NONE", Type: "NORMAL",
		Limits: ContainerLimits{max(doc.CPU, minShares), doc.Memory}, CreatedAt: known(f.CreatedAt),
	}
	config, host := docker(doc)
	d.Labels = labels(&r.Task, doc.Name, config.Labels)
	for _, c := range r.Life.Containers {
		if c.Name != container {
			continue
		}
		d.DockerID, d.KnownStatus = c.RuntimeID, containerStatus(c.Phase)
		d.StartedAt, d.FinishedAt = known(c.StartedAt), known(c.FinishedAt)
		if c.Exited {
			d.ExitCode = &c.ExitCode
		}
		if h := c.Health; c.Check.On() && h.Status != "" {
			d.Health = &Health{string(h.Status), known(h.Since), h.ExitCode, h.Output}
		}
		if v >= v4 && c.Restart.Enabled {
			d.RestartCount = &c.Restarts
		}
	}
	d.DockerName = protocol.DockerName(r.Task.Family, r.Task.Version, doc.Name, d.DockerID)
	d.Ports = ports(v, r.Life.Bindings, container)
	network := Network{NetworkMode: cmp.Or(r.Task.NetworkMode, "bridge")}
	for _, a := range f.Addresses {
		network.IPv4Addresses = append(network.IPv4Addresses, a.String())
	}
	d.Networks = []Network{network}
	for _, m := range f.Mounts {
		d.Volumes = append(d.Volumes, Volume(m))
	}
	if v >= v4 {
		d.ContainerARN, d.Snapshotter, d.LogDriver = doc.ARN, f.Snapshotter, host.LogConfig.Driver()
		if l := host.LogConfig; l != nil && l.Type != "" {
			d.LogOptions = l.Config
		}
	}
	return d
}

// minShares is what ECS's agent makes of a container's CPU units that are fewer.
const minShares = 2

// containerStatus is a phase in the words of ECS's agent.
func containerStatus(p lifecycle.Phase) string {
	switch p {
	case lifecycle.Waiting:
		return "NONE"
	case lifecycle.Started:
		return "RUNNING"
	case lifecycle.Ended, lifecycle.Removed:
		return "STOPPED"
	}
	return string(p)
}

// knownStatus is how far the last of the containers has come.
func knownStatus(all []lifecycle.Container) string {
	order := []string{"NONE", "PULLED", "CREATED", "RUNNING", "STOPPED"}
	least := len(order) - 1
	for _, c := range all {
		least = min(least, max(slices.Index(order, containerStatus(c.Phase)), 0))
	}
	return order[least]
}

func ports(v version, bindings []lifecycle.Binding, container string) []Port {
	var all []Port
	for _, b := range bindings {
		if b.Container != container {
			continue
		}
		p := Port{ContainerPort: b.ContainerPort, Protocol: b.Protocol, HostPort: b.HostPort}
		if v >= v4 {
			p.HostIP = b.BindIP
		}
		if b.ContainerPortRange == "" {
			all = append(all, p)
			continue
		}
		first, last, ok := portRange(b.ContainerPortRange)
		host, _, okHost := portRange(b.HostPortRange)
		for n := first; ok && okHost && n <= last; n++ {
			p.ContainerPort, p.HostPort = uint16(n), uint16(host+n-first)
			all = append(all, p)
		}
	}
	return all
}

func portRange(text string) (first, last int, ok bool) {
	a, b, ok := strings.Cut(text, "-")
	low, err1 := strconv.ParseUint(a, 10, 16)
	high, err2 := strconv.ParseUint(b, 10, 16)
	return int(low), int(high), ok && err1 == nil && err2 == nil
}

// labels are the user's, and ECS's own over them.
func labels(task *protocol.Task, container string, own map[string]string) map[string]string {
	all := maps.Clone(own)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, task.Labels(container))
	return all
}

// docker reads a container's Docker documents. What cannot be read says nothing here: its container does not start.
func docker(c protocol.Container) (config protocol.ContainerConfig, host protocol.HostConfig) {
	if d := c.DockerConfig; d != nil {
		if json.Unmarshal([]byte(d.Config), &config) != nil {
			config = protocol.ContainerConfig{}
		}
		if json.Unmarshal([]byte(d.HostConfig), &host) != nil {
			host = protocol.HostConfig{}
		}
	}
	return config, host
}

// name is the last part of an ARN.
func name(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
