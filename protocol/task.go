package protocol

// Task is what a node is told about a task: everything it needs to run it, overrides applied.
type Task struct {
	ARN           string      `json:"arn"`
	ClusterARN    string      `json:"taskClusterArn,omitempty"`
	Family        string      `json:"family,omitempty"`
	Version       string      `json:"version,omitempty"` // revision of the family
	DesiredStatus string      `json:"desiredStatus"`     // RUNNING or STOPPED
	Overrides     string      `json:"overrides,omitempty"`
	AccountID     string      `json:"taskDefinitionAccountId,omitempty"`
	Containers    []Container `json:"containers,omitempty"`
	Volumes       []Volume    `json:"volumes,omitempty"`
	CPU           float64     `json:"cpu,omitempty"`    // vCPU, 0 = no task limit
	Memory        int64       `json:"memory,omitempty"` // MiB, 0 = no task limit
	PIDMode       string      `json:"pidMode,omitempty"`
	IPCMode       string      `json:"ipcMode,omitempty"`
	LaunchType    string      `json:"launchType,omitempty"`
	NetworkMode   string      `json:"networkMode,omitempty"` // bridge, host, none, awsvpc
	ServiceName   string      `json:"serviceName,omitempty"`
	Group         string      `json:"group,omitempty"`
}

// Container is one container of a Task. What the runtime of the stock agent takes only as Docker's own
// documents (user, labels, memory reservation ...) stands in DockerConfig, as text.
type Container struct {
	Name         string            `json:"name"`
	Image        string            `json:"image"`
	ARN          string            `json:"containerArn,omitempty"`
	Command      []string          `json:"command,omitempty"`
	EntryPoint   *[]string         `json:"entryPoint,omitempty"`
	Environment  map[string]string `json:"environment,omitempty"`
	Essential    bool              `json:"essential"`
	CPU          int64             `json:"cpu"`    // shares
	Memory       int64             `json:"memory"` // MiB, hard limit, 0 = none
	PortMappings []PortMapping     `json:"portMappings,omitempty"`
	MountPoints  []MountPoint      `json:"mountPoints,omitempty"`
	Links        []string          `json:"links,omitempty"`
	DockerConfig *DockerConfig     `json:"dockerConfig,omitempty"`
	StartTimeout int64             `json:"startTimeout,omitempty"` // seconds
	StopTimeout  int64             `json:"stopTimeout,omitempty"`  // seconds, 0 = the node's default
	// Overrides is JSON text. The server applies overrides itself and sends "{}": the stock agent
	// rejects a task whose container overrides hold anything but a command.
	Overrides string `json:"overrides,omitempty"`
}

// PortMapping publishes a container's port on the host.
type PortMapping struct {
	ContainerPort      uint16 `json:"containerPort,omitempty"`
	HostPort           uint16 `json:"hostPort,omitempty"` // 0 = the node chooses
	ContainerPortRange string `json:"containerPortRange,omitempty"`
	Protocol           string `json:"protocol,omitempty"` // tcp (default) or udp
}

// MountPoint puts a task's volume into a container.
type MountPoint struct {
	SourceVolume  string `json:"sourceVolume"`
	ContainerPath string `json:"containerPath"`
	ReadOnly      bool   `json:"readOnly"`
}

// Volume is a volume of the task.
type Volume struct {
	Name string      `json:"name"`
	Type string      `json:"type,omitempty"` // host (default), docker, efs ...
	Host *HostVolume `json:"host,omitempty"`
}

// HostVolume is a folder of the node. An empty path means one that the node makes for the task.
type HostVolume struct {
	SourcePath string `json:"sourcePath,omitempty"`
}

// DockerConfig carries two Docker documents as JSON text. The stock agent decodes them on top of what it
// built itself, so Config must never hold Env, Cmd, Image or Entrypoint.
type DockerConfig struct {
	Version    string `json:"version,omitempty"`
	Config     string `json:"config,omitempty"`     // ContainerConfig
	HostConfig string `json:"hostConfig,omitempty"` // HostConfig
}

// ContainerConfig is the part of Docker's container configuration that Havn sends.
// Docker Engine API, "ContainerCreate".
type ContainerConfig struct {
	User       string            `json:"User,omitempty"`
	WorkingDir string            `json:"WorkingDir,omitempty"`
	Hostname   string            `json:"Hostname,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

// HostConfig is the part of Docker's host configuration that Havn sends.
// Docker Engine API, "ContainerCreate".
type HostConfig struct {
	NetworkMode       string     `json:"NetworkMode,omitempty"`
	MemoryReservation int64      `json:"MemoryReservation,omitempty"` // bytes
	LogConfig         *LogConfig `json:"LogConfig,omitempty"`
}

// LogConfig is where a container's output goes.
type LogConfig struct {
	Type   string            `json:"Type"`
	Config map[string]string `json:"Config,omitempty"`
}
