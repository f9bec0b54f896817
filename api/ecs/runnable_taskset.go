package ecs

import (
	"reflect"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// What is acted on of CreateTaskSet, as runnable_service.go has it for services.

var actedOnInTaskSet = paths(`
	cluster
	service
	taskDefinition
	externalId
	clientToken
	launchType
	capacityProviderStrategy.capacityProvider
	capacityProviderStrategy.base
	capacityProviderStrategy.weight
	loadBalancers.targetGroupArn
	loadBalancers.containerName
	loadBalancers.containerPort
	scale.unit
	scale.value
	tags.key
	tags.value
`)

var refusedInTaskSet = map[string]string{
	"loadBalancers.advancedConfiguration": "of the strategies BLUE_GREEN, LINEAR and CANARY",
	"loadBalancers.loadBalancerName":      "Classic Load Balancers are of the past",
	"networkConfiguration":                "awsvpc is to come",
	"platformVersion":                     "of FARGATE, which is to come",
	"serviceRegistries":                   "Cloud Map is to come",
}

var notesInTaskSet = map[string]string{
	"launchType": "EC2",
	"capacityProviderStrategy.capacityProvider": notesInService["capacityProviderStrategy.capacityProvider"],
}

// unsupportedInTaskSet names the members that a CreateTaskSet sets and that cannot be acted on.
func unsupportedInTaskSet(in *ecs.CreateTaskSetInput) []string {
	return unsupportedMembers(reflect.ValueOf(*in), actedOnInTaskSet, restrictedInRun)
}
