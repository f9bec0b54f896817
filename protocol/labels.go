package protocol

import "strings"

// ClusterName is the last part of the cluster's ARN.
func (t *Task) ClusterName() string { return t.ClusterARN[strings.LastIndexByte(t.ClusterARN, '/')+1:] }

// Labels are those that ECS's agent gives to each container of a task, beside the user's own. Amazon ECS developer
// guide, "Task metadata endpoint": the cluster is its name, as an agent is configured with it.
func (t *Task) Labels(container string) map[string]string {
	return map[string]string{
		"com.amazonaws.ecs.task-arn":                t.ARN,
		"com.amazonaws.ecs.container-name":          container,
		"com.amazonaws.ecs.task-definition-family":  t.Family,
		"com.amazonaws.ecs.task-definition-version": t.Version,
		"com.amazonaws.ecs.cluster":                 t.ClusterName(),
	}
}
