package ecs

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// normalizeDefinition writes a task definition as ECS prints it back: numbers in one form, defaults filled
// in where ECS fills them in, and the lists that ECS always prints never nil. Tools compare what they wrote
// with what they read, and take every difference for a change.
//
// It is idempotent, and makes new lists where it changes an element: the caller keeps his.
func normalizeDefinition(d *types.TaskDefinition) error {
	var ok bool
	if d.Cpu != nil {
		if d.Cpu, ok = normalizeAmount(*d.Cpu, "vcpu", 1024); !ok {
			return clientError("Invalid 'cpu' setting for task.")
		}
	}
	if d.Memory != nil {
		if d.Memory, ok = normalizeAmount(*d.Memory, "gb", 1024); !ok {
			return clientError("Invalid 'memory' setting for task.")
		}
	}
	if d.EnableFaultInjection == nil {
		d.EnableFaultInjection = ptr(false)
	}
	if len(d.RequiresCompatibilities) == 0 {
		d.RequiresCompatibilities = nil
	}
	d.PlacementConstraints = listed(d.PlacementConstraints)
	d.Volumes = listed(slices.Clone(d.Volumes))
	for i := range d.Volumes {
		normalizeVolume(&d.Volumes[i])
	}
	d.ContainerDefinitions = listed(slices.Clone(d.ContainerDefinitions))
	for i := range d.ContainerDefinitions {
		normalizeContainer(&d.ContainerDefinitions[i], d.NetworkMode)
	}
	return nil
}

// normalizeAmount reads "512", or "0.5 vCPU" in units of 1024, and writes the first form.
func normalizeAmount(text, unit string, scale float64) (*string, bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	number, ok := strings.CutSuffix(text, unit)
	if !ok {
		n, err := strconv.ParseInt(text, 10, 32)
		return ptr(strconv.FormatInt(n, 10)), err == nil && n > 0
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(f > 0) || f*scale > math.MaxInt32 || f*scale != math.Trunc(f*scale) {
		return nil, false
	}
	return ptr(strconv.FormatInt(int64(f*scale), 10)), true
}

func normalizeVolume(v *types.Volume) {
	if v.Host == nil && v.DockerVolumeConfiguration == nil && v.EfsVolumeConfiguration == nil &&
		v.FsxWindowsFileServerVolumeConfiguration == nil && v.S3filesVolumeConfiguration == nil && !deref(v.ConfiguredAtLaunch) {
		v.Host = &types.HostVolumeProperties{}
	}
	if c := v.DockerVolumeConfiguration; c != nil && c.Scope == "" {
		c := *c
		c.Scope = types.ScopeTask
		v.DockerVolumeConfiguration = &c
	}
	if c := v.EfsVolumeConfiguration; c != nil && deref(c.RootDirectory) == "" {
		c := *c
		c.RootDirectory = ptr("/")
		v.EfsVolumeConfiguration = &c
	}
}

func normalizeContainer(c *types.ContainerDefinition, mode types.NetworkMode) {
	if c.Essential == nil {
		c.Essential = ptr(true)
	}
	c.Environment = listed(c.Environment)
	c.MountPoints = listed(c.MountPoints)
	c.VolumesFrom = listed(c.VolumesFrom)
	c.SystemControls = listed(c.SystemControls)
	c.PortMappings = listed(slices.Clone(c.PortMappings))
	for i := range c.PortMappings {
		normalizePort(&c.PortMappings[i], mode)
	}
	if l := c.LogConfiguration; l != nil && l.SecretOptions == nil {
		l := *l
		l.SecretOptions = []types.Secret{}
		c.LogConfiguration = &l
	}
	if h := c.HealthCheck; h != nil {
		h := *h
		h.Interval = otherwise(h.Interval, 30)
		h.Timeout = otherwise(h.Timeout, 5)
		h.Retries = otherwise(h.Retries, 3)
		c.HealthCheck = &h
	}
	if r := c.RestartPolicy; r != nil && deref(r.Enabled) && r.RestartAttemptPeriod == nil {
		r := *r
		r.RestartAttemptPeriod = ptr[int32](300)
		c.RestartPolicy = &r
	}
}

func normalizePort(p *types.PortMapping, mode types.NetworkMode) {
	if p.Protocol == "" {
		p.Protocol = types.TransportProtocolTcp
	}
	if deref(p.HostPort) != 0 || p.ContainerPort == nil {
		return
	}
	switch mode {
	case types.NetworkModeAwsvpc, types.NetworkModeHost:
		p.HostPort = p.ContainerPort
	default:
		p.HostPort = ptr[int32](0)
	}
}

func otherwise(p *int32, v int32) *int32 {
	if p == nil {
		return &v
	}
	return p
}
