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

	Associations         []Association `json:"associations,omitempty"`
	EnableFaultInjection bool          `json:"enableFaultInjection,omitempty"`
}

// Association gives something of the node to containers of a task: a GPU, named by its UUID.
type Association struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"` // gpu
	Containers []string `json:"containers,omitempty"`
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
	VolumesFrom  []VolumeFrom      `json:"volumesFrom,omitempty"`
	Links        []string          `json:"links,omitempty"` // NAME or NAME:ALIAS
	DockerConfig *DockerConfig     `json:"dockerConfig,omitempty"`
	DependsOn    []Dependency      `json:"dependsOn,omitempty"`
	StartTimeout int64             `json:"startTimeout,omitempty"` // seconds, 0 = none
	StopTimeout  int64             `json:"stopTimeout,omitempty"`  // seconds, 0 = the node's default

	RestartPolicy    *RestartPolicy    `json:"restartPolicy,omitempty"`
	HealthCheckType  string            `json:"healthCheckType,omitempty"` // docker: the check stands in DockerConfig
	EnvironmentFiles []EnvironmentFile `json:"environmentFiles,omitempty"`
	Firelens         *Firelens         `json:"firelensConfiguration,omitempty"`
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

// VolumeFrom gives a container the mount points of another container of the task.
type VolumeFrom struct {
	SourceContainer string `json:"sourceContainer"`
	ReadOnly        bool   `json:"readOnly"`
}

// Dependency makes a container wait for another one of its task.
type Dependency struct {
	Container string `json:"containerName"`
	Condition string `json:"condition"` // START, COMPLETE, SUCCESS, HEALTHY
}

// RestartPolicy starts a container again in its place, without an end of its task.
type RestartPolicy struct {
	Enabled              bool  `json:"enabled"`
	IgnoredExitCodes     []int `json:"ignoredExitCodes,omitempty"`
	RestartAttemptPeriod int64 `json:"restartAttemptPeriod,omitempty"` // seconds
}

// EnvironmentFile is an object that holds lines NAME=VALUE.
type EnvironmentFile struct {
	Value string `json:"value"` // ARN of the object
	Type  string `json:"type"`  // s3
}

// Firelens makes a container the log router of its task.
type Firelens struct {
	Type    string            `json:"type"` // fluentd or fluentbit
	Options map[string]string `json:"options,omitempty"`
}

// Volume is a volume of the task.
type Volume struct {
	Name   string        `json:"name"`
	Type   string        `json:"type,omitempty"` // host (default), docker, efs ...
	Host   *HostVolume   `json:"host,omitempty"`
	Docker *DockerVolume `json:"dockerVolumeConfiguration,omitempty"`
	EFS    *EFSVolume    `json:"efsVolumeConfiguration,omitempty"`
}

// DockerVolume is a volume that the container engine keeps.
type DockerVolume struct {
	Scope         string            `json:"scope,omitempty"` // task, shared
	Autoprovision bool              `json:"autoprovision,omitempty"`
	Driver        string            `json:"driver,omitempty"`
	DriverOpts    map[string]string `json:"driverOpts,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
}

// EFSVolume is a folder of a network file system.
type EFSVolume struct {
	FileSystemID          string            `json:"fileSystemId"`
	RootDirectory         string            `json:"rootDirectory,omitempty"`
	TransitEncryption     string            `json:"transitEncryption,omitempty"` // ENABLED, DISABLED
	TransitEncryptionPort int64             `json:"transitEncryptionPort,omitempty"`
	AuthorizationConfig   *EFSAuthorization `json:"authorizationConfig,omitempty"`
}

// EFSAuthorization says as whom an EFS volume is used.
type EFSAuthorization struct {
	AccessPointID string `json:"accessPointId,omitempty"`
	IAM           string `json:"iam,omitempty"` // ENABLED, DISABLED
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
	User            string            `json:"User,omitempty"`
	WorkingDir      string            `json:"WorkingDir,omitempty"`
	Hostname        string            `json:"Hostname,omitempty"`
	Labels          map[string]string `json:"Labels,omitempty"`
	Tty             bool              `json:"Tty,omitempty"`
	OpenStdin       bool              `json:"OpenStdin,omitempty"`
	NetworkDisabled bool              `json:"NetworkDisabled,omitempty"`
	Healthcheck     *Healthcheck      `json:"Healthcheck,omitempty"`
}

// Healthcheck says how to find out whether a container is healthy. Times are in nanoseconds, as Docker has
// them; zero is Docker's default.
type Healthcheck struct {
	Test        []string `json:"Test,omitempty"` // CMD or CMD-SHELL, and the rest
	Interval    int64    `json:"Interval,omitempty"`
	Timeout     int64    `json:"Timeout,omitempty"`
	StartPeriod int64    `json:"StartPeriod,omitempty"`
	Retries     int      `json:"Retries,omitempty"`
}

// HostConfig is the part of Docker's host configuration that Havn sends.
// Docker Engine API, "ContainerCreate".
type HostConfig struct {
	NetworkMode       string            `json:"NetworkMode,omitempty"`
	MemoryReservation int64             `json:"MemoryReservation,omitempty"` // bytes
	MemorySwap        *int64            `json:"MemorySwap,omitempty"`        // bytes of memory and swap together; -1 = no limit
	MemorySwappiness  *int64            `json:"MemorySwappiness,omitempty"`  // 0 to 100
	ShmSize           int64             `json:"ShmSize,omitempty"`           // bytes
	Tmpfs             map[string]string `json:"Tmpfs,omitempty"`             // mount options by path
	Privileged        bool              `json:"Privileged,omitempty"`
	ReadonlyRootfs    bool              `json:"ReadonlyRootfs,omitempty"`
	Init              *bool             `json:"Init,omitempty"`
	CapAdd            []string          `json:"CapAdd,omitempty"`
	CapDrop           []string          `json:"CapDrop,omitempty"`
	SecurityOpt       []string          `json:"SecurityOpt,omitempty"`
	Sysctls           map[string]string `json:"Sysctls,omitempty"`
	Ulimits           []Ulimit          `json:"Ulimits,omitempty"`
	Devices           []DeviceMapping   `json:"Devices,omitempty"`
	DNS               []string          `json:"Dns,omitempty"`
	DNSSearch         []string          `json:"DnsSearch,omitempty"`
	ExtraHosts        []string          `json:"ExtraHosts,omitempty"` // NAME:ADDRESS
	LogConfig         *LogConfig        `json:"LogConfig,omitempty"`
}

// Ulimit bounds a resource of each process.
type Ulimit struct {
	Name string `json:"Name"`
	Soft int64  `json:"Soft"`
	Hard int64  `json:"Hard"`
}

// DeviceMapping gives a device of the node to a container.
type DeviceMapping struct {
	PathOnHost        string `json:"PathOnHost"`
	PathInContainer   string `json:"PathInContainer"`
	CgroupPermissions string `json:"CgroupPermissions"` // of r, w, m
}

// LogConfig is where a container's output goes.
type LogConfig struct {
	Type   string            `json:"Type"`
	Config map[string]string `json:"Config,omitempty"`
}

// Driver is the name of the log driver; where nothing is said, nil too, it is json-file.
func (l *LogConfig) Driver() string {
	if l == nil || l.Type == "" {
		return "json-file"
	}
	return l.Type
}

// Ships reports whether the output has a destination beyond the files on the node.
func (l *LogConfig) Ships() bool { return l.Driver() != "json-file" }
