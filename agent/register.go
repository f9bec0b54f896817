package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
)

// capabilities are what the agent can do, in the stock agent's words, as far as it really can. The remote
// API versions stand for the parts of Docker's documents that they brought, up to memory reservation,
// user and labels; 1.25 for volumes.
var capabilities = []string{
	"com.amazonaws.ecs.capability.docker-remote-api.1.17",
	"com.amazonaws.ecs.capability.docker-remote-api.1.18",
	"com.amazonaws.ecs.capability.docker-remote-api.1.19",
	"com.amazonaws.ecs.capability.docker-remote-api.1.20",
	"com.amazonaws.ecs.capability.docker-remote-api.1.21",
	"com.amazonaws.ecs.capability.docker-remote-api.1.22", // sharedMemorySize and tmpfs
	"com.amazonaws.ecs.capability.docker-remote-api.1.23",
	"com.amazonaws.ecs.capability.docker-remote-api.1.24", // maxSwap, systemControls
	"com.amazonaws.ecs.capability.docker-remote-api.1.25", // initProcessEnabled
	"com.amazonaws.ecs.capability.privileged-container",
	"ecs.capability.pid-ipc-namespace-sharing",
	"com.amazonaws.ecs.capability.docker-remote-api.1.29", // health checks
	"ecs.capability.container-health-check",
	"ecs.capability.container-ordering",
	"ecs.capability.container-restart-policy",
	"ecs.capability.docker-plugin.local",
	"ecs.capability.efs",
	"ecs.capability.efsAuth", // access points
	"ecs.capability.env-files.s3",
	"ecs.capability.fault-injection",
	"ecs.capability.full-sync",
	"ecs.capability.network.container-port-range",
}

// errRefused marks an answer of the server that trying again will not change.
var errRefused = errors.New("the server refuses this node")

// register makes the node a container instance, or renews what it is, and remembers the answer.
func (s *session) register(ctx context.Context) error {
	cluster := s.config.clusterName()
	saved := string(s.journal.get(keyInstance))
	if was := string(s.journal.get(keyCluster)); saved != "" && was != cluster {
		s.log.Warn("the node moves to another cluster and registers anew", "was", was, "is", cluster)
		saved = ""
	}
	out, err := s.registerAs(ctx, cluster, saved)
	if saved != "" && refusal(err) {
		s.log.Warn("the server does not know this container instance any more; the node registers anew", "containerInstance", saved, "error", err)
		out, err = s.registerAs(ctx, cluster, "")
	}
	if s.config.Cluster == "" && code(err) == "ClusterNotFoundException" {
		if _, err := s.api.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String(cluster)}); err != nil {
			return fmt.Errorf("cannot create cluster %s: %w", cluster, err)
		}
		out, err = s.registerAs(ctx, cluster, "")
	}
	switch {
	case refusal(err):
		return fmt.Errorf("%w: cannot register in cluster %s: %w", errRefused, cluster, err)
	case err != nil:
		return fmt.Errorf("cannot register in cluster %s: %w", cluster, err)
	case out.ContainerInstance == nil || aws.ToString(out.ContainerInstance.ContainerInstanceArn) == "":
		return errors.New("cannot register: the server's answer names no container instance")
	}
	s.instance = *out.ContainerInstance.ContainerInstanceArn
	if s.instance != saved {
		s.log.Info("registered", "cluster", cluster, "containerInstance", s.instance)
		s.anew(ctx)
	}
	return s.journal.register(cluster, s.instance)
}

func (s *session) registerAs(ctx context.Context, cluster, saved string) (*ecs.RegisterContainerInstanceOutput, error) {
	resources, err := s.config.Resources.orMachine()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.api.RegisterContainerInstance(ctx, &ecs.RegisterContainerInstanceInput{
		Cluster:                           aws.String(cluster),
		ContainerInstanceArn:              stringOrNil(saved),
		Attributes:                        s.attributes(),
		TotalResources:                    resources.wire(),
		PlatformDevices:                   resources.devices(),
		InstanceIdentityDocument:          aws.String(""),
		InstanceIdentityDocumentSignature: aws.String(""),
	})
}

func code(err error) string {
	var coded smithy.APIError
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// refusal reports whether the server said no to what was sent, and not merely "not now".
func refusal(err error) bool {
	switch code(err) {
	case "InvalidParameterException", "ClientException", "ClusterNotFoundException", "AccessDeniedException",
		"UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId":
		return true
	}
	return false
}

func (s *session) attributes() []types.Attribute {
	with := map[string]string{
		"ecs.os-type":          "linux",
		"ecs.os-family":        "LINUX",
		"ecs.cpu-architecture": architecture(),
		"havn.node-id":         s.nodeID,
	}
	if s.config.Cluster == "" {
		with["havn.every-cluster"] = "true"
	}
	for _, name := range slices.Concat(capabilities, logCapabilities, journalCapability(), confinements()) {
		with[name] = ""
	}
	maps.Copy(with, s.config.Attributes)
	var all []types.Attribute
	for _, name := range slices.Sorted(maps.Keys(with)) {
		all = append(all, types.Attribute{Name: aws.String(name), Value: stringOrNil(with[name])})
	}
	return all
}

// confinements are the kernel's further ways to confine a container, if it has them. The stock agent has to be told.
func confinements() []string {
	var found []string
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.HasPrefix(string(on), "Y") {
		found = append(found, "com.amazonaws.ecs.capability.apparmor")
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		found = append(found, "com.amazonaws.ecs.capability.selinux")
	}
	return found
}

func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// orMachine fills in what the configuration leaves to the machine.
func (r Resources) orMachine() (Resources, error) {
	if r.CPU == 0 {
		r.CPU = int64(runtime.NumCPU()) * 1024
	}
	if r.Ports == nil {
		r.Ports = []uint16{22}
	}
	if r.Memory == 0 {
		mib, err := machineMemory()
		if err != nil {
			return r, fmt.Errorf("cannot tell the machine's memory: %w", err)
		}
		r.Memory = mib
	}
	return r, nil
}

func machineMemory() (mib int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemTotal")
}

func (r Resources) devices() []types.PlatformDevice {
	var all []types.PlatformDevice
	for _, name := range r.GPUs {
		all = append(all, types.PlatformDevice{Id: aws.String(name), Type: types.PlatformDeviceTypeGpu})
	}
	return all
}

func (r Resources) wire() []types.Resource {
	number := func(name string, n int64) types.Resource {
		return types.Resource{Name: aws.String(name), Type: aws.String("INTEGER"), IntegerValue: int32(n)}
	}
	set := func(name string, ports []uint16) types.Resource {
		values := []string{}
		for _, p := range ports {
			values = append(values, strconv.Itoa(int(p)))
		}
		return types.Resource{Name: aws.String(name), Type: aws.String("STRINGSET"), StringSetValue: values}
	}
	return []types.Resource{number("CPU", r.CPU), number("MEMORY", r.Memory), set("PORTS", r.Ports), set("PORTS_UDP", r.PortsUDP)}
}
