package cause

// Try is what a person can do about a cause: one sentence or two.
func (c Code) Try() string {
	if a, ok := advice[c]; ok {
		return a
	}
	return advice[Unknown]
}

// advice has a line for every code.
var advice = map[Code]string{
	NoRoom:            "Free resources, add a node, or ask for less: havn status shows what each node has left.",
	NodeLost:          "Run it again: it will be placed on another node. Look at the machine's own log for why it went.",
	NodeRefused:       "Take the named part out of the task definition, or run it on a node that can act on it.",
	SecretNotFound:    "Check the secret's ARN, and that the task's execution role may read it.",
	PortTaken:         "End what holds the port, choose another hostPort, or leave hostPort out to be given a free one.",
	NoFreePort:        "Stop tasks that publish ports, or widen the kernel's net.ipv4.ip_local_port_range.",
	ImageName:         "Write the image as [REGISTRY/]NAME[:TAG] or NAME@sha256:DIGEST, in lower case.",
	ImageNotFound:     "Check the name and the tag, push the image, or load it on the node: havn image load FILE.",
	PullDenied:        "Give the node credentials for the registry, or check that the image exists: registries answer the same for both.",
	RegistryRefused:   "Start the registry, or correct the address in the image's name.",
	RegistryUnknown:   "Correct the registry in the image's name, or look at the node's /etc/resolv.conf.",
	RegistryTLS:       "Give the registry a certificate that the node trusts (add its CA to the node), or serve it on loopback.",
	RegistryTimeout:   "Check the node's network, proxy and firewall on the way to the registry.",
	RegistryLimit:     "Wait, pull with an account that may do more, or keep the image on the node: --image-pull-behavior prefer-cached.",
	RegistryFailed:    "Look at the registry's own log, and run the task again.",
	PullStalled:       "Check the network between the node and the registry, and run the task again.",
	ImageBroken:       "Push the image again.",
	WrongPlatform:     "Build the image for the node's platform too (docker buildx build --platform ...), or place the task on a node that fits.",
	DiskFull:          "Free disk space on the node, and run the task again.",
	NoCommand:         "Set command or entryPoint in the task definition, or CMD in the image.",
	NoSuchCommand:     "Correct command or entryPoint: it is run without a shell, and a path is looked up in the image.",
	NotExecutable:     "chmod +x it when the image is built, or run the task as a user who may execute it.",
	CommandIsFolder:   "Name a program in command or entryPoint, not a directory.",
	ExecFormat:        "Build the program for the node's processor; a script needs #! in its first line.",
	MissingLoader:     "Link the program statically, or build on an image that has the loader (an Alpine image has no glibc).",
	WorkingDirectory:  "Create the working directory in the image with the right owner, or set another workingDirectory.",
	UnknownUser:       "Create the user in the image, or give its number: user: \"1000:1000\".",
	BadHostname:       "Use letters, digits, hyphens and dots: at most 63 characters between dots.",
	BadMount:          "Correct the volume's sourcePath or the containerPath: both must be directories, or both files.",
	ReadOnly:          "Create the mount's target in the image, mount a volume there, or do without readonlyRootFilesystem.",
	NoDevice:          "Correct linuxParameters.devices, or place the task on a node that has the device.",
	RefusedSysctl:     "Remove the setting from systemControls, or use one that belongs to the container's own namespaces.",
	RefusedCapability: "Correct linuxParameters.capabilities: names have no CAP_, such as NET_ADMIN.",
	RefusedLimit:      "Lower the hard limit in ulimits: the node has a lower one.",
	MemoryTooSmall:    "Raise memory in the task definition.",
	DependencyFailed:  "See why the container that it depends on failed: it is in the same story.",
	StartTimeout:      "Raise startTimeout, or see in its log what the container waits for: havn logs TASK CONTAINER.",
	OutOfMemory:       "Raise memory in the task definition, or make the program use less.",
	Unhealthy:         "Run the health check's command by hand in the container; a slow start needs a startPeriod.",
	Vanished:          "Run it again.",
	ShimKilled:        "Run it again, and see in the kernel's log whether the node ran out of memory.",
	Killed:            "See its log for what went on before: havn logs TASK CONTAINER.",
	Failed:            "See its log: havn logs TASK CONTAINER.",
	Finished:          "Nothing, if it was meant to end. If not, its main program must stay in the foreground.",
	StoppedByUser:     "Nothing: somebody wanted it.",
	StoppedByService:  "Nothing: its service needs it no more.",
	TargetUnhealthy:   "See what the health check of its target group asks for, and what the container answers; a slow start needs healthCheckGracePeriodSeconds.",
	Unknown:           "See its log: havn logs TASK CONTAINER.",
}
