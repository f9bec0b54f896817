package ecs

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// unsupportedValues names what containers ask for by values of members that are otherwise acted on.
func unsupportedValues(containers []types.ContainerDefinition) []string {
	var found []string
	for _, c := range containers {
		refuse := func(member, value string) {
			found = append(found, fmt.Sprintf("containerDefinitions[%s].%s (%s)", deref(c.Name), member, value))
		}
		for _, option := range c.DockerSecurityOptions {
			if strings.HasPrefix(option, "credentialspec:") {
				refuse("dockerSecurityOptions", option)
			}
		}
		for _, r := range c.ResourceRequirements {
			switch {
			case r.Type != types.ResourceTypeGpu:
				refuse("resourceRequirements", string(r.Type))
			case deref(r.Value) == "ALL":
				refuse("resourceRequirements", "GPU ALL")
			}
		}
		for _, option := range unsupportedLogOptions(c.LogConfiguration) {
			refuse("logConfiguration.options", option)
		}
	}
	return found
}
