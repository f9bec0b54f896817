package control

import (
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/placement"
	"havn/state"
)

// maxAttached is how many tasks one transaction registers or deregisters.
const maxAttached = 100

// Targets keeps the running tasks of services in the target groups of their revisions, and takes those that are to stop
// out of them before their nodes hear of it:
//
//	RUNNING, to run on     targets registered, Attached
//	RUNNING, to stop       targets draining, Attached: the node is told nothing yet
//	  drained (Drains)     targets gone, not Attached: dispatch tells the node, SIGTERM
//	stopped by itself      targets gone, not Attached, at once
//
// Its keys are services.
func Targets() Controller {
	return Controller{
		Name: "targets",
		Concerns: func(c state.Change) []string {
			if t, ok := c.New.(state.Task); ok && t.ServiceARN != "" && t.Attached != t.Attachable() {
				return []string{t.ServiceARN}
			}
			return nil
		},
		Reaches: func(r *state.Reader, c state.Change) []string {
			target, ok := gone[state.Target](c) // with its target group, maybe
			if t, there := state.Tasks.Peek(r, target.TaskARN); ok && there && t.Attached && !t.Attachable() {
				return []string{t.ServiceARN}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (again time.Duration, err error) {
			if !hasLoadBalancers(tx, key) {
				return 0, nil
			}
			p := pass{tx: tx, now: now, registered: map[string]int{}, deregistered: map[string]int{}}
			count := 0
			for t := range state.Tasks.By(tx, "to attach or detach", key) {
				if count++; count > maxAttached {
					again = 1 // the rest at once, in a transaction of their own
					break
				}
				t, _ = state.Tasks.Get(tx, t.ARN) // guarded
				if t.Attachable() {
					p.attach(t)
				} else {
					p.detach(t)
				}
			}
			if s, ok := state.Services.Get(tx, key); ok {
				w := writer{tx: tx, gathered: &gathered{service: s}, now: now}
				p.tell(&w)
			}
			return again, nil
		},
	}
}

// hasLoadBalancers reports whether any revision of a service has one. With most, nothing is to be done.
func hasLoadBalancers(tx *state.Tx, service string) bool {
	for r := range state.ServiceRevisions.By(tx, "service", service) {
		if len(r.LoadBalancers) > 0 {
			return true
		}
	}
	return false
}

// pass is one look at a service.
type pass struct {
	tx  *state.Tx
	now time.Time

	registered   map[string]int // by target group
	deregistered map[string]int
	draining     int // tasks that begin to
}

// attach registers a task's targets, if it has any.
func (p *pass) attach(t state.Task) {
	targets := p.targetsOf(t)
	if len(targets) == 0 {
		return
	}
	for _, target := range targets {
		// A target that stands there with this address is of a task that is gone: no two have one port.
		state.Targets.Put(p.tx, target)
		p.registered[target.TargetGroupARN]++
	}
	t.Attached = true
	state.Tasks.Put(p.tx, t)
}

// targetsOf are the targets that a task is to have.
func (p *pass) targetsOf(t state.Task) (targets []state.Target) {
	revision, ok := state.ServiceRevisions.Peek(p.tx, t.RevisionARN)
	if !ok || len(revision.LoadBalancers) == 0 {
		return nil
	}
	node, ok := state.Nodes.Peek(p.tx, t.NodeID)
	if !ok {
		return nil
	}
	instance, _ := state.Instances.Peek(p.tx, t.InstanceARN)
	for i, l := range revision.LoadBalancers {
		group, ok := state.TargetGroups.Get(p.tx, revision.Group(i))
		if !ok {
			continue
		}
		port := p.hostPort(t, l, group.Protocol)
		if port == 0 {
			continue
		}
		targets = append(targets, state.Target{TargetGroupARN: group.ARN, ID: node.EC2InstanceID, Port: int32(port), Zone: placement.ZoneOf(instance, node),
			TaskARN: t.ARN, RegisteredAt: p.now})
	}
	return targets
}

// hostPort is where on its machine a task is reached; zero = nowhere, as far as is known.
func (p *pass) hostPort(t state.Task, l types.LoadBalancer, protocol elb.ProtocolEnum) uint16 {
	port := uint16(aws.ToInt32(l.ContainerPort))
	d, _ := state.TaskDefinitions.Peek(p.tx, t.DefinitionARN)
	if d.Spec.NetworkMode == types.NetworkModeHost {
		return port
	}
	for _, c := range t.Containers {
		if c.Name != aws.ToString(l.ContainerName) {
			continue
		}
		for _, b := range c.Bindings {
			if b.ContainerPort == port && b.ContainerPortRange == "" && carries(b.Protocol, protocol) {
				return b.HostPort
			}
		}
	}
	return 0
}

// carries reports whether a port of a container, tcp or udp, is one for a target group's traffic.
func carries(transport string, protocol elb.ProtocolEnum) bool {
	switch protocol {
	case elb.ProtocolEnumTcpUdp:
		return true
	case elb.ProtocolEnumUdp:
		return transport == string(types.TransportProtocolUdp)
	}
	return transport != string(types.TransportProtocolUdp)
}

// detach begins to drain the targets of a task that is to stop, and takes those of one that has stopped away.
func (p *pass) detach(t state.Task) {
	left, begun := 0, false
	for target := range state.Targets.By(p.tx, "task", t.ARN) {
		target, ok := state.Targets.Get(p.tx, keyOf(target)) // guarded
		if !ok || target.TaskARN != t.ARN {
			continue
		}
		fresh := target.DrainingSince.IsZero()
		if fresh {
			p.deregistered[target.TargetGroupARN]++
		}
		if !t.Draining() || !used(p.tx, target.TargetGroupARN) {
			state.Targets.Delete(p.tx, keyOf(target))
			continue
		}
		if fresh {
			target.DrainingSince, begun = p.now, true
			state.Targets.Put(p.tx, target)
		}
		left++
	}
	if begun && t.StopCode != types.TaskStopCodeServiceSchedulerInitiated { // else its service has told it
		p.draining++
	}
	if left == 0 {
		release(p.tx, t)
	}
}

// release lets a task go to which nothing leads any more.
func release(tx *state.Tx, t state.Task) {
	t.Attached = false
	t.Version++ // DescribeTasks shows that it goes on
	state.Tasks.Put(tx, t)
}

// tell adds what has been done to the service's history. Developer Guide, "Viewing Amazon ECS service event messages".
func (p *pass) tell(w *writer) {
	for _, arn := range slices.Sorted(maps.Keys(p.registered)) {
		w.say("registered %d targets in (target-group %s)", p.registered[arn], arn)
	}
	if p.draining > 0 {
		w.say("has begun draining connections on %d tasks.", p.draining)
	}
	for _, arn := range slices.Sorted(maps.Keys(p.deregistered)) {
		w.say("deregistered %d targets in (target-group %s)", p.deregistered[arn], arn)
	}
	w.tell()
}
