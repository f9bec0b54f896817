package metadata

import (
	"slices"
	"strings"

	"havn/protocol"
)

const endpoint = "http://169.254.170.2"

// Environment returns a container's environment, to which env has come so far, with where it can ask about itself. The
// region is told where neither the image nor the definition says anything of one.
func (i *IDs) Environment(region string) func(task *protocol.Task, name string, env []string) []string {
	return func(task *protocol.Task, name string, env []string) []string {
		id := i.Of(task.ARN, name)
		add := []string{
			"ECS_CONTAINER_METADATA_URI=" + endpoint + "/v3/" + id,
			"ECS_CONTAINER_METADATA_URI_V4=" + endpoint + "/v4/" + id,
			"ECS_AGENT_URI=" + endpoint + "/api/" + id,
		}
		if region != "" && !sets(env, "AWS_REGION") && !sets(env, "AWS_DEFAULT_REGION") {
			add = append(add, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region)
		}
		env = slices.DeleteFunc(slices.Clone(env), func(pair string) bool {
			key, _, _ := strings.Cut(pair, "=")
			return sets(add, key)
		})
		return append(env, add...)
	}
}

func sets(env []string, name string) bool {
	return slices.ContainsFunc(env, func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
}
