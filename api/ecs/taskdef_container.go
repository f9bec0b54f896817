package ecs

import (
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// minMemory is the least memory of a container, in MiB.
const minMemory = 6

var (
	imageName = regexp.MustCompile(`^[a-zA-Z0-9_.:/#@-]{1,255}$`)
	portName  = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,63}$`)
	// RFC 1123, section 2.1, as Docker reads it. Go's $ does not stand before a last line's end.
	hostName = regexp.MustCompile(`^([[:alnum:]]([[:alnum:]-]*[[:alnum:]])?\.)*[[:alnum:]]([[:alnum:]-]*[[:alnum:]])?$`)
)

// hostsName is what a name in /etc/hosts may be, at most: one word, without the colon that Docker puts after it.
var hostsName = regexp.MustCompile(`^[!-"$-9;-~]{1,253}$`)

// maxHostName is how long a host name may be: what RFC 1123 allows a label, and Linux (64) the whole.
const maxHostName = 63

// checkContainers checks each container by itself.
func checkContainers(d *types.TaskDefinition) error {
	essential := false
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		name := deref(c.Name)
		switch {
		case name == "":
			return clientError("Container.name should not be null or empty.")
		case !resourceName.MatchString(name):
			return clientError("Container.name contains invalid characters.")
		case containerNamed(d, name) != c:
			return clientError("Duplicate container name '%s'.", name)
		case deref(c.Image) == "":
			return clientError("Container.image should not be null or empty.")
		case !imageName.MatchString(*c.Image):
			return clientError("Container.image contains invalid characters.")
		}
		for _, check := range []func(*types.TaskDefinition, *types.ContainerDefinition) error{
			checkMemory, checkEnvironment, checkProcess, checkMounts, checkNetworkFields, checkHealthCheck, checkLimits,
			checkLinux, checkSystemControls, checkSecurityOptions, checkLogging, checkDevices,
		} {
			if err := check(d, c); err != nil {
				return err
			}
		}
		essential = essential || deref(c.Essential)
	}
	if !essential {
		return clientError("At least one container must be marked as essential.")
	}
	return nil
}

func badSetting(field string, c *types.ContainerDefinition) error {
	return clientError("Invalid '%s' setting for container '%s'.", field, deref(c.Name))
}

func checkMemory(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	memory, reservation := deref(c.Memory), deref(c.MemoryReservation)
	switch {
	case c.Cpu < 0:
		return badSetting("cpu", c)
	case c.Memory != nil && memory != 0 && memory < minMemory:
		return clientError("Invalid setting for container '%s'. The minimum value for 'memory' is %d.", deref(c.Name), minMemory)
	case c.MemoryReservation != nil && reservation != 0 && reservation < minMemory:
		return clientError("Invalid setting for container '%s'. The minimum value for 'memoryReservation' is %d.", deref(c.Name), minMemory)
	case memory == 0 && reservation == 0 && d.Memory == nil:
		return clientError("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", deref(c.Name))
	case memory != 0 && memory < reservation:
		return clientError("Invalid setting for container '%s'. The 'memory' must be greater than or equal to the 'memoryReservation'.", deref(c.Name))
	}
	return nil
}

func checkEnvironment(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	names := map[string]bool{}
	for _, e := range c.Environment {
		if deref(e.Name) == "" {
			return clientError("The environment variable name cannot be empty in container '%s'.", deref(c.Name))
		}
		names[*e.Name] = true
	}
	if len(c.Secrets) > 0 && deref(d.ExecutionRoleArn) == "" {
		return clientError("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
	}
	for _, s := range c.Secrets {
		name := deref(s.Name)
		if name == "" || deref(s.ValueFrom) == "" {
			return badSetting("secrets", c)
		}
		if names[name] {
			return clientError("The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '%s'.", name)
		}
		names[name] = true
	}
	return checkEnvironmentFiles(c.EnvironmentFiles, deref(c.Name))
}

// environmentFile is the ARN of an object in S3.
var environmentFile = regexp.MustCompile(`^arn:[a-z-]+:s3:::[a-z0-9.-]{3,63}/.+$`)

func checkEnvironmentFiles(files []types.EnvironmentFile, container string) error {
	if len(files) > 10 {
		return clientError("Container '%s' can have at most 10 environment files.", container)
	}
	for _, f := range files {
		switch value := deref(f.Value); {
		case !strings.HasSuffix(value, ".env"):
			return clientError("Environment file must have a .env file extension.")
		case !environmentFile.MatchString(value) || hasNUL(value):
			return clientError("Invalid environment file '%s' for container '%s'. It must be the ARN of an object in S3.", value, container)
		}
	}
	return nil
}

// checkProcess checks what the container's process is given: its host name is written into files that it
// reads, and the kernel ends each text at a NUL.
func checkProcess(_ *types.TaskDefinition, c *types.ContainerDefinition) error {
	if h := deref(c.Hostname); h != "" && (len(h) > maxHostName || !hostName.MatchString(h)) {
		return clientError("Invalid 'hostname' setting for container '%s'. A host name has letters, digits, '-' and '.', "+
			"each part begins and ends with a letter or a digit, and the whole is at most %d characters.", deref(c.Name), maxHostName)
	}
	if _, ok := c.DockerLabels[""]; ok {
		return clientError("Invalid 'dockerLabels' setting for container '%s'. The name of a label cannot be empty.", deref(c.Name))
	}
	return checkNUL(c)
}

func checkNUL(c *types.ContainerDefinition) error {
	texts := map[string][]string{
		"command":          c.Command,
		"entryPoint":       c.EntryPoint,
		"workingDirectory": {deref(c.WorkingDirectory)},
		"user":             {deref(c.User)},
	}
	for _, e := range c.Environment {
		texts["environment"] = append(texts["environment"], deref(e.Name), deref(e.Value))
	}
	for _, m := range c.MountPoints {
		texts["mountPoints"] = append(texts["mountPoints"], deref(m.ContainerPath))
	}
	for _, field := range slices.Sorted(maps.Keys(texts)) {
		if slices.ContainsFunc(texts[field], hasNUL) {
			return clientError("Invalid '%s' setting for container '%s'. It contains a NUL character.", field, deref(c.Name))
		}
	}
	return nil
}

func hasNUL(text string) bool { return strings.ContainsRune(text, 0) }

func checkMounts(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	taken := map[string]bool{} // by the one way to write each
	for _, m := range c.MountPoints {
		source, at := deref(m.SourceVolume), deref(m.ContainerPath)
		if !slices.ContainsFunc(d.Volumes, func(v types.Volume) bool { return deref(v.Name) == source }) {
			return clientError("Unknown volume '%s'.", source)
		}
		if at == "" {
			return clientError("The containerPath of a mount point cannot be empty in container '%s'.", deref(c.Name))
		}
		place := path.Clean("/" + at)
		if taken[place] {
			return clientError("Duplicate mount point '%s' in container '%s'.", at, deref(c.Name))
		}
		taken[place] = true
	}
	return nil
}

// checkNetworkFields checks what only some network modes allow. Ports are checked for the task as a whole.
func checkNetworkFields(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	mode := d.NetworkMode
	if len(c.Links) > 0 && mode != "" && mode != types.NetworkModeBridge {
		return clientError("Links are not supported when networkMode=%s.", mode)
	}
	if mode == types.NetworkModeAwsvpc {
		if deref(c.Hostname) != "" {
			return clientError("Hostname is not supported on container when networkMode=awsvpc.")
		}
		if len(c.ExtraHosts) > 0 {
			return clientError("Extra hosts are not supported on container when networkMode=awsvpc.")
		}
	}
	for _, h := range c.ExtraHosts {
		if !hostsName.MatchString(deref(h.Hostname)) {
			return badSetting("extraHosts", c)
		}
		if _, err := netip.ParseAddr(deref(h.IpAddress)); err != nil && deref(h.IpAddress) != "host-gateway" {
			return badSetting("extraHosts", c)
		}
	}
	return nil
}

func checkHealthCheck(_ *types.TaskDefinition, c *types.ContainerDefinition) error {
	h := c.HealthCheck
	if h == nil {
		return nil
	}
	if len(h.Command) == 0 || !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, h.Command[0]) || len(h.Command) < 2 && h.Command[0] != "NONE" {
		return clientError("Invalid healthCheck command for container '%s'. The command must start with CMD or CMD-SHELL.", deref(c.Name))
	}
	for _, r := range []struct {
		field     string
		value     *int32
		low, high int32
	}{
		{"interval", h.Interval, 5, 300},
		{"timeout", h.Timeout, 2, 60},
		{"retries", h.Retries, 1, 10},
		{"startPeriod", h.StartPeriod, 0, 300},
	} {
		if r.value != nil && (*r.value < r.low || *r.value > r.high) {
			return clientError("Invalid healthCheck %s for container '%s'. The value must be between %d and %d.", r.field, deref(c.Name), r.low, r.high)
		}
	}
	return nil
}

func checkLimits(_ *types.TaskDefinition, c *types.ContainerDefinition) error {
	for i, u := range c.Ulimits {
		if slices.ContainsFunc(c.Ulimits[:i], func(o types.Ulimit) bool { return o.Name == u.Name }) {
			return clientError("Duplicate ulimit '%s' in container '%s'.", u.Name, deref(c.Name))
		}
		if u.HardLimit >= 0 && u.SoftLimit > u.HardLimit {
			return clientError("Invalid ulimit '%s' in container '%s'. The softLimit cannot be greater than the hardLimit.", u.Name, deref(c.Name))
		}
	}
	if deref(c.StartTimeout) < 0 {
		return badSetting("startTimeout", c)
	}
	if deref(c.StopTimeout) < 0 {
		return badSetting("stopTimeout", c)
	}
	if r := c.RestartPolicy; r != nil {
		if len(r.IgnoredExitCodes) > 50 {
			return clientError("Container '%s' can have at most 50 ignoredExitCodes.", deref(c.Name))
		}
		if p := r.RestartAttemptPeriod; p != nil && (*p < 60 || *p > 1800) {
			return badSetting("restartAttemptPeriod", c)
		}
	}
	if len(c.CredentialSpecs) > 1 {
		return clientError("Container '%s' can have at most one credentialSpec.", deref(c.Name))
	}
	return nil
}

func checkDevices(_ *types.TaskDefinition, c *types.ContainerDefinition) error {
	for i, r := range c.ResourceRequirements {
		value := deref(r.Value)
		if slices.ContainsFunc(c.ResourceRequirements[:i], func(o types.ResourceRequirement) bool {
			return o.Type == r.Type && r.Type != types.ResourceTypeInferenceAccelerator
		}) {
			return clientError("Duplicate resource requirement %s in container '%s'.", r.Type, deref(c.Name))
		}
		switch r.Type {
		case types.ResourceTypeGpu:
			n, err := strconv.Atoi(value)
			if (value != "") == (r.SharingStrategy != nil) || value != "" && value != "ALL" && (err != nil || n < 1) {
				return clientError("Invalid GPU resource requirement for container '%s'.", deref(c.Name))
			}
		default:
			if value == "" || r.SharingStrategy != nil {
				return clientError("Invalid %s resource requirement for container '%s'.", r.Type, deref(c.Name))
			}
		}
	}
	return nil
}
