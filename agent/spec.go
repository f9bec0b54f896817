package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// The limits of what an assignment says of the lives of its containers. The API allows less of most.
const (
	MaxRestartPeriod = 30 * time.Minute
	MaxIgnoredCodes  = 50
	MinHealthTime    = time.Second // of an interval and a timeout
	MaxHealthTime    = 24 * time.Hour
	MaxHealthRetries = 1000
)

// Docker's defaults of a health check. Dockerfile reference, "HEALTHCHECK".
const (
	defaultHealthTime    = 30 * time.Second // interval and timeout
	defaultHealthRetries = 3
)

// specs is what lifecycle needs to know of a task's containers; or why they cannot be taken.
func specs(t *protocol.Task) (all []lifecycle.Spec, refused string) {
	router := ""
	for _, c := range t.Containers {
		if c.Firelens != nil {
			router = c.Name
		}
	}
	for _, c := range t.Containers {
		spec := lifecycle.Spec{Name: c.Name, Essential: c.Essential, StopTimeout: seconds(c.StopTimeout), StartTimeout: seconds(c.StartTimeout)}
		var config protocol.ContainerConfig
		var host protocol.HostConfig
		if d := c.DockerConfig; d != nil {
			if err := decode(d.Config, &config); err != nil {
				return nil, fmt.Sprintf("container %s: cannot decode its docker config: %v", c.Name, err)
			}
			if err := decode(d.HostConfig, &host); err != nil {
				return nil, fmt.Sprintf("container %s: cannot decode its docker hostConfig: %v", c.Name, err)
			}
		}
		spec.DependsOn = dependencies(&c)
		if host.LogConfig.Driver() == "awsfirelens" && router != "" && router != c.Name {
			spec.DependsOn = append(spec.DependsOn, lifecycle.Dependency{On: router, Until: lifecycle.UntilStarted})
			spec.Router = router
		}
		spec.Ships = host.LogConfig.Ships()
		if spec.Restart, refused = restartPolicy(c.RestartPolicy); refused == "" {
			spec.Check, refused = healthCheck(config.Healthcheck)
		}
		if refused != "" {
			return nil, fmt.Sprintf("container %s: %s", c.Name, refused)
		}
		all = append(all, spec)
	}
	if why := lifecycle.CheckOrder(all); why != "" {
		return nil, fmt.Sprintf("Task dependencies cannot be resolved, taskArn: %s: %s", t.ARN, why)
	}
	return all, ""
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// decode reads one of Docker's documents; an empty text says nothing.
func decode(text string, into any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}

// dependencies are those that were asked for and those that links and volumesFrom imply.
func dependencies(c *protocol.Container) []lifecycle.Dependency {
	var all []lifecycle.Dependency
	for _, d := range c.DependsOn {
		all = append(all, lifecycle.Dependency{On: d.Container, Until: lifecycle.Condition(d.Condition)})
	}
	for _, link := range c.Links {
		name, _, _ := strings.Cut(link, ":")
		all = append(all, lifecycle.Dependency{On: name, Until: lifecycle.UntilStarted})
	}
	for _, v := range c.VolumesFrom {
		all = append(all, lifecycle.Dependency{On: v.SourceContainer, Until: lifecycle.UntilCreated})
	}
	return all
}

func restartPolicy(p *protocol.RestartPolicy) (policy lifecycle.RestartPolicy, refused string) {
	if p == nil || !p.Enabled {
		return policy, ""
	}
	policy = lifecycle.RestartPolicy{Enabled: true, Ignored: p.IgnoredExitCodes, Period: lifecycle.DefaultRestartPeriod}
	switch period := p.RestartAttemptPeriod; {
	case period < 0 || period > int64(MaxRestartPeriod/time.Second):
		return policy, fmt.Sprintf("restartAttemptPeriod must be from 0 to %.0f s", MaxRestartPeriod.Seconds())
	case len(p.IgnoredExitCodes) > MaxIgnoredCodes:
		return policy, fmt.Sprintf("there can be at most %d ignoredExitCodes", MaxIgnoredCodes)
	case period > 0:
		policy.Period = seconds(period)
	}
	return policy, ""
}

// healthCheck reads Docker's document. One that only the image has does not count: ECS does not look there.
func healthCheck(h *protocol.Healthcheck) (check lifecycle.HealthCheck, refused string) {
	if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" {
		return check, ""
	}
	check = lifecycle.HealthCheck{Interval: defaultHealthTime, Timeout: defaultHealthTime,
		StartPeriod: time.Duration(h.StartPeriod), Retries: defaultHealthRetries}
	if h.Interval != 0 {
		check.Interval = time.Duration(h.Interval)
	}
	if h.Timeout != 0 {
		check.Timeout = time.Duration(h.Timeout)
	}
	if h.Retries != 0 {
		check.Retries = h.Retries
	}
	switch {
	case h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL" || len(h.Test) < 2:
		return check, "its health check is neither CMD nor CMD-SHELL with a command"
	case min(check.Interval, check.Timeout) < MinHealthTime || max(check.Interval, check.Timeout, check.StartPeriod) > MaxHealthTime || check.StartPeriod < 0:
		return check, fmt.Sprintf("the times of its health check must be from %v to %v", MinHealthTime, MaxHealthTime)
	case check.Retries < 0 || check.Retries > MaxHealthRetries:
		return check, fmt.Sprintf("its health check must have 1 to %d retries", MaxHealthRetries)
	}
	return check, ""
}
