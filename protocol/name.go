package protocol

import "strings"

// DockerName is the name that the Amazon ECS container agent gives a container of a task definition's revision in Docker:
// tools know containers by it.
func DockerName(family, version, container, id string) string {
	if id == "" {
		return ""
	}
	reduced := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, container)
	return "ecs-" + family + "-" + version + "-" + reduced + "-" + id[:min(len(id), 20)]
}
