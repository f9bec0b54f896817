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
	}
	return found
}
