package agent

import "os"

// logCapabilities are those of capabilities that are about logs. The role that awslogs acts in is the node's own.
var logCapabilities = []string{
	"com.amazonaws.ecs.capability.logging-driver.awsfirelens",
	"com.amazonaws.ecs.capability.logging-driver.awslogs",
	"com.amazonaws.ecs.capability.logging-driver.fluentd",
	"com.amazonaws.ecs.capability.logging-driver.gelf",
	"com.amazonaws.ecs.capability.logging-driver.json-file",
	"com.amazonaws.ecs.capability.logging-driver.splunk",
	"com.amazonaws.ecs.capability.logging-driver.syslog",
	"ecs.capability.execution-role-awslogs",
	"ecs.capability.firelens.fluentbit",
	"ecs.capability.firelens.fluentd",
	"ecs.capability.firelens.options.config.file",
	"ecs.capability.firelens.options.config.s3",
}

// journalCapability is the capability of a node on which systemd's journal takes entries. What the journal's socket is called says
// systemd, "Native Journal Protocol".
func journalCapability() []string {
	if _, err := os.Stat("/run/systemd/journal/socket"); err != nil {
		return nil
	}
	return []string{"com.amazonaws.ecs.capability.logging-driver.journald"}
}
