package cause

import (
	"regexp"
	"strings"
)

// A pattern is how a cause shows in the words of an engine or a registry. In its words $1 is what the expression has
// found.
type pattern struct {
	during string // the beginning of the error's name; empty for any
	text   *regexp.Regexp
	code   Code
	words  string
}

func p(during, text string, code Code, words string) pattern {
	return pattern{during, regexp.MustCompile(text), code, words}
}

// A host in the words of Go's net package: an address, or what was asked of a resolver.
const dialled = `dial (?:tcp|udp) (?:[^ ]+->)?([^ ]+): `

// patterns are tried in order: the first that is found is the cause.
var patterns = []pattern{
	// Said by the agent alone.
	p("OutOfMemoryError", `.`, OutOfMemory, "the container used more memory than its limit"),
	p("ContainerVanishedError", `.`, Vanished, "the container is gone and nobody saw it end: the machine was restarted, or somebody removed it"),
	p("DockerTimeoutError", `(?i)transition to pulled`, PullStalled, "the pull made no progress for too long"),
	p("DockerTimeoutError", `(?i)transition to (\w+); timed out after waiting (\S+)`, StartTimeout, "it was not $1 after $2"),
	p("", `ordering dependency \[(\S+)\] for target \[(\S+)\] has timed out: it has not come to (\S+) within its startTimeout of (\S+)`,
		StartTimeout, "container $1, which $2 waits for, was not $3 within its startTimeout of $4"),
	p("", `ordering dependency \[(\S+)\] for target \[\S+\] as dependency did not exit successfully`, DependencyFailed, "container $1, which it depends on, did not succeed"),
	p("", `ordering dependency \[(\S+)\] for target \[\S+\] .*become healthy`, DependencyFailed, "container $1, which it depends on, did not become healthy"),
	p("", `container ordering dependency \[(\S+)\]`, DependencyFailed, "container $1, which it depends on, did not get as far as it should"),
	p("", `(?i)can.t retrieve the secret with ARN (\S+)`, SecretNotFound, "there is no secret $1, or the role may not read it"),
	p("", `(?i)secret data from SSM Parameter Store.*invalid parameters: (.*)`, SecretNotFound, "there is no parameter $1"),

	// Room.
	p("", `no space left on device`, DiskFull, "the node's disk is full"),
	p("", `impaired \(the disk is full`, DiskFull, "the node's disk is full"),
	p("", `disk quota exceeded`, DiskFull, "the node's disk quota is used up"),
	p("", `Bind for \S*?:(\d+) failed: port is already allocated`, PortTaken, "host port $1 is taken on the node"),
	p("", `listen (?:tcp|udp)\S* \S*:(\d+): bind: address already in use`, PortTaken, "host port $1 is taken on the node"),
	p("", `cannot find \d+ free host ports`, NoFreePort, "the node has no free port left in its dynamic range"),

	// Images. What a registry's answer means comes before how it was reached.
	p("", `invalid reference format`, ImageName, "the image's name is not valid"),
	p("", `no matching manifest for (\S+)`, WrongPlatform, "the image has no variant for $1, which is what the node is"),
	p("", `no match for platform`, WrongPlatform, "the image has no variant for what the node is"),
	p("", `operating system .* cannot be used on this platform`, WrongPlatform, "the image is for another platform than the node's"),
	p("CannotPull", `toomanyrequests|429 Too Many Requests|(?i)rate limit`, RegistryLimit, "the registry has had too many requests"),
	p("CannotPull", `no basic auth credentials|pull access denied|unauthorized|(?i)insufficient_scope|: denied|401 Unauthorized|403 Forbidden`,
		PullDenied, "the registry does not let the node pull the image, or does not say that there is none"),
	p("CannotPull", `manifest unknown|name unknown|NAME_UNKNOWN|MANIFEST_UNKNOWN|repository name not known|404 Not Found|: not found`,
		ImageNotFound, "the registry has no such image"),
	p("CannotPull", `server gave HTTP response to HTTPS client`, RegistryTLS, "the registry speaks plain HTTP, which is trusted on loopback only"),
	p("CannotPull", `x509: (.*)`, RegistryTLS, "the registry's certificate is not trusted: $1"),
	p("CannotPull", `tls: (.*)|(remote error: tls.*)`, RegistryTLS, "no secure connection to the registry: $1$2"),
	p("CannotPull", `TLS handshake timeout`, RegistryTimeout, "the registry did not answer in time"),
	p("CannotPull", dialled+`connect: connection refused`, RegistryRefused, "nobody listens at $1"),
	p("CannotPull", `lookup (\S+?)(?: on \S+)?: (?:no such host|server misbehaving|Temporary failure)`, RegistryUnknown, "the registry's name $1 cannot be resolved"),
	p("CannotPull", dialled+`(?:i/o timeout|connect: (.*))`, RegistryTimeout, "the registry at $1 cannot be reached"),
	p("CannotPull", `(?i)i/o timeout|context deadline exceeded|Client\.Timeout|no route to host|network is unreachable`, RegistryTimeout, "the registry cannot be reached"),
	p("CannotPull", `connection reset by peer|: EOF$|unexpected EOF|broken pipe`, RegistryFailed, "the registry broke off the connection"),
	p("CannotPull", `(5\d\d [A-Z][\w ]+)`, RegistryFailed, "the registry answers $1"),
	p("CannotPull", `(?i)digest|failed size validation|unexpected (?:content|commit) size|gzip|invalid header|archive/tar|diffID|unmarshal|unexpected media type|invalid character`,
		ImageBroken, "what the registry sent is not what its manifest says"),

	// What runs.
	p("", `no command specified`, NoCommand, "neither the task definition nor the image says what to run"),
	p("", `unable to find (user|group) ([^:]+):`, UnknownUser, `the image has no $1 "$2"`),
	p("", `exec: "([^"]*)": executable file not found in \$PATH`, NoSuchCommand, `there is no program "$1" in the image's $$PATH`),
	p("", `exec: "([^"]*)": (?:stat \S+: )?no such file or directory`, NoSuchCommand, `there is no program "$1" in the image`),
	p("", `exec: "([^"]*)": (?:stat \S+: )?not a directory`, NoSuchCommand, `there is no program "$1" in the image: a part of its path is a file`),
	p("", `exec: "([^"]*)": is a directory`, CommandIsFolder, `"$1" is a directory, not a program`),
	p("", `exec: "([^"]*)": (?:stat \S+: )?permission denied`, NotExecutable, `"$1" may not be executed: it is not marked executable, or the user may not reach it`),
	p("", `exec format error`, ExecFormat, "the program is for another processor, or is no program"),
	p("", `chdir to cwd \("([^"]*)"\)[^:]*: (?:chdir [^:]*: )?(.+?)(?:: unknown)?$`, WorkingDirectory, `the working directory "$1" cannot be entered: $2`),
	p("", `container init: mkdir (\S+): ([^:]+)`, WorkingDirectory, `the working directory cannot be made: $2`),
	p("", `(?i)the hostname(.*)`, BadHostname, "the hostname$1"),
	p("", `sethostname: (.*)`, BadHostname, "the hostname cannot be set: $1"),
	p("", `memory limit too low|container init was OOM-killed|Minimum memory limit|unable to set memory limit`, MemoryTooSmall, "the memory limit is too small to start anything in"),
	p("", `(?:sysctl|/proc/sys)\W+"?([\w./-]+)`, RefusedSysctl, "the kernel setting $1 cannot be made"),
	p("", `(?i)(?:unknown|invalid|unsupported) capability:? ?"?(\w*)`, RefusedCapability, "there is no capability $1"),
	p("", `(?i)gathering device information.*"([^"]+)": .*(?:no such file or directory|not a device node)|lstat (/dev/\S+): no such file|no such device.*"(/[^"]+)"|device "?(/[^\s"]+)"? (?:does not exist|not found)`, NoDevice, "the node has no device $1$2$3$4"),
	p("", `error setting rlimit type (\d+): ([^:]+)`, RefusedLimit, "a ulimit (of type $1) cannot be set: $2"),
	p("", `error mounting "([^"]*)" to rootfs at "([^"]*)":.*read-only file system`, ReadOnly, `"$1" cannot be mounted at "$2": the file system there is read-only and has no such place`),
	p("", `error mounting "([^"]*)" to rootfs at "([^"]*)":.*?not a directory`, BadMount, `"$1" cannot be mounted at "$2": one is a file and the other a directory`),
	p("", `error mounting "([^"]*)" to rootfs at "([^"]*)":.*: (.+?)(?:: unknown)?$`, BadMount, `"$1" cannot be mounted at "$2": $3`),
	p("", `failed to fulfil mount request: open (\S+): ([^:]+)`, BadMount, `"$1" cannot be mounted: $2`),
	p("", `Duplicate mount point: (\S+)`, BadMount, `two volumes are mounted at "$1"`),
	p("", `cannot make the folder of volume "([^"]*)": (.*)`, BadMount, `the folder of volume "$1" cannot be made on the node: $2`),
	p("", `the task has no volume "([^"]*)"`, BadMount, `the task definition has no volume "$1"`),
	p("", `invalid mount config|(?i)bind source path does not exist: (\S+)`, BadMount, "a mount's source is not on the node: $1"),
	p("", `read-only file system`, ReadOnly, "something is to be written where the file system is read-only"),
	p("", `No such image: (\S+)`, ImageNotFound, "the image $1 is not on the node any more"),
	p("", `(?i)failed (?:\w+ )?health checks|unhealthy`, Unhealthy, "the health check failed"),
	p("", `Host EC2 \(instance \S+\) terminated`, NodeLost, "the node that it ran on is gone"),
	p("", `Container instance deregistration forced by user`, NodeLost, "somebody deregistered the container instance that it ran on"),
	p("UnrecogniedTaskError", `: (.*)`, NodeRefused, "the node cannot run such a task: $1"),
}

// Of recognises the cause in the words of a reason. The code is empty where it cannot.
func Of(reason string) Cause {
	for _, one := range patterns {
		if !strings.HasPrefix(reason, one.during) {
			continue
		}
		if at := one.text.FindStringSubmatchIndex(reason); at != nil {
			words := string(one.text.ExpandString(nil, one.words, reason, at))
			return New(one.code, words)
		}
	}
	return Cause{}
}
