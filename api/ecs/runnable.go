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
// of the vocabulary; a request that sets any other member is refused, and the member is named. So a member that is new
// in the SDK is refused, and a test asks for it to be put into one of the tables: acted on, descriptive, or refused
// and why.
//
// Paths are of wire names, without list positions. What is acted on or descriptive is named to the last member; what is
// refused stands for all below it.

// actedOnInDefinition are the members of a task definition that a node, or the placement on it, acts on.
var actedOnInDefinition = paths(`
	family
	cpu
	memory
	networkMode
	pidMode
	ipcMode
	placementConstraints.type
	placementConstraints.expression
	enableFaultInjection
	requiresCompatibilities
	runtimePlatform.cpuArchitecture
	runtimePlatform.operatingSystemFamily
	volumes.name
	volumes.host.sourcePath
	volumes.dockerVolumeConfiguration.scope
	volumes.dockerVolumeConfiguration.autoprovision
	volumes.dockerVolumeConfiguration.driver
	volumes.dockerVolumeConfiguration.driverOpts
	volumes.dockerVolumeConfiguration.labels
	volumes.efsVolumeConfiguration.fileSystemId
	volumes.efsVolumeConfiguration.rootDirectory
	volumes.efsVolumeConfiguration.transitEncryption
	volumes.efsVolumeConfiguration.authorizationConfig.accessPointId
	volumes.efsVolumeConfiguration.authorizationConfig.iam
	containerDefinitions.name
	containerDefinitions.image
	containerDefinitions.command
	containerDefinitions.entryPoint
	containerDefinitions.environment.name
	containerDefinitions.environment.value
	containerDefinitions.workingDirectory
	containerDefinitions.user
	containerDefinitions.privileged
	containerDefinitions.readonlyRootFilesystem
	containerDefinitions.interactive
	containerDefinitions.pseudoTerminal
	containerDefinitions.dockerSecurityOptions
	containerDefinitions.ulimits.name
	containerDefinitions.ulimits.softLimit
	containerDefinitions.ulimits.hardLimit
	containerDefinitions.systemControls.namespace
	containerDefinitions.systemControls.value
	containerDefinitions.linuxParameters.capabilities.add
	containerDefinitions.linuxParameters.capabilities.drop
	containerDefinitions.linuxParameters.devices.hostPath
	containerDefinitions.linuxParameters.devices.containerPath
	containerDefinitions.linuxParameters.devices.permissions
	containerDefinitions.linuxParameters.initProcessEnabled
	containerDefinitions.linuxParameters.maxSwap
	containerDefinitions.linuxParameters.sharedMemorySize
	containerDefinitions.linuxParameters.swappiness
	containerDefinitions.linuxParameters.tmpfs.containerPath
	containerDefinitions.linuxParameters.tmpfs.size
	containerDefinitions.linuxParameters.tmpfs.mountOptions
	containerDefinitions.resourceRequirements.type
	containerDefinitions.resourceRequirements.value
	containerDefinitions.essential
	containerDefinitions.dependsOn.containerName
	containerDefinitions.dependsOn.condition
	containerDefinitions.startTimeout
	containerDefinitions.stopTimeout
	containerDefinitions.restartPolicy.enabled
	containerDefinitions.restartPolicy.ignoredExitCodes
	containerDefinitions.restartPolicy.restartAttemptPeriod
	containerDefinitions.versionConsistency
	containerDefinitions.healthCheck.command
	containerDefinitions.healthCheck.interval
	containerDefinitions.healthCheck.timeout
	containerDefinitions.healthCheck.retries
	containerDefinitions.healthCheck.startPeriod
	containerDefinitions.cpu
	containerDefinitions.memory
	containerDefinitions.memoryReservation
	containerDefinitions.hostname
	containerDefinitions.dockerLabels
	containerDefinitions.mountPoints.sourceVolume
	containerDefinitions.mountPoints.containerPath
	containerDefinitions.mountPoints.readOnly
	containerDefinitions.volumesFrom.sourceContainer
	containerDefinitions.volumesFrom.readOnly
	containerDefinitions.environmentFiles.type
	containerDefinitions.environmentFiles.value
	containerDefinitions.links
	containerDefinitions.dnsServers
	containerDefinitions.dnsSearchDomains
	containerDefinitions.extraHosts.hostname
	containerDefinitions.extraHosts.ipAddress
	containerDefinitions.disableNetworking
	containerDefinitions.portMappings.containerPort
	containerDefinitions.portMappings.hostPort
	containerDefinitions.portMappings.containerPortRange
	containerDefinitions.portMappings.protocol
	containerDefinitions.logConfiguration.logDriver
	containerDefinitions.logConfiguration.options
	containerDefinitions.firelensConfiguration.type
	containerDefinitions.firelensConfiguration.options
`)

// descriptiveInDefinition are the members that ask nothing of a node: they are kept and described, and that is all there
// is to do, for the reason given.
var descriptiveInDefinition = map[string]string{
	"tags.key":         "propagateTags of RunTask takes them to the task",
	"tags.value":       "propagateTags of RunTask takes them to the task",
	"executionRoleArn": "nothing that a node does now needs the role; what would need it is refused by itself",
	"volumes.efsVolumeConfiguration.transitEncryptionPort": "of a helper that is not needed here",
	"containerDefinitions.portMappings.name":               "a name for others to refer to",
	"containerDefinitions.portMappings.appProtocol":        "a hint for Service Connect",
}

// refusedInDefinition are the members that no node acts on, and why: a task that sets one is not run.
var refusedInDefinition = map[string]string{
	"containerDefinitions.credentialSpecs":                      "of Windows",
	"containerDefinitions.logConfiguration.secretOptions":       "secrets are to come",
	"containerDefinitions.repositoryCredentials":                "secrets are to come",
	"containerDefinitions.secrets":                              "secrets are to come",
	"containerDefinitions.resourceRequirements.sharingStrategy": "of AWS's Managed Instances",
	"ephemeralStorage":                                          "of FARGATE, which is to come; ECS has none on EC2",
	"inferenceAccelerators":                                     "AWS has ended Elastic Inference",
	"proxyConfiguration":                                        "AWS has ended App Mesh",
	"taskRoleArn":                                               "task roles are to come",
	"volumes.configuredAtLaunch":                                "of EBS",
	"volumes.fsxWindowsFileServerVolumeConfiguration":           "of Windows",
	"volumes.s3filesVolumeConfiguration":                        "a file system of AWS's own",
}

// restrictedInDefinition are the members above of which only some values are acted on.
var restrictedInDefinition = map[string][]string{
	"networkMode": {string(types.NetworkModeBridge), string(types.NetworkModeHost), string(types.NetworkModeNone)},
	"volumes.dockerVolumeConfiguration.driver":               {"local"},
	"volumes.efsVolumeConfiguration.authorizationConfig.iam": {string(types.EFSAuthorizationConfigIAMDisabled)},
	"containerDefinitions.logConfiguration.logDriver": {string(types.LogDriverJsonFile), string(types.LogDriverAwslogs), string(types.LogDriverFluentd),
		string(types.LogDriverSyslog), string(types.LogDriverJournald), string(types.LogDriverGelf), string(types.LogDriverSplunk), string(types.LogDriverAwsfirelens)},
}

// notes say in docs/coverage.md how a member is acted on, where that is not plain.
var notes = map[string]string{
	"enableFaultInjection":                                             "in bridge mode, for the container that asks; in host mode its endpoint refuses, since a fault would hurt others",
	"runtimePlatform.cpuArchitecture":                                  "becomes a required attribute of the container instance",
	"volumes.host.sourcePath":                                          "with sourcePath, or a folder of the task's own",
	"volumes.dockerVolumeConfiguration.autoprovision":                  "a shared volume that is missing fails the task without it",
	"volumes.dockerVolumeConfiguration.driver":                         "local; any other is refused by name",
	"volumes.dockerVolumeConfiguration.driverOpts":                     "type, device and o, as of Docker's driver local: tmpfs, bind, NFS and whatever the node's kernel mounts",
	"volumes.dockerVolumeConfiguration.labels":                         "kept in the volume's record, volume.json beside its content",
	"volumes.efsVolumeConfiguration.fileSystemId":                      "the operator says with --efs what stands for it: an NFS export, or a folder of the node",
	"volumes.efsVolumeConfiguration.transitEncryption":                 "a folder of the node, or an NFS export with the option xprtsec=tls, mtls or sec=krb5p; else the task fails and says so",
	"volumes.efsVolumeConfiguration.authorizationConfig.accessPointId": "the operator says with --efs what stands for it",
	"volumes.efsVolumeConfiguration.authorizationConfig.iam":           "DISABLED; NFS knows nothing of IAM",
	"containerDefinitions.startTimeout":                                "bounds COMPLETE, SUCCESS and HEALTHY, from the start of the container that is waited for",
	"containerDefinitions.healthCheck.command":                         "CMD, CMD-SHELL, NONE; a HEALTHCHECK of the image does not count, as in ECS",
	"containerDefinitions.environmentFiles.value":                      "the operator says with --bucket which folder stands for a bucket",
	"containerDefinitions.disableNetworking":                           "a loopback interface alone; port mappings of the container then lead nowhere, as in Docker",
	"placementConstraints.expression":                                  "memberOf, with the whole cluster query language",
	"networkMode":                                                      "bridge, host, none",
	"requiresCompatibilities":                                          "checked at registration; RunTask on FARGATE is refused",
	"pidMode":                                                          "host, task",
	"ipcMode":                                                          "host, task, none",
	"containerDefinitions.dockerSecurityOptions":                       "no-new-privileges; apparmor and label on nodes whose kernel has AppArmor or SELinux; credentialspec is refused",
	"containerDefinitions.resourceRequirements.type":                   "GPU, on nodes whose vendor's tools describe them by CDI; NeuronDevice and InferenceAccelerator are refused",
	"containerDefinitions.resourceRequirements.value":                  "a number; ALL is refused",
	"containerDefinitions.interactive":                                 "standard input stays open, and nothing comes",
	"containerDefinitions.linuxParameters.sharedMemorySize":            "of /dev/shm; with ipcMode task the largest of its containers counts; refused with ipcMode host and none",
	"containerDefinitions.linuxParameters.swappiness":                  "on nodes with cgroup version 1, as in ECS",
	"containerDefinitions.logConfiguration.logDriver":                  "json-file with rotation over up to 1000 files, awslogs into Havn's own CloudWatch Logs or another; syslog, gelf, fluentd, splunk; journald on nodes with systemd; awsfirelens, through the task's own log router",
	"containerDefinitions.logConfiguration.options":                    "of each driver; refused are labels and env of syslog, gelf-tcp-* of gelf, and what concerns another kind of address",
	"containerDefinitions.firelensConfiguration.options":               "enable-ecs-log-metadata, config-file-type and config-file-value; the operator says with --bucket which folder stands for a bucket of s3",
}

// actedOnInRun are the members of RunTask and StartTask that are acted on.
var actedOnInRun = paths(`
	cluster
	taskDefinition
	containerInstances
	count
	clientToken
	capacityProviderStrategy.capacityProvider
	capacityProviderStrategy.base
	capacityProviderStrategy.weight
	enableECSManagedTags
	group
	launchType
	placementConstraints.type
	placementConstraints.expression
	placementStrategy.type
	placementStrategy.field
	propagateTags
	referenceId
	startedBy
	tags.key
	tags.value
	overrides.cpu
	overrides.memory
	overrides.executionRoleArn
	overrides.containerOverrides.name
	overrides.containerOverrides.command
	overrides.containerOverrides.environment.name
	overrides.containerOverrides.environment.value
	overrides.containerOverrides.environmentFiles.type
	overrides.containerOverrides.environmentFiles.value
	overrides.containerOverrides.cpu
	overrides.containerOverrides.memory
	overrides.containerOverrides.memoryReservation
	overrides.containerOverrides.resourceRequirements.type
	overrides.containerOverrides.resourceRequirements.value
`)

// refusedInRun are the members of RunTask and StartTask that are not, and why.
var refusedInRun = map[string]string{
	"enableExecuteCommand": "ECS Exec is to come",
	"networkConfiguration": "awsvpc is to come",
	"overrides.containerOverrides.resourceRequirements.sharingStrategy": "of AWS's Managed Instances",
	"overrides.ephemeralStorage":                                        "of FARGATE, which is to come",
	"overrides.inferenceAcceleratorOverrides":                           "AWS has ended Elastic Inference",
	"overrides.taskRoleArn":                                             "task roles are to come",
	"platformVersion":                                                   "of FARGATE, which is to come",
	"volumeConfigurations":                                              "of EBS",
}

var restrictedInRun = map[string][]string{
	"launchType": {string(types.LaunchTypeEc2)},
}

// notesInRun and notesOnOperations say the same of RunTask and StartTask, and of whole operations.
var (
	notesInRun = map[string]string{
		"overrides.executionRoleArn":                "as executionRoleArn of the task definition",
		"launchType":                                "EC2; RunTask without one is refused in a cluster whose default capacity provider strategy is Fargate's",
		"capacityProviderStrategy.capacityProvider": "one of Auto Scaling groups; FARGATE and FARGATE_SPOT are to come and are refused",
	}
	notesOnOperations = map[string]string{
		"CreateCluster":               "as PutClusterCapacityProviders, for the capacity providers that it is given",
		"PutClusterCapacityProviders": "FARGATE and FARGATE_SPOT are stored and described; no task runs on them yet, so RunTask without a launch type is refused in a cluster that has them as its default capacity provider strategy",
		"CreateCapacityProvider":      "autoScalingGroupProvider with any ARN; its machines are the container instances with the attribute havn.capacity-provider (`havn up --capacity-provider NAME`, or PutAttributes). Havn makes no machines: managedScaling and managedTerminationProtection ENABLED, and managedInstancesProvider, are refused; managedDraining is stored, as nothing takes a machine away",
		"UpdateCapacityProvider":      "as CreateCapacityProvider",
	}
)

// passedInDefinition are the members that keep no task from being run.
var passedInDefinition = passed(actedOnInDefinition, descriptiveInDefinition)

func passed(acted map[string]bool, descriptive map[string]string) map[string]bool {
	all := maps.Clone(acted)
	for path := range descriptive {
		all[path] = true
	}
	return all
}

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
	members := unsupportedMembers(reflect.ValueOf(d), passedInDefinition, restrictedInDefinition)
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

// refuseFargate refuses a capacity provider strategy of Fargate's: a container instance is not what it stands for.
func refuseFargate(c state.Cluster, strategy []types.CapacityProviderStrategyItem, byDefault bool) error {
	var items []string
	cloud := false
	for _, item := range strategy {
		cloud = cloud || slices.Contains(fargate, deref(item.CapacityProvider))
		items = append(items, fmt.Sprintf("%s (weight %d, base %d)", deref(item.CapacityProvider), item.Weight, item.Base))
	}
	switch {
	case !cloud:
		return nil
	case byDefault:
		return unsupported("Havn cannot run this yet, because it would run on the default capacity provider strategy of the cluster %s: %s. "+
			"To run it on the cluster's container instances, ask for the launch type EC2 (--launch-type EC2).", c.Name, strings.Join(items, ", "))
	}
	return unsupported("Havn cannot run this yet, because its nodes cannot act on: capacityProviderStrategy of %s. See docs/coverage.md.", strings.Join(items, ", "))
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
