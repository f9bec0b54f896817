package ecs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"havn/state"
)

// The kinds of resource, as they stand in ARNs.
const (
	kindCluster    = "cluster"
	kindTask       = "task"
	kindInstance   = "container-instance"
	kindDefinition = "task-definition"
	kindContainer  = "container"
	kindService    = "service"
	kindDeployment = "service-deployment"
	kindRevision   = "service-revision"
	kindProvider   = "capacity-provider"
	kindTaskSet    = "task-set"
)

// defaultCluster is meant where a request names no cluster.
const defaultCluster = "default"

// resourceName is what clusters, families, containers and volumes may be called.
var resourceName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,255}$`)

// arn is the name of an ECS resource:
//
//	arn:PARTITION:ecs:REGION:ACCOUNT:KIND/REST
//
// REST is one name for clusters and task definitions, and CLUSTER/ID for what lives in a cluster.
type arn struct {
	Partition, Region, Account string
	Kind, Rest                 string
}

func (a arn) String() string {
	return "arn:" + a.Partition + ":ecs:" + a.Region + ":" + a.Account + ":" + a.Kind + "/" + a.Rest
}

// parseARN reads an ARN; ok is false when s is none, or not one of ECS.
func parseARN(s string) (a arn, ok bool) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "ecs" {
		return arn{}, false
	}
	kind, rest, found := strings.Cut(parts[5], "/")
	if !found || kind == "" || rest == "" || parts[1] == "" {
		return arn{}, false
	}
	return arn{Partition: parts[1], Region: parts[3], Account: parts[4], Kind: kind, Rest: rest}, true
}

func isARN(s string) bool { return strings.HasPrefix(s, "arn:") }

func (s *Server) arn(kind, rest string) string {
	return arn{Partition: partition(s.Region), Region: s.Region, Account: s.Account, Kind: kind, Rest: rest}.String()
}

// partition is the part of AWS that a region belongs to: SDKs build ARNs with it.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func (s *Server) clusterARN(name string) string { return s.arn(kindCluster, name) }

// memberARN names what lives in a cluster: a task, a container instance, a service.
func (s *Server) memberARN(kind, cluster, id string) string {
	return s.arn(kind, cluster+"/"+id)
}

func (s *Server) taskARN(cluster, id string) string {
	return s.memberARN(kindTask, cluster, id)
}

func (s *Server) instanceARN(cluster, id string) string {
	return s.memberARN(kindInstance, cluster, id)
}

// containerARN names a container of a task.
func (s *Server) containerARN(cluster, task, id string) string {
	return s.arn(kindContainer, cluster+"/"+task+"/"+id)
}

func (s *Server) definitionARN(family string, revision int32) string {
	return s.arn(kindDefinition, family+":"+strconv.Itoa(int(revision)))
}

// lastPart is what follows the last slash of an ARN: the name of a cluster, the id of a task.
func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// ours checks that an ARN written by a caller is of the kind, region and account that it must be of.
func (s *Server) ours(ref string, kinds ...string) (arn, error) {
	a, ok := parseARN(ref)
	if !ok {
		return arn{}, invalid("Invalid arn syntax.")
	}
	known := false
	for _, kind := range kinds {
		known = known || a.Kind == kind
	}
	if !known {
		return arn{}, invalid("Unsupported resource type: %s", a.Kind)
	}
	if a.Region != s.Region || a.Partition != partition(s.Region) {
		return arn{}, invalid("Invalid Region in ARN")
	}
	if a.Account != s.Account {
		return arn{}, invalid("Invalid identifier: Identifier is for %s. Your accountId is %s", a.Account, s.Account)
	}
	return a, nil
}

// clusterName resolves a reference to a cluster, nil or empty for the default one, to its name. It does
// not look whether there is such a cluster.
func (s *Server) clusterName(ref *string) (string, error) {
	name := deref(ref)
	if name == "" {
		return defaultCluster, nil
	}
	if isARN(name) {
		a, err := s.ours(name, kindCluster)
		if err != nil {
			return "", err
		}
		name = a.Rest
	}
	if !resourceName.MatchString(name) {
		return "", invalid(`Cluster must match ^[a-zA-Z0-9\-_]{1,255}$, but was %s`, name)
	}
	return name, nil
}

// cluster resolves a reference to an ACTIVE cluster. Only DescribeClusters and DeleteCluster take an
// INACTIVE one.
func (s *Server) cluster(src state.Source, ref *string) (state.Cluster, error) {
	name, err := s.clusterName(ref)
	if err != nil {
		return state.Cluster{}, err
	}
	c, ok := state.Clusters.Get(src, s.clusterARN(name))
	if !ok {
		return state.Cluster{}, clusterNotFound()
	}
	if c.Status != statusActive {
		return state.Cluster{}, errClusterInactive
	}
	return c, nil
}

// member resolves a reference to a task or container instance of the cluster to its ARN: an id, an ARN,
// or an ARN of the old form that names no cluster. It does not look whether there is such a thing.
func (s *Server) member(kind, cluster, ref string) (string, error) {
	if !isARN(ref) {
		if ref == "" || strings.ContainsAny(ref, "/: ") {
			return "", invalid("Invalid identifier: %s", quoted(ref))
		}
		return s.memberARN(kind, cluster, ref), nil
	}
	a, err := s.ours(ref, kind)
	if err != nil {
		return "", err
	}
	in, id, long := strings.Cut(a.Rest, "/")
	if !long {
		in, id = cluster, a.Rest
	}
	if id == "" || strings.Contains(id, "/") {
		return "", invalid("Invalid identifier: %s", quoted(ref))
	}
	if in != cluster {
		return "", invalid("Invalid identifier: Identifier is for cluster %s. Your cluster is %s", in, cluster)
	}
	return s.memberARN(kind, cluster, id), nil
}

// definitionName resolves a reference to a task definition: family, family:revision or an ARN. The
// revision is zero where the reference leaves it out.
func (s *Server) definitionName(ref string) (family string, revision int32, err error) {
	name := ref
	if isARN(ref) {
		a, err := s.ours(ref, kindDefinition)
		if err != nil {
			return "", 0, err
		}
		name = a.Rest
	}
	family, number, numbered := strings.Cut(name, ":")
	if !resourceName.MatchString(family) {
		return "", 0, clientError("Invalid task definition identifier: %s", quoted(ref))
	}
	if numbered {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 {
			return "", 0, invalid("Invalid revision number. Number: %s", number)
		}
		revision = int32(n)
	}
	return family, revision, nil
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
