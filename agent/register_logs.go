package agent

// logCapabilities are those of capabilities that are about logs. The role that awslogs acts in is the node's own.
var logCapabilities = []string{
	"com.amazonaws.ecs.capability.logging-driver.awslogs",
	"com.amazonaws.ecs.capability.logging-driver.fluentd",
	"com.amazonaws.ecs.capability.logging-driver.json-file",
	"ecs.capability.execution-role-awslogs",
}
