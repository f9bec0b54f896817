package ecs

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// A task must run as it was described or not at all. What nodes can act on is listed here, member by member
// of the vocabulary; a request that sets any other member is refused, and the member is named. A member
// that is new in the SDK is refused until somebody adds it here, because it does not stand here.
//
// Paths are of wire names, without list positions. An entry stands for the member and all below it.

// actedOnInDefinition are the members of a task definition that a node acts on, or that ask nothing of it.
var actedOnInDefinition = paths(`
	family
	cpu
	memory
	networkMode
	pidMode
	ipcMode
	placementConstraints
	enableFaultInjection
	requiresCompatibilities
	runtimePlatform
	tags
	executionRoleArn
	volumes.name
	volumes.host
	volumes.dockerVolumeConfiguration.scope
	volumes.dockerVolumeConfiguration.autoprovision
	volumes.dockerVolumeConfiguration.driver
	volumes.dockerVolumeConfiguration.driverOpts
	volumes.dockerVolumeConfiguration.labels
	volumes.efsVolumeConfiguration.fileSystemId
	volumes.efsVolumeConfiguration.rootDirectory
	volumes.efsVolumeConfiguration.transitEncryption
	volumes.efsVolumeConfiguration.transitEncryptionPort
	volumes.efsVolumeConfiguration.authorizationConfig.accessPointId
	volumes.efsVolumeConfiguration.authorizationConfig.iam
	containerDefinitions.name
	containerDefinitions.image
	containerDefinitions.command
	containerDefinitions.entryPoint
	containerDefinitions.environment
	containerDefinitions.workingDirectory
	containerDefinitions.user
	containerDefinitions.privileged
	containerDefinitions.readonlyRootFilesystem
	containerDefinitions.interactive
	containerDefinitions.pseudoTerminal
	containerDefinitions.dockerSecurityOptions
	containerDefinitions.ulimits
	containerDefinitions.systemControls
	containerDefinitions.linuxParameters
	containerDefinitions.resourceRequirements
	containerDefinitions.essential
	containerDefinitions.dependsOn
	containerDefinitions.startTimeout
	containerDefinitions.stopTimeout
	containerDefinitions.restartPolicy
	containerDefinitions.healthCheck
	containerDefinitions.cpu
	containerDefinitions.memory
	containerDefinitions.memoryReservation
	containerDefinitions.hostname
	containerDefinitions.dockerLabels
	containerDefinitions.mountPoints
	containerDefinitions.volumesFrom
	containerDefinitions.environmentFiles
	containerDefinitions.links
	containerDefinitions.dnsServers
	containerDefinitions.dnsSearchDomains
	containerDefinitions.extraHosts
	containerDefinitions.disableNetworking
	containerDefinitions.portMappings.containerPort
	containerDefinitions.portMappings.hostPort
	containerDefinitions.portMappings.containerPortRange
	containerDefinitions.portMappings.protocol
	containerDefinitions.portMappings.name
	containerDefinitions.portMappings.appProtocol
	containerDefinitions.versionConsistency
	containerDefinitions.logConfiguration.logDriver
	containerDefinitions.logConfiguration.options
`)

// restrictedInDefinition are the members above of which only some values are acted on.
var restrictedInDefinition = map[string][]string{
	"networkMode": {string(types.NetworkModeBridge), string(types.NetworkModeHost), string(types.NetworkModeNone)},
	"volumes.dockerVolumeConfiguration.driver":               {"local"},
	"volumes.efsVolumeConfiguration.authorizationConfig.iam": {string(types.EFSAuthorizationConfigIAMDisabled)},
	"containerDefinitions.logConfiguration.logDriver":        {string(types.LogDriverJsonFile), string(types.LogDriverAwslogs)},
}

// notes say in docs/coverage.md how a member is acted on, where that is not plain.
var notes = map[string]string{
	"executionRoleArn":     "nothing that a node does now needs the role; what would need it is refused by itself",
	"enableFaultInjection": "in bridge mode, for the container that asks; in host mode its endpoint refuses, since a fault would hurt others",
	"runtimePlatform":      "becomes a required attribute of the container instance",
	"tags":                 "",
	"volumes.host":         "with sourcePath, or a folder of the task's own",
	"volumes.dockerVolumeConfiguration.autoprovision":                  "a shared volume that is missing fails the task without it",
	"volumes.dockerVolumeConfiguration.driver":                         "local; any other is refused by name",
	"volumes.dockerVolumeConfiguration.driverOpts":                     "type, device and o, as of Docker's driver local: tmpfs, bind, NFS and whatever the node's kernel mounts",
	"volumes.dockerVolumeConfiguration.labels":                         "kept in the volume's record, volume.json beside its content",
	"volumes.efsVolumeConfiguration.fileSystemId":                      "the operator says with --efs what stands for it: an NFS export, or a folder of the node",
	"volumes.efsVolumeConfiguration.transitEncryption":                 "a folder of the node, or an NFS export with the option xprtsec=tls, mtls or sec=krb5p; else the task fails and says so",
	"volumes.efsVolumeConfiguration.transitEncryptionPort":             "of a helper that is not needed here; nothing to do on the node",
	"volumes.efsVolumeConfiguration.authorizationConfig.accessPointId": "the operator says with --efs what stands for it",
	"volumes.efsVolumeConfiguration.authorizationConfig.iam":           "DISABLED; NFS knows nothing of IAM",
	"containerDefinitions.startTimeout":                                "bounds COMPLETE, SUCCESS and HEALTHY, from the start of the container that is waited for",
	"containerDefinitions.healthCheck":                                 "CMD, CMD-SHELL, NONE; a HEALTHCHECK of the image does not count, as in ECS",
	"containerDefinitions.environmentFiles":                            "the operator says with --bucket which folder stands for a bucket",
	"containerDefinitions.disableNetworking":                           "a loopback interface alone; port mappings of the container then lead nowhere, as in Docker",
	"placementConstraints":                                             "memberOf, with the whole cluster query language",
	"networkMode":                                                      "bridge, host, none",
	"requiresCompatibilities":                                          "checked at registration; RunTask on FARGATE is refused",
	"containerDefinitions.portMappings.name":                           "a name for others to refer to; nothing to do on the node",
	"containerDefinitions.portMappings.appProtocol":                    "a hint for Service Connect; nothing to do on the node",
	"containerDefinitions.versionConsistency":                          "concerns the tasks of a service only",
	"pidMode": "host, task",
	"ipcMode": "host, task, none",
	"containerDefinitions.dockerSecurityOptions":      "no-new-privileges; apparmor and label on nodes whose kernel has AppArmor or SELinux; credentialspec is refused",
	"containerDefinitions.resourceRequirements":       "a number of GPUs, on nodes whose vendor's tools describe them by CDI; ALL, sharingStrategy, NeuronDevice and InferenceAccelerator are refused",
	"containerDefinitions.interactive":                "standard input stays open, and nothing comes",
	"containerDefinitions.linuxParameters":            "all of it; swappiness on nodes with cgroup version 1, as in ECS",
	"containerDefinitions.logConfiguration.logDriver": "json-file with rotation, awslogs into Havn's own CloudWatch Logs or another",
}

// actedOnInRun are the members of RunTask and StartTask that are acted on.
var actedOnInRun = paths(`
	cluster
	taskDefinition
	containerInstances
	count
	clientToken
	enableECSManagedTags
	group
	launchType
	placementConstraints
	placementStrategy
	propagateTags
	referenceId
	startedBy
	tags
	overrides.cpu
	overrides.memory
	overrides.executionRoleArn
	overrides.containerOverrides.name
	overrides.containerOverrides.command
	overrides.containerOverrides.environment
	overrides.containerOverrides.environmentFiles
	overrides.containerOverrides.cpu
	overrides.containerOverrides.memory
	overrides.containerOverrides.memoryReservation
	overrides.containerOverrides.resourceRequirements
`)

var restrictedInRun = map[string][]string{
	"launchType": {string(types.LaunchTypeEc2)},
}

// notesInRun and notesOnOperations say the same of RunTask and StartTask, and of whole operations.
var (
	notesInRun = map[string]string{
		"overrides.executionRoleArn": "as executionRoleArn of the task definition",
		"launchType":                 "EC2; RunTask without one is refused in a cluster that has a default capacity provider strategy",
	}
	notesOnOperations = map[string]string{
		"CreateCluster":               "as PutClusterCapacityProviders, for the capacity providers that it is given",
		"PutClusterCapacityProviders": "checks, stores and describes FARGATE and FARGATE_SPOT; no task runs on them yet, so RunTask without a launch type is refused in a cluster that has a default capacity provider strategy",
	}
)

func paths(text string) map[string]bool {
	set := map[string]bool{}
	for _, path := range strings.Fields(text) {
		set[path] = true
	}
	return set
}

// unsupportedInDefinition names the members that the definition sets and no node can act on.
func unsupportedInDefinition(d types.TaskDefinition) []string {
	// What ECS works out by itself is not asked of the node.
	d.Compatibilities, d.RequiresAttributes = nil, nil
	d.TaskDefinitionArn, d.Revision, d.Status, d.RegisteredBy = nil, 0, "", nil
	d.RegisteredAt, d.DeregisteredAt, d.DeleteRequestedAt = nil, nil, nil
	members := unsupportedMembers(reflect.ValueOf(d), actedOnInDefinition, restrictedInDefinition)
	return append(members, unsupportedValues(d.ContainerDefinitions)...)
}

// unsupportedInRun names the members that a RunTask sets and that cannot be acted on.
func unsupportedInRun(in *ecs.RunTaskInput) []string {
	return unsupportedMembers(reflect.ValueOf(*in), actedOnInRun, restrictedInRun)
}

// unsupportedInStart does the same for StartTask.
func unsupportedInStart(in *ecs.StartTaskInput) []string {
	return unsupportedMembers(reflect.ValueOf(*in), actedOnInRun, restrictedInRun)
}

// refuseUnsupported is the error for members that cannot be acted on; nil where there are none.
func refuseUnsupported(members []string) error {
	if len(members) == 0 {
		return nil
	}
	return unsupported("Havn cannot run this yet, because its nodes cannot act on: %s. See docs/coverage.md.", strings.Join(members, ", "))
}

// refuseDefaultStrategy refuses a RunTask that leaves it to the cluster where its tasks run, where the cluster
// has capacity providers for that. ECS would use them; a container instance is not what they stand for.
func refuseDefaultStrategy(c state.Cluster, in *ecs.RunTaskInput) error {
	if in.LaunchType != "" || len(in.CapacityProviderStrategy) > 0 || len(c.DefaultCapacityProviderStrategy) == 0 {
		return nil
	}
	var items []string
	for _, item := range c.DefaultCapacityProviderStrategy {
		items = append(items, fmt.Sprintf("%s (weight %d, base %d)", deref(item.CapacityProvider), item.Weight, item.Base))
	}
	return unsupported("Havn cannot run this yet, because it would run on the default capacity provider strategy of the cluster %s: %s. "+
		"To run it on the cluster's container instances, ask for the launch type EC2 (--launch-type EC2).", c.Name, strings.Join(items, ", "))
}

func unsupportedMembers(v reflect.Value, acted map[string]bool, restricted map[string][]string) []string {
	w := walk{acted: acted, restricted: restricted, found: map[string]bool{}}
	w.value("", "", v)
	return slices.Sorted(maps.Keys(w.found))
}

// walk goes through all members that are set.
type walk struct {
	acted      map[string]bool
	restricted map[string][]string
	found      map[string]bool
}

// value looks at one value: path is as in the tables, shown names the container or position as well.
func (w *walk) value(path, shown string, v reflect.Value) {
	if unset(v) {
		return
	}
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.String {
		v = v.Elem()
	}
	if values, ok := w.restricted[path]; ok && v.Kind() == reflect.String {
		if !slices.Contains(values, v.String()) {
			w.found[fmt.Sprintf("%s (%s)", shown, v.String())] = true
		}
		return
	}
	if w.acted[path] {
		return
	}
	switch {
	case v.Kind() == reflect.Pointer && !number(v.Elem()):
		w.value(path, shown, v.Elem())
	case v.Kind() == reflect.Struct && w.divided(path):
		for i := range v.NumField() {
			if unset(v.Field(i)) { // most are: every RunTask comes through here
				continue
			}
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "ResultMetadata" {
				continue
			}
			w.value(join(path, wireName(f.Name)), join(shown, wireName(f.Name)), v.Field(i))
		}
	case v.Kind() == reflect.Slice && w.divided(path):
		for i := range v.Len() {
			w.value(path, fmt.Sprintf("%s[%s]", shown, label(v.Index(i), i)), v.Index(i))
		}
	default:
		w.found[shown] = true
	}
}

// divided: some members below path are acted on, so that it must be looked into. Otherwise it is named as
// a whole.
func (w *walk) divided(path string) bool {
	if path == "" {
		return true
	}
	for each := range w.acted {
		if below, ok := strings.CutPrefix(each, path); ok && strings.HasPrefix(below, ".") {
			return true
		}
	}
	return false
}

// unset: says nothing. False, an empty text and an empty list are what a member means that is left out. A
// zero is not, where one can tell: no swap is not as much swap as there is.
func unset(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil() || v.Elem().Kind() != reflect.Struct && !number(v.Elem()) && unset(v.Elem())
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		for i := range v.NumField() {
			if !unset(v.Field(i)) {
				return false
			}
		}
		return true
	}
	return v.IsZero()
}

func number(v reflect.Value) bool { return v.CanInt() || v.CanUint() || v.CanFloat() }

// label is the name of an element, or its position.
func label(v reflect.Value, i int) string {
	if v.Kind() == reflect.Struct {
		if name := v.FieldByName("Name"); name.IsValid() && name.Kind() == reflect.Pointer && !name.IsNil() {
			return name.Elem().String()
		}
	}
	return fmt.Sprint(i)
}

// wireName is a member's name on the wire.
func wireName(field string) string { return strings.ToLower(field[:1]) + field[1:] }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
