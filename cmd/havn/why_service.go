package main

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/placement"
	"havn/state"
	"havn/story"
)

// findService finds the service that a name, CLUSTER/NAME or an ARN means; ok is false if it means none.
func (a whyAsked) findService(r *state.Reader, ref string) (_ state.Service, ok bool, err error) {
	_, rest, isARN := strings.Cut(ref, ":service/")
	if !isARN {
		rest = ref
		if strings.Contains(ref, ":") {
			return state.Service{}, false, nil
		}
	}
	cluster, name, named := strings.Cut(rest, "/")
	if !named {
		cluster, name = a.cluster, rest
	}
	var found []state.Service
	for s := range state.Services.All(r) {
		if s.Name == name && (cluster == "" || cluster == s.ClusterARN || cluster == lastPart(s.ClusterARN)) {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], true, nil
	case len(found) > 1:
		return state.Service{}, false, fmt.Errorf("there is a service %s in %d clusters; say CLUSTER/%s", name, len(found), name)
	case isARN:
		return state.Service{}, false, fmt.Errorf("nothing is known of the service %s", ref)
	}
	return state.Service{}, false, nil
}

func (a whyAsked) tellService(r *state.Reader, s state.Service) story.ServiceStory {
	f := story.ServiceFacts{Service: s, Wanted: int(s.Desired), Now: a.now,
		Story: func(t state.Task) state.Story { return a.tell(r, t) }}
	f.Deployment, _ = state.ServiceDeployments.Get(r, s.DeploymentARN)
	f.Heading, _ = state.ServiceRevisions.Get(r, f.Deployment.Heading())
	f.History, _ = state.ServiceEvents.Get(r, s.ARN)
	for t := range state.Tasks.By(r, "service", s.ARN) {
		f.Tasks = append(f.Tasks, t)
		for target := range state.Targets.By(r, "task", t.ARN) {
			f.Targets = append(f.Targets, target)
		}
	}
	if s.Scheduling == types.SchedulingStrategyDaemon {
		f.Wanted = placement.DaemonCount(r, s, f.Heading)
	}
	return story.TellService(f)
}
