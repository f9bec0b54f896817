package dispatch

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// StopOf is what a node is told of a task that is to stop: its name is enough, also for a node that never
// heard of it.
func StopOf(t state.Task) protocol.Task {
	return protocol.Task{ARN: t.ARN, ClusterARN: t.ClusterARN, DesiredStatus: string(lifecycle.Stopped)}
}

// AssignmentOf is what a node is told of a task that is to run: all that it needs, overrides applied. What
// Havn does not act on yet is not in here, because RunTask refuses it. Pinned are the images that its service's earlier
// tasks found.
func AssignmentOf(t state.Task, d state.TaskDefinition, pinned ...types.ContainerImage) protocol.Task {
	spec := state.Overridden(d.Spec, t.Overrides)
	a := protocol.Task{
		ARN:           t.ARN,
		ClusterARN:    t.ClusterARN,
		Family:        d.Family,
		Version:       strconv.Itoa(int(d.Revision)),
		DesiredStatus: string(lifecycle.Running),
		Overrides:     "{}",
		AccountID:     account(t.ARN),
		CPU:           float64(amount(spec.Cpu)) / 1024,
		Memory:        amount(spec.Memory),
		PIDMode:       string(spec.PidMode),
		IPCMode:       string(spec.IpcMode),
		LaunchType:    string(t.LaunchType),
		NetworkMode:   string(networkMode(spec)),
		Group:         t.Group,

		EnableFaultInjection: aws.ToBool(spec.EnableFaultInjection),
	}
	if service, ok := strings.CutPrefix(t.Group, "service:"); ok {
		a.ServiceName = service
	}
	for _, c := range spec.ContainerDefinitions {
		one := container(t, spec, c)
		for _, image := range pinned {
			if aws.ToString(image.ContainerName) == one.Name && c.VersionConsistency != types.VersionConsistencyDisabled {
				one.Image = byDigest(one.Image, aws.ToString(image.ImageDigest))
			}
		}
		a.Containers = append(a.Containers, one)
	}
	for _, c := range a.Containers {
		for _, gpu := range state.GPUsOf(spec, t.Reserved.GPUs, c.Name) {
			a.Associations = append(a.Associations, protocol.Association{Name: gpu, Type: "gpu", Containers: []string{c.Name}})
		}
	}
	for _, v := range spec.Volumes {
		a.Volumes = append(a.Volumes, volume(v))
	}
	return a
}

func container(t state.Task, spec types.TaskDefinition, c types.ContainerDefinition) protocol.Container {
	out := protocol.Container{
		Name:         aws.ToString(c.Name),
		Image:        aws.ToString(c.Image),
		Command:      c.Command,
		Environment:  environment(t.LaunchType, c.Environment),
		Essential:    c.Essential == nil || *c.Essential,
		CPU:          int64(c.Cpu),
		Memory:       int64(aws.ToInt32(c.Memory)),
		Links:        c.Links,
		StartTimeout: int64(aws.ToInt32(c.StartTimeout)),
		StopTimeout:  int64(aws.ToInt32(c.StopTimeout)),
		DockerConfig: dockerConfig(t.ARN[strings.LastIndexByte(t.ARN, '/')+1:], spec, c),
		Overrides:    "{}",
	}
	for _, observed := range t.Containers {
		if observed.Name == out.Name {
			out.ARN = observed.ARN
		}
	}
	if len(c.EntryPoint) > 0 {
		out.EntryPoint = &c.EntryPoint
	}
	for _, p := range c.PortMappings {
		out.PortMappings = append(out.PortMappings, portMapping(spec, p))
	}
	for _, d := range c.DependsOn {
		out.DependsOn = append(out.DependsOn, protocol.Dependency{Container: aws.ToString(d.ContainerName), Condition: string(d.Condition)})
	}
	for _, v := range c.VolumesFrom {
		out.VolumesFrom = append(out.VolumesFrom, protocol.VolumeFrom{SourceContainer: aws.ToString(v.SourceContainer), ReadOnly: aws.ToBool(v.ReadOnly)})
	}
	for _, f := range c.EnvironmentFiles {
		out.EnvironmentFiles = append(out.EnvironmentFiles, protocol.EnvironmentFile{Value: aws.ToString(f.Value), Type: string(f.Type)})
	}
	if f := c.FirelensConfiguration; f != nil {
		out.Firelens = &protocol.Firelens{Type: string(f.Type), Options: f.Options}
	}
	if c.HealthCheck != nil {
		out.HealthCheckType = "docker"
	}
	if p := c.RestartPolicy; p != nil {
		out.RestartPolicy = &protocol.RestartPolicy{Enabled: aws.ToBool(p.Enabled), RestartAttemptPeriod: int64(aws.ToInt32(p.RestartAttemptPeriod))}
		for _, code := range p.IgnoredExitCodes {
			out.RestartPolicy.IgnoredExitCodes = append(out.RestartPolicy.IgnoredExitCodes, int(code))
		}
	}
	for _, m := range c.MountPoints {
		out.MountPoints = append(out.MountPoints, protocol.MountPoint{
			SourceVolume:  aws.ToString(m.SourceVolume),
			ContainerPath: aws.ToString(m.ContainerPath),
			ReadOnly:      aws.ToBool(m.ReadOnly),
		})
	}
	return out
}

// byDigest is an image's reference with a digest in the place of its tag. Developer Guide, "Container image resolution".
func byDigest(image, digest string) string {
	if digest == "" || strings.Contains(image, "@") {
		return image
	}
	if at := strings.LastIndexByte(image, ':'); at > strings.LastIndexByte(image, '/') {
		image = image[:at]
	}
	return image + "@" + digest
}

// environment is the container's as a map. The agent adds the metadata endpoints itself; what runs the task
// is for the server to say, and for the user to overrule.
func environment(launch types.LaunchType, list []types.KeyValuePair) map[string]string {
	env := map[string]string{}
	if launch == "" {
		launch = types.LaunchTypeEc2
	}
	env["AWS_EXECUTION_ENV"] = "AWS_ECS_" + string(launch)
	for _, pair := range list {
		env[aws.ToString(pair.Name)] = aws.ToString(pair.Value)
	}
	return env
}

func portMapping(spec types.TaskDefinition, p types.PortMapping) protocol.PortMapping {
	out := protocol.PortMapping{
		ContainerPort:      uint16(aws.ToInt32(p.ContainerPort)),
		HostPort:           uint16(aws.ToInt32(p.HostPort)),
		ContainerPortRange: aws.ToString(p.ContainerPortRange),
		Protocol:           string(p.Protocol),
	}
	if out.Protocol == "" {
		out.Protocol = string(types.TransportProtocolTcp)
	}
	if networkMode(spec) == types.NetworkModeHost {
		out.HostPort = out.ContainerPort // there is no other port that it could be
	}
	return out
}

// volume carries a host path, an empty host, which is a folder that the node makes for the task, or one of the other
// kinds of volumes.
func volume(v types.Volume) protocol.Volume {
	out := protocol.Volume{Name: aws.ToString(v.Name), Type: "host"}
	switch {
	case v.DockerVolumeConfiguration != nil:
		d := v.DockerVolumeConfiguration
		out.Type = "docker"
		out.Docker = &protocol.DockerVolume{Scope: string(d.Scope), Autoprovision: aws.ToBool(d.Autoprovision),
			Driver: aws.ToString(d.Driver), DriverOpts: d.DriverOpts, Labels: d.Labels}
	case v.EfsVolumeConfiguration != nil:
		e := v.EfsVolumeConfiguration
		out.Type = "efs"
		out.EFS = &protocol.EFSVolume{FileSystemID: aws.ToString(e.FileSystemId), RootDirectory: aws.ToString(e.RootDirectory),
			TransitEncryption: string(e.TransitEncryption), TransitEncryptionPort: int64(aws.ToInt32(e.TransitEncryptionPort))}
		if a := e.AuthorizationConfig; a != nil {
			out.EFS.AuthorizationConfig = &protocol.EFSAuthorization{AccessPointID: aws.ToString(a.AccessPointId), IAM: string(a.Iam)}
		}
	default:
		out.Host = &protocol.HostVolume{}
		if v.Host != nil {
			out.Host.SourcePath = aws.ToString(v.Host.SourcePath)
		}
	}
	return out
}

func networkMode(spec types.TaskDefinition) types.NetworkMode {
	if spec.NetworkMode == "" {
		return types.NetworkModeBridge // ECS's default on Linux
	}
	return spec.NetworkMode
}

// amount reads a task's CPU units or MiB: a plain number, because the API keeps no other form.
func amount(text *string) int64 {
	n, _ := strconv.ParseInt(aws.ToString(text), 10, 64) //nolint:errcheck // or absent
	return n
}

// account is the owner's, out of an ARN: arn:aws:ecs:region:account:...
func account(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

// text is a document of plain strings and numbers, which cannot fail to encode.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("dispatch: " + err.Error())
	}
	return string(b)
}
