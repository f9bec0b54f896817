package ecs

import (
	"reflect"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// What is acted on of the requests that make and change a service, as runnable.go has it for tasks. CreateService and
// UpdateService share these tables.

// actedOnInService are the members of CreateService and UpdateService that are acted on.
var actedOnInService = paths(`
	cluster
	serviceName
	service
	forceNewDeployment
	clientToken
	taskDefinition
	desiredCount
	capacityProviderStrategy.capacityProvider
	capacityProviderStrategy.base
	capacityProviderStrategy.weight
	launchType
	schedulingStrategy
	deploymentController.type
	healthCheckGracePeriodSeconds
	availabilityZoneRebalancing
	placementConstraints.type
	placementConstraints.expression
	placementStrategy.type
	placementStrategy.field
	propagateTags
	enableECSManagedTags
	tags.key
	tags.value
	loadBalancers.targetGroupArn
	loadBalancers.containerName
	loadBalancers.containerPort
	loadBalancers.advancedConfiguration.alternateTargetGroupArn
	loadBalancers.advancedConfiguration.productionListenerRule
	loadBalancers.advancedConfiguration.testListenerRule
	deploymentConfiguration.strategy
	deploymentConfiguration.minimumHealthyPercent
	deploymentConfiguration.maximumPercent
	deploymentConfiguration.bakeTimeInMinutes
	deploymentConfiguration.deploymentCircuitBreaker.enable
	deploymentConfiguration.deploymentCircuitBreaker.rollback
	deploymentConfiguration.deploymentCircuitBreaker.resetOnHealthyTask
	deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.type
	deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.value
	deploymentConfiguration.earlySuccessCriteria.enable
	deploymentConfiguration.earlySuccessCriteria.healthyPercent
	deploymentConfiguration.earlySuccessCriteria.sourceServiceRevisionCleanup
	deploymentConfiguration.linearConfiguration.stepPercent
	deploymentConfiguration.linearConfiguration.stepBakeTimeInMinutes
	deploymentConfiguration.canaryConfiguration.canaryPercent
	deploymentConfiguration.canaryConfiguration.canaryBakeTimeInMinutes
	deploymentConfiguration.lifecycleHooks.hookTargetArn
	deploymentConfiguration.lifecycleHooks.hookDetails
	deploymentConfiguration.lifecycleHooks.lifecycleStages
	deploymentConfiguration.lifecycleHooks.targetType
	deploymentConfiguration.lifecycleHooks.timeoutConfiguration.action
	deploymentConfiguration.lifecycleHooks.timeoutConfiguration.timeoutInMinutes
`)

// descriptiveInService are the members that there is nothing to do for but to keep and describe them.
var descriptiveInService = map[string]string{
	"role": "nothing is to be permitted: Havn's load balancers are its own",
	"loadBalancers.advancedConfiguration.roleArn":    "nothing is to be permitted: Havn's load balancers are its own",
	"deploymentConfiguration.lifecycleHooks.roleArn": "nothing is to be permitted: a hook is called over HTTP",
}

// refusedInService are the members that are not acted on, and why.
var refusedInService = map[string]string{
	"deploymentConfiguration.alarms": "metrics are to come; alarms that are not enabled are kept and described",
	"enableExecuteCommand":           "ECS Exec is to come",
	"gatewayConnectors":              "Service Gateway is of AWS's own",
	"loadBalancers.loadBalancerName": "Classic Load Balancers are of the past",
	"monitoring":                     "metrics are to come",
	"networkConfiguration":           "awsvpc is to come",
	"platformVersion":                "of FARGATE, which is to come",
	"serviceConnectConfiguration":    "Service Connect is to come; enabled=false is taken",
	"serviceRegistries":              "Cloud Map is to come",
	"volumeConfigurations":           "of EBS",
	"vpcLatticeConfigurations":       "VPC Lattice is of AWS's own",
}

var restrictedInService = map[string][]string{
	"launchType":                {string(types.LaunchTypeEc2)},
	"deploymentController.type": {string(types.DeploymentControllerTypeEcs), string(types.DeploymentControllerTypeExternal)},
}

// notesInService say in docs/coverage.md how a member is acted on, where that is not plain.
var notesInService = map[string]string{
	"service":            "of UpdateService",
	"forceNewDeployment": "of UpdateService",
	"launchType":         "EC2; CreateService without one is refused in a cluster whose default capacity provider strategy is Fargate's",
	"capacityProviderStrategy.capacityProvider":            "one of Auto Scaling groups; FARGATE and FARGATE_SPOT are to come and are refused",
	"deploymentController.type":                            "ECS, EXTERNAL; CODE_DEPLOY is refused; it cannot be changed",
	"deploymentConfiguration.lifecycleHooks.hookTargetArn": "an http:// or https:// URL of a hook of Havn's own; a Lambda function's ARN is refused",
}

// passedInService are the members that keep no service from being made.
var passedInService = passed(actedOnInService, descriptiveInService)

// unsupportedInService names the members that a CreateService sets and that cannot be acted on.
func unsupportedInService(in *ecs.CreateServiceInput) []string {
	asked := *in
	asked.DeploymentConfiguration = withoutIdleAlarms(in.DeploymentConfiguration)
	return unsupportedMembers(reflect.ValueOf(asked), passedInService, restrictedInService)
}

// unsupportedInUpdate does the same for UpdateService.
func unsupportedInUpdate(in *ecs.UpdateServiceInput) []string {
	asked := *in
	asked.DeploymentConfiguration = withoutIdleAlarms(in.DeploymentConfiguration)
	return unsupportedMembers(reflect.ValueOf(asked), passedInService, restrictedInService)
}

// withoutIdleAlarms leaves out alarms that are not enabled: they ask for nothing.
func withoutIdleAlarms(c *types.DeploymentConfiguration) *types.DeploymentConfiguration {
	if c == nil || c.Alarms == nil || c.Alarms.Enable {
		return c
	}
	without := *c
	without.Alarms = nil
	return &without
}
