package ecs

import (
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// unsupportedLogOptions names the options that Docker takes and that nothing comes of on a node. Their values are not
// named: one may be a secret.
func unsupportedLogOptions(l *types.LogConfiguration) []string {
	if l == nil {
		return nil
	}
	var found []string
	for _, option := range slices.Sorted(maps.Keys(l.Options)) {
		if !logOptionActs(l, option) {
			found = append(found, option)
		}
	}
	return found
}

func logOptionActs(l *types.LogConfiguration, option string) bool {
	switch l.LogDriver {
	case types.LogDriverSyslog:
		if strings.HasPrefix(option, "syslog-tls-") {
			return strings.HasPrefix(l.Options["syslog-address"], "tcp+tls:")
		}
		return !strings.HasPrefix(option, "labels") && !strings.HasPrefix(option, "env") // a message has no place for them
	case types.LogDriverGelf:
		if strings.HasPrefix(option, "gelf-compression-") {
			return strings.HasPrefix(l.Options["gelf-address"], "udp:")
		}
		return !strings.HasPrefix(option, "gelf-tcp-") // a node tries for ever, less and less often
	}
	return true
}
