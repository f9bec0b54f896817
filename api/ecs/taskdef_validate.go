package ecs

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/schedule"
)

// The limits on a task definition.
const (
	maxContainers           = 10
	maxPlacementConstraints = 10
	minTaskCPU, maxTaskCPU  = 128, 196608
	minEphemeral            = 21
	maxEphemeral            = 200
)

// checkDefinition checks what holds for a task definition wherever it runs. It comes after normalisation.
func checkDefinition(d *types.TaskDefinition) error {
	if len(d.ContainerDefinitions) == 0 {
		return clientError("Container list cannot be empty.")
	}
	if len(d.ContainerDefinitions) > maxContainers {
		return clientError("Container list can have at most %d containers.", maxContainers)
	}
	for _, check := range []func(*types.TaskDefinition) error{
		checkTaskSize, checkTaskModes, checkRoles, checkConstraints, checkVolumes, checkContainers,
		checkPorts, checkDependencies, checkLogRouters, checkProxy,
	} {
		if err := check(d); err != nil {
			return err
		}
	}
	return nil
}

// checkTaskSize checks the resources of the task against those of its containers.
func checkTaskSize(d *types.TaskDefinition) error {
	cpu, memory := amount(d.Cpu), amount(d.Memory)
	if d.Cpu != nil && (cpu < minTaskCPU || cpu > maxTaskCPU) {
		return clientError("Invalid 'cpu' setting for task.")
	}
	if d.Memory != nil && memory < minMemory {
		return clientError("Invalid 'memory' setting for task.")
	}
	var cpus, memories int64
	for _, c := range d.ContainerDefinitions {
		cpus += int64(c.Cpu)
		if c.MemoryReservation != nil {
			memories += int64(*c.MemoryReservation)
		} else {
			memories += int64(deref(c.Memory))
		}
		if d.Memory != nil && int64(deref(c.Memory)) > memory {
			return clientError("Invalid setting for container '%s'. The 'memory' cannot be greater than the value of the task 'memory'.", deref(c.Name))
		}
	}
	if d.Cpu != nil && cpus > cpu {
		return clientError("The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.")
	}
	if d.Memory != nil && memories > memory {
		return clientError("The sum of all container 'memory' values cannot be greater than the value of the task 'memory'.")
	}
	if e := d.EphemeralStorage; e != nil && (e.SizeInGiB < minEphemeral || e.SizeInGiB > maxEphemeral) {
		return clientError("Invalid 'ephemeralStorage' setting for task. The size must be between %d and %d GiB.", minEphemeral, maxEphemeral)
	}
	return nil
}

// amount is a normalised cpu or memory of a task, or zero.
func amount(text *string) int64 {
	n, _ := strconv.ParseInt(deref(text), 10, 64) //nolint:errcheck // normalised, or absent
	return n
}

func checkTaskModes(d *types.TaskDefinition) error {
	if p := d.RuntimePlatform; p != nil && windows(d) {
		switch {
		case p.CpuArchitecture == types.CPUArchitectureArm64:
			return clientError("Windows operating system families do not support the ARM64 architecture.")
		case d.PidMode != "":
			return clientError("pidMode is not supported on Windows.")
		case d.IpcMode != "":
			return clientError("ipcMode is not supported on Windows.")
		}
	}
	for i, c := range d.RequiresCompatibilities {
		if slices.Contains(d.RequiresCompatibilities[:i], c) {
			return clientError("Duplicate value in requiresCompatibilities: %s", c)
		}
	}
	return nil
}

func windows(d *types.TaskDefinition) bool {
	return d.RuntimePlatform != nil && strings.HasPrefix(string(d.RuntimePlatform.OperatingSystemFamily), "WINDOWS")
}

// checkRoles checks the two roles: a name, or an ARN of IAM.
func checkRoles(d *types.TaskDefinition) error {
	for _, role := range []string{deref(d.TaskRoleArn), deref(d.ExecutionRoleArn)} {
		if isARN(role) && (!strings.Contains(role, ":iam::") || !strings.Contains(role, ":role/")) || strings.ContainsAny(role, " \t\n") {
			return clientError("Role is not valid")
		}
	}
	return nil
}

func checkConstraints(d *types.TaskDefinition) error {
	if len(d.PlacementConstraints) > maxPlacementConstraints {
		return clientError("A task definition can have at most %d placement constraints.", maxPlacementConstraints)
	}
	for _, c := range d.PlacementConstraints {
		if c.Type != types.TaskDefinitionPlacementConstraintTypeMemberOf {
			return clientError("The placement constraint type of a task definition must be memberOf.")
		}
		if deref(c.Expression) == "" {
			return clientError("A memberOf placement constraint must have an expression.")
		}
		if _, err := schedule.ParseQuery(*c.Expression); err != nil {
			return invalid("Invalid placement constraint expression: %v", err)
		}
	}
	return nil
}

func checkVolumes(d *types.TaskDefinition) error {
	atLaunch := 0
	for i, v := range d.Volumes {
		name := deref(v.Name)
		if !resourceName.MatchString(name) {
			return clientError("Volume.name contains invalid characters.")
		}
		if slices.ContainsFunc(d.Volumes[:i], func(o types.Volume) bool { return deref(o.Name) == name }) {
			return clientError("Duplicate volume name '%s'.", name)
		}
		kinds := 0
		for _, given := range []bool{v.Host != nil, v.DockerVolumeConfiguration != nil, v.EfsVolumeConfiguration != nil,
			v.FsxWindowsFileServerVolumeConfiguration != nil, v.S3filesVolumeConfiguration != nil, deref(v.ConfiguredAtLaunch)} {
			if given {
				kinds++
			}
		}
		if kinds > 1 {
			return clientError("Invalid setting for volume '%s'. Only one volume configuration can be specified.", name)
		}
		if deref(v.ConfiguredAtLaunch) {
			atLaunch++
		}
		if err := checkVolume(name, v); err != nil {
			return err
		}
	}
	if atLaunch > 1 {
		return clientError("Only one volume can be configured at launch.")
	}
	return nil
}

func checkVolume(name string, v types.Volume) error {
	if v.Host != nil && v.Host.SourcePath != nil {
		switch path := *v.Host.SourcePath; {
		case strings.TrimSpace(path) == "":
			return clientError("host.sourcePath should not be blank.")
		case hasNUL(path):
			return clientError("Invalid setting for volume '%s'. The host.sourcePath contains a NUL character.", name)
		case !strings.HasPrefix(path, "/") && !strings.Contains(path, `:\`):
			return clientError("Invalid setting for volume '%s'. The host.sourcePath must be an absolute path.", name)
		}
	}
	if c := v.DockerVolumeConfiguration; c != nil && c.Scope != types.ScopeShared && deref(c.Autoprovision) {
		return clientError("Invalid setting for volume '%s'. autoprovision can only be specified when the scope is shared.", name)
	}
	if c := v.EfsVolumeConfiguration; c != nil && c.AuthorizationConfig != nil {
		a := c.AuthorizationConfig
		encrypted := c.TransitEncryption == types.EFSTransitEncryptionEnabled
		if !encrypted && (a.Iam == types.EFSAuthorizationConfigIAMEnabled || a.AccessPointId != nil) {
			return clientError("Invalid setting for volume '%s'. Transit encryption must be enabled to use IAM authorization or an access point.", name)
		}
		if a.AccessPointId != nil && deref(c.RootDirectory) != "/" {
			return clientError("Invalid setting for volume '%s'. The root directory must be / or omitted when an access point is used.", name)
		}
	}
	return nil
}

// checkLogRouters checks that containers whose log goes through FireLens have a router to go through.
func checkLogRouters(d *types.TaskDefinition) error {
	routers, routed := 0, 0
	for _, c := range d.ContainerDefinitions {
		if c.FirelensConfiguration != nil {
			routers++
			if err := checkLogRouter(&c); err != nil {
				return err
			}
		}
		if c.LogConfiguration != nil && c.LogConfiguration.LogDriver == types.LogDriverAwsfirelens {
			routed++
		}
	}
	switch {
	case routers > 1:
		return clientError("Only one container can have a firelensConfiguration.")
	case routers == 1 && routed == 0:
		return clientError("When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver.")
	case routers == 0 && routed > 0:
		return clientError("When a container is configured with the awsfirelens log driver, one container has to have a firelensConfiguration.")
	}
	return nil
}

func checkProxy(d *types.TaskDefinition) error {
	if d.ProxyConfiguration == nil {
		return nil
	}
	if d.NetworkMode != types.NetworkModeAwsvpc {
		return clientError("A proxyConfiguration is only supported when networkMode=awsvpc.")
	}
	if name := deref(d.ProxyConfiguration.ContainerName); containerNamed(d, name) == nil {
		return clientError("Invalid proxyConfiguration. Unknown container '%s'.", name)
	}
	return nil
}

func containerNamed(d *types.TaskDefinition, name string) *types.ContainerDefinition {
	for i := range d.ContainerDefinitions {
		if deref(d.ContainerDefinitions[i].Name) == name {
			return &d.ContainerDefinitions[i]
		}
	}
	return nil
}

// checkDependencies checks dependsOn, links and volumesFrom: whom they name, and that no container waits
// for itself.
func checkDependencies(d *types.TaskDefinition) error {
	waits := map[string][]string{}
	for _, c := range d.ContainerDefinitions {
		name := deref(c.Name)
		for i, on := range c.DependsOn {
			other := containerNamed(d, deref(on.ContainerName))
			switch {
			case other == nil:
				return clientError("Container '%s' depends on an unknown container '%s'.", name, deref(on.ContainerName))
			case deref(other.Name) == name:
				return clientError("Container '%s' cannot depend on itself.", name)
			case slices.ContainsFunc(c.DependsOn[:i], func(o types.ContainerDependency) bool { return deref(o.ContainerName) == *other.Name }):
				return clientError("Container '%s' depends on container '%s' more than once.", name, *other.Name)
			case deref(other.Essential) && (on.Condition == types.ContainerConditionSuccess || on.Condition == types.ContainerConditionComplete):
				return clientError("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
			case on.Condition == types.ContainerConditionHealthy && !checksHealth(other):
				return clientError("A dependency container with HEALTHY condition must have a health check")
			}
			waits[name] = append(waits[name], *other.Name)
		}
		for _, link := range c.Links {
			target, alias, renamed := strings.Cut(link, ":")
			if target == name || containerNamed(d, target) == nil || renamed && !resourceName.MatchString(alias) {
				return clientError("Invalid link '%s' for container '%s'.", link, name)
			}
			waits[name] = append(waits[name], target)
		}
		for _, from := range c.VolumesFrom {
			source := deref(from.SourceContainer)
			if source == name || containerNamed(d, source) == nil {
				return clientError("Invalid volumesFrom for container '%s'. Unknown container '%s'.", name, source)
			}
			waits[name] = append(waits[name], source)
		}
	}
	if cyclic(waits) {
		return clientError("There is a cycle in the dependencies of the containers.")
	}
	return nil
}

// checksHealth reports whether a container has a health check that is not turned off.
func checksHealth(c *types.ContainerDefinition) bool {
	return c.HealthCheck != nil && len(c.HealthCheck.Command) > 0 && c.HealthCheck.Command[0] != "NONE"
}

// cyclic says whether following the edges can lead back to where one was.
func cyclic(edges map[string][]string) bool {
	const open, done = 1, 2
	seen := map[string]int{}
	var visit func(string) bool
	visit = func(name string) bool {
		switch seen[name] {
		case open:
			return true
		case done:
			return false
		}
		seen[name] = open
		if slices.ContainsFunc(edges[name], visit) {
			return true
		}
		seen[name] = done
		return false
	}
	for name := range edges {
		if visit(name) {
			return true
		}
	}
	return false
}
