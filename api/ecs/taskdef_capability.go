package ecs

import (
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// compatibilities are the kinds of capacity that the definition fits. A kind that the definition demands
// and does not fit is an error that says why.
func compatibilities(d *types.TaskDefinition) ([]types.Compatibility, error) {
	var fits []types.Compatibility
	for _, kind := range []struct {
		name    types.Compatibility
		problem func(*types.TaskDefinition) error
	}{
		{types.CompatibilityExternal, externalProblem},
		{types.CompatibilityEc2, ec2Problem},
		{types.CompatibilityFargate, fargateProblem},
		{types.CompatibilityManagedInstances, managedProblem},
	} {
		err := kind.problem(d)
		demanded := slices.Contains(d.RequiresCompatibilities, kind.name)
		switch {
		case err != nil && demanded:
			return nil, err
		case err == nil && (demanded || kind.name != types.CompatibilityManagedInstances):
			fits = append(fits, kind.name)
		}
	}
	return fits, nil
}

func ec2Problem(d *types.TaskDefinition) error {
	if d.EphemeralStorage != nil {
		return clientError("EC2 compatible task definitions do not support ephemeralStorage.")
	}
	return nil
}

func managedProblem(d *types.TaskDefinition) error {
	if d.NetworkMode == types.NetworkModeBridge || d.NetworkMode == types.NetworkModeNone {
		return clientError("Managed Instances only supports network modes 'awsvpc' and 'host'.")
	}
	return ec2Problem(d)
}

func externalProblem(d *types.TaskDefinition) error {
	if d.NetworkMode == types.NetworkModeAwsvpc {
		return clientError("External launch type does not support network mode 'awsvpc'.")
	}
	for _, v := range d.Volumes {
		if v.EfsVolumeConfiguration != nil || v.FsxWindowsFileServerVolumeConfiguration != nil || deref(v.ConfiguredAtLaunch) {
			return clientError("External launch type does not support the volume '%s'.", deref(v.Name))
		}
	}
	return ec2Problem(d)
}

// fargateMemory says which amounts of memory go with an amount of cpu on Fargate, in MiB.
var fargateMemory = map[int64]struct{ from, to, step int64 }{
	512:   {1024, 4096, 1024},
	1024:  {2048, 8192, 1024},
	2048:  {4096, 16384, 1024},
	4096:  {8192, 30720, 1024},
	8192:  {16384, 61440, 4096},
	16384: {32768, 122880, 8192},
}

func fargateSize(cpu, memory int64) bool {
	if cpu == 256 {
		return memory == 512 || memory == 1024 || memory == 2048
	}
	m, ok := fargateMemory[cpu]
	return ok && memory >= m.from && memory <= m.to && memory%m.step == 0
}

// fargateProblem is what keeps the definition from running on Fargate.
func fargateProblem(d *types.TaskDefinition) error {
	switch {
	case d.NetworkMode != types.NetworkModeAwsvpc:
		return clientError("Fargate only supports network mode 'awsvpc'.")
	case d.Cpu == nil:
		return clientError("Fargate requires that 'cpu' be defined at the task level.")
	case d.Memory == nil:
		return clientError("Fargate requires that 'memory' be defined at the task level.")
	case !fargateSize(amount(d.Cpu), amount(d.Memory)):
		return clientError("No Fargate configuration exists for given values: %s CPU, %s memory. See the Amazon ECS documentation for the valid values.", *d.Cpu, *d.Memory)
	case len(d.PlacementConstraints) > 0:
		return clientError("Fargate compatible task definitions do not support placement constraints.")
	case d.IpcMode != "":
		return clientError("Fargate compatible task definitions do not support ipcMode.")
	case d.PidMode == types.PidModeHost:
		return clientError("Fargate compatible task definitions only support pidMode 'task'.")
	case len(d.InferenceAccelerators) > 0:
		return clientError("Fargate compatible task definitions do not support inference accelerators.")
	}
	for _, v := range d.Volumes {
		if v.DockerVolumeConfiguration != nil || v.Host != nil && v.Host.SourcePath != nil {
			return clientError("Fargate compatible task definitions do not support the volume '%s'.", deref(v.Name))
		}
	}
	for i := range d.ContainerDefinitions {
		if err := fargateContainerProblem(d, &d.ContainerDefinitions[i]); err != nil {
			return err
		}
	}
	return nil
}

func fargateContainerProblem(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	l := c.LinuxParameters
	if l == nil {
		l = &types.LinuxParameters{}
	}
	for _, f := range []struct {
		field string
		given bool
	}{
		{"privileged", deref(c.Privileged)},
		{"links", len(c.Links) > 0},
		{"dockerSecurityOptions", len(c.DockerSecurityOptions) > 0},
		{"resourceRequirements", len(c.ResourceRequirements) > 0},
		{"devices", len(l.Devices) > 0},
		{"sharedMemorySize", l.SharedMemorySize != nil},
		{"maxSwap", l.MaxSwap != nil},
		{"swappiness", l.Swappiness != nil},
	} {
		if f.given {
			return clientError("Fargate compatible task definitions do not support %s", f.field)
		}
	}
	if t := c.StopTimeout; t != nil && (*t < 2 || *t > 120) {
		return badSetting("stopTimeout", c)
	}
	if t := c.StartTimeout; t != nil && (*t < 2 || *t > 120) {
		return badSetting("startTimeout", c)
	}
	if l.Capabilities != nil && slices.ContainsFunc(l.Capabilities.Add, func(name string) bool { return name != "SYS_PTRACE" }) {
		return clientError("Fargate compatible task definitions only support adding the capability SYS_PTRACE.")
	}
	for _, u := range c.Ulimits {
		if u.Name != types.UlimitNameNofile {
			return clientError("Fargate compatible task definitions only support the ulimit nofile.")
		}
	}
	if c.LogConfiguration == nil {
		return nil
	}
	switch c.LogConfiguration.LogDriver {
	case types.LogDriverAwslogs:
		if deref(d.ExecutionRoleArn) == "" {
			return clientError("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
		}
		if c.LogConfiguration.Options["awslogs-stream-prefix"] == "" {
			return clientError("Log driver awslogs requires options: awslogs-stream-prefix")
		}
	case types.LogDriverSplunk, types.LogDriverAwsfirelens:
	default:
		return clientError("Fargate compatible task definitions only support the log drivers awslogs, splunk and awsfirelens.")
	}
	return nil
}

// The two families of capabilities, as agents advertise them.
const (
	dockerCapability = "com.amazonaws.ecs.capability."
	ecsCapability    = "ecs.capability."
)

var ecrImage = regexp.MustCompile(`^\d{12}\.dkr[.-]ecr\.`)

// requiredAttributes are the attributes that a container instance must have to run the definition, worked
// out from the features that it uses. Placement looks at them.
func requiredAttributes(d *types.TaskDefinition) []types.Attribute {
	need := map[string]string{dockerCapability + "docker-remote-api.1.18": ""}
	add := func(given bool, names ...string) {
		if given {
			for _, name := range names {
				need[name] = ""
			}
		}
	}
	taskRole := deref(d.TaskRoleArn) != ""
	executionRole := deref(d.ExecutionRoleArn) != ""
	add(taskRole && d.NetworkMode == types.NetworkModeHost, dockerCapability+"task-iam-role-network-host")
	add(taskRole && d.NetworkMode != types.NetworkModeHost, dockerCapability+"task-iam-role")
	add(d.NetworkMode == types.NetworkModeAwsvpc, ecsCapability+"task-eni")
	add(d.PidMode != "" || d.IpcMode != "", ecsCapability+"pid-ipc-namespace-sharing")
	add(amount(d.Cpu) > 10240, ecsCapability+"increased-task-cpu-limit")
	add(d.ProxyConfiguration != nil, ecsCapability+"aws-appmesh")
	add(deref(d.EnableFaultInjection), ecsCapability+"fault-injection")
	add(len(d.InferenceAccelerators) > 0, ecsCapability+"task-eia")
	if p := d.RuntimePlatform; p != nil {
		switch p.CpuArchitecture {
		case types.CPUArchitectureX8664:
			need["ecs.cpu-architecture"] = "x86_64"
		case types.CPUArchitectureArm64:
			need["ecs.cpu-architecture"] = "arm64"
		}
		switch {
		case windows(d):
			need["ecs.os-family"] = string(p.OperatingSystemFamily)
		case p.OperatingSystemFamily != "":
			need["ecs.os-type"] = "linux"
		}
	}
	for _, v := range d.Volumes {
		add(v.EfsVolumeConfiguration != nil, ecsCapability+"efs")
		add(v.EfsVolumeConfiguration != nil && v.EfsVolumeConfiguration.AuthorizationConfig != nil, ecsCapability+"efsAuth")
		add(v.FsxWindowsFileServerVolumeConfiguration != nil, ecsCapability+"fsxWindowsFileServer")
		add(v.S3filesVolumeConfiguration != nil, ecsCapability+"storage.s3-files")
		add(deref(v.ConfiguredAtLaunch), ecsCapability+"storage.ebs-task-volume-attach")
		if c := v.DockerVolumeConfiguration; c != nil {
			driver := deref(c.Driver)
			if driver == "" {
				driver = "local"
			}
			add(true, ecsCapability+"docker-plugin."+strings.ReplaceAll(driver, ":", "."), dockerCapability+"docker-remote-api.1.25")
		}
	}
	for i := range d.ContainerDefinitions {
		containerAttributes(&d.ContainerDefinitions[i], executionRole, add)
	}
	list := make([]types.Attribute, 0, len(need))
	for name, value := range need {
		list = append(list, types.Attribute{Name: ptr(name), Value: present(value)})
	}
	slices.SortFunc(list, func(a, b types.Attribute) int { return strings.Compare(*a.Name, *b.Name) })
	return list
}

func containerAttributes(c *types.ContainerDefinition, executionRole bool, add func(bool, ...string)) {
	add(deref(c.Privileged), dockerCapability+"privileged-container")
	add(c.MemoryReservation != nil, dockerCapability+"docker-remote-api.1.21")
	add(c.HealthCheck != nil, ecsCapability+"container-health-check", dockerCapability+"docker-remote-api.1.29")
	add(len(c.DependsOn) > 0 || c.StartTimeout != nil, ecsCapability+"container-ordering")
	add(len(c.EnvironmentFiles) > 0, ecsCapability+"env-files.s3")
	add(c.RestartPolicy != nil && deref(c.RestartPolicy.Enabled), ecsCapability+"container-restart-policy")
	add(c.RepositoryCredentials != nil, ecsCapability+"private-registry-authentication.secretsmanager")
	add(len(c.CredentialSpecs) > 0, ecsCapability+"gmsa")
	ecr := ecrImage.MatchString(deref(c.Image))
	add(ecr, dockerCapability+"ecr-auth", dockerCapability+"docker-remote-api.1.19")
	add(ecr && executionRole, ecsCapability+"execution-role-ecr-pull")
	for _, p := range c.PortMappings {
		add(p.ContainerPortRange != nil, ecsCapability+"network.container-port-range")
	}
	for _, s := range c.Secrets {
		add(true, ecsCapability+"secrets."+secretStore(s)+".environment-variables")
	}
	if f := c.FirelensConfiguration; f != nil {
		add(true, ecsCapability+"firelens."+string(f.Type))
		kind := f.Options["config-file-type"]
		add(kind != "", ecsCapability+"firelens.options.config."+kind)
	}
	if p := c.LinuxParameters; p != nil {
		add(deref(p.InitProcessEnabled), dockerCapability+"docker-remote-api.1.25")
		add(p.SharedMemorySize != nil || len(p.Tmpfs) > 0, dockerCapability+"docker-remote-api.1.22")
		add(p.Swappiness != nil || p.MaxSwap != nil, dockerCapability+"docker-remote-api.1.24")
	}
	for _, option := range c.DockerSecurityOptions {
		add(strings.HasPrefix(option, "apparmor:"), dockerCapability+"apparmor")
		add(strings.HasPrefix(option, "label:"), dockerCapability+"selinux")
	}
	add(len(c.SystemControls) > 0, dockerCapability+"docker-remote-api.1.24")
	if l := c.LogConfiguration; l != nil {
		add(true, dockerCapability+"logging-driver."+string(l.LogDriver))
		add(l.LogDriver == types.LogDriverAwslogs, dockerCapability+"docker-remote-api.1.19")
		add(l.LogDriver == types.LogDriverAwslogs && executionRole, ecsCapability+"execution-role-awslogs")
		for _, s := range l.SecretOptions {
			add(true, ecsCapability+"secrets."+secretStore(s)+".bootstrap.log-driver")
		}
	}
}

// secretStore tells Secrets Manager from the parameter store by the reference.
func secretStore(s types.Secret) string {
	if strings.Contains(deref(s.ValueFrom), ":secretsmanager:") {
		return "asm"
	}
	return "ssm"
}
