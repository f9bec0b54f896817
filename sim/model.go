package sim

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// model is what users were promised, and nothing else has made doubtful since.
type model struct {
	clusters    map[string]bool                       // name: it is ACTIVE
	definitions map[string]types.TaskDefinitionStatus // ARN: at least this far
	tasks       map[string]bool                       // ARN: it was told to stop
	statuses    map[string]string                     // of container instances
	colours     map[string]string                     // attribute of container instances; empty = none
	tags        map[string]string                     // of tasks
}

func newModel() model {
	return model{map[string]bool{}, map[string]types.TaskDefinitionStatus{}, map[string]bool{}, map[string]string{}, map[string]string{}, map[string]string{}}
}

// doubtCluster: the cluster may be gone, and its automatic container instances with it.
func (m *model) doubtCluster(name string) {
	delete(m.clusters, name)
	for _, of := range []map[string]string{m.statuses, m.colours} {
		for arn := range of {
			if clusterOfMember(arn) == name {
				delete(of, arn)
			}
		}
	}
}

func (m *model) doubtInstance(arn string) {
	delete(m.statuses, arn)
	delete(m.colours, arn)
}

// doubtDefinition: it may be INACTIVE already; that it exists is still promised.
func (m *model) doubtDefinition(arn string) {
	if m.definitions[arn] == types.TaskDefinitionStatusActive {
		m.definitions[arn] = ""
	}
}

// check is what the state says that was promised otherwise; empty if nothing.
func (m *model) broken(r *state.Reader, reaped map[string]bool) string {
	for name := range m.clusters {
		if c, ok := state.Clusters.Get(r, clusterARN(name)); !ok || c.Status != "ACTIVE" {
			return "cluster " + name + " was created, and is " + c.Status
		}
	}
	for arn, status := range m.definitions {
		d, ok := state.TaskDefinitions.Get(r, arn)
		switch {
		case !ok:
			return "task definition " + lastPart(arn) + " was registered, and is not there"
		case status != "" && d.Status != status:
			return "task definition " + lastPart(arn) + " should be " + string(status) + ", and is " + string(d.Status)
		}
	}
	for arn, stopped := range m.tasks {
		t, ok := state.Tasks.Get(r, arn)
		switch {
		case !ok && !reaped[arn]:
			return short(arn) + " was placed, and is not there"
		case ok && stopped && t.Desired != "STOPPED":
			return short(arn) + " was told to stop, and is desired " + string(t.Desired)
		}
	}
	for arn, status := range m.statuses {
		if i, _ := state.Instances.Get(r, arn); i.Status != status {
			return "container instance " + lastPart(arn) + " was made " + status + ", and is " + i.Status
		}
	}
	for arn, colour := range m.colours {
		i, _ := state.Instances.Get(r, arn)
		is := ""
		for _, a := range i.Attributes {
			if *a.Name == "colour" {
				is = aws.ToString(a.Value)
			}
		}
		if is != colour {
			return "container instance " + lastPart(arn) + " should have the colour " + colour + ", and has " + is
		}
	}
	for arn, value := range m.tags {
		t, ok := state.Tasks.Get(r, arn)
		if ok && tagOf(t) != value {
			return short(arn) + " should have the tag " + value + ", and has " + tagOf(t)
		}
	}
	return ""
}

func tagOf(t state.Task) string {
	for _, tag := range t.Tags {
		if *tag.Key == "n" {
			return *tag.Value
		}
	}
	return "none"
}

func clusterARN(name string) string {
	return "arn:aws:ecs:" + region + ":" + account + ":cluster/" + name
}

func clusterName(arn string) string { return lastPart(arn) }

// clusterOfMember is the cluster in the ARN of a task or container instance.
func clusterOfMember(arn string) string {
	parts := strings.Split(arn, "/")
	return parts[len(parts)-2]
}

func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
