package control

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/state"
)

// runBalance runs the commands of services with load balancers:
//
//	group NAME [delay=SECONDS] [protocol=P] [deleted]
//	(listener|rule) NAME to=GROUP [deleted]
//	service NAME
//	revision NAME of=SERVICE [groups=(G:CONTAINER:PORT,...)] [chosen=(G,...)]
//	target GROUP node=N port=P [drained] [draining]       what others write of a target
//	task ... revision=R [port=CONTAINER:HOST]             a service's task
//	definition ... [host]                                 on its host's network
func (w *world) runBalance(d *datadriven.TestData, name string, value func(key, otherwise string) string) bool {
	list := func(key string) []string {
		arg, _ := d.Arg(key)
		return arg.Vals
	}
	to := []elb.Action{{Type: elb.ActionTypeEnumForward, TargetGroupArn: aws.String(value("to", ""))}}
	w.update(func(tx *state.Tx) {
		switch what := d.Cmd; {
		case what == "group" && d.HasArg("deleted"):
			state.TargetGroups.Delete(tx, name)
		case what == "group":
			g := state.TargetGroup{ARN: name, Type: elb.TargetTypeEnumInstance, Protocol: elb.ProtocolEnum(value("protocol", "HTTP"))}
			if delay := value("delay", ""); delay != "" {
				g.Attributes = map[string]string{"deregistration_delay.timeout_seconds": delay}
			}
			state.TargetGroups.Put(tx, g)
		case what == "listener" && d.HasArg("deleted"):
			state.Listeners.Delete(tx, name)
		case what == "listener":
			state.Listeners.Put(tx, state.Listener{ARN: name, DefaultActions: to})
		case what == "rule" && d.HasArg("deleted"):
			state.ListenerRules.Delete(tx, name)
		case what == "rule":
			state.ListenerRules.Put(tx, state.ListenerRule{ARN: name, Actions: to})
		case what == "service":
			state.Services.Put(tx, state.Service{ARN: name, Name: name, Status: "ACTIVE"})
		case what == "revision":
			r := state.ServiceRevision{ARN: name, ServiceARN: value("of", ""), Groups: list("chosen")}
			for _, one := range list("groups") {
				part := strings.Split(one, ":")
				r.LoadBalancers = append(r.LoadBalancers, types.LoadBalancer{TargetGroupArn: &part[0], ContainerName: &part[1],
					ContainerPort: aws.Int32(int32(number(part[2])))})
			}
			state.ServiceRevisions.Put(tx, r)
		case what == "target":
			target := state.Target{TargetGroupARN: name, ID: "i-" + value("node", ""), Port: int32(number(value("port", "")))}
			if known, ok := state.Targets.Get(tx, keyOf(target)); ok {
				target = known
			}
			target.Drained = d.HasArg("drained")
			if d.HasArg("draining") {
				target.DrainingSince = w.now
			}
			state.Targets.Put(tx, target)
		}
	})
	return slices.Contains([]string{"group", "listener", "rule", "service", "revision", "target"}, d.Cmd)
}

// putCopy makes a task a service's.
func (w *world) putCopy(t *state.Task, value func(key, otherwise string) string) {
	if r := value("revision", ""); r != "" {
		w.store.View(func(v *state.Reader) {
			revision, _ := state.ServiceRevisions.Get(v, r)
			t.ServiceARN, t.RevisionARN = revision.ServiceARN, r
		})
	}
	if p := value("port", ""); p != "" {
		container, host, _ := strings.Cut(p, ":")
		t.Containers = slices.Clone(t.Containers)
		t.Containers[0].Bindings = []lifecycle.Binding{{Container: "web", Protocol: value("protocol", "tcp"),
			ContainerPort: uint16(number(container)), HostPort: uint16(number(host))}}
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}
