package route

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// thisMachine is where targets on a node are that has no address: it is the machine that the load balancers run on.
var thisMachine = netip.MustParseAddr("127.0.0.1")

// Build makes the table of what the records say. It does not modify them.
func Build(r *state.Reader) *Table {
	t := &Table{Listeners: map[string]*Listener{}, Groups: map[string]*Group{}}
	for g := range state.TargetGroups.All(r) {
		t.Groups[g.ARN] = &Group{Record: g}
	}
	machines := machines(r)
	for target := range state.Targets.All(r) {
		g, known := t.Groups[target.TargetGroupARN]
		if !known {
			continue
		}
		g.Targets = append(g.Targets, Target{
			Key:      state.TargetKey(target.TargetGroupARN, target.ID, target.Port),
			Address:  netip.AddrPortFrom(machines.address(target.ID), uint16(target.Port)),
			Record:   target,
			Draining: !target.DrainingSince.IsZero(),
		})
	}
	t.Balancers = slices.Collect(state.LoadBalancers.All(r))
	for l := range state.Listeners.All(r) {
		balancer, known := state.LoadBalancers.Peek(r, l.LoadBalancerARN)
		if !known {
			continue
		}
		made := &Listener{ARN: l.ARN, Balancer: balancer, Port: uint16(l.Port), Protocol: l.Protocol, Record: l}
		for _, arn := range l.Certificates {
			if c, ok := state.Certificates.Peek(r, arn); ok && c.Key != "" {
				made.Certificates = append(made.Certificates, c)
			}
		}
		for rule := range state.ListenerRules.By(r, "listener", l.ARN) {
			made.Rules = append(made.Rules, Rule{ARN: rule.ARN, Priority: rule.Priority, Conditions: rule.Conditions, Action: t.action(rule.Actions), Transforms: rule.Transforms})
		}
		slices.SortFunc(made.Rules, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
		made.Rules = append(made.Rules, Rule{Action: t.action(l.DefaultActions)})
		t.Listeners[l.ARN] = made
	}
	return t.Ready()
}

// action is the last of a rule's actions; those before it authenticate, which is refused where rules are made.
func (t *Table) action(actions []elb.Action) Action {
	if len(actions) == 0 {
		return Action{}
	}
	a := actions[len(actions)-1]
	switch {
	case a.RedirectConfig != nil:
		return Action{Redirect: a.RedirectConfig}
	case a.FixedResponseConfig != nil:
		return Action{Fixed: a.FixedResponseConfig}
	}
	f := &Forward{}
	if c := a.ForwardConfig; c != nil {
		for _, g := range c.TargetGroups {
			weight := int32(1)
			if g.Weight != nil {
				weight = *g.Weight
			}
			f.add(t, g.TargetGroupArn, weight)
		}
		if s := c.TargetGroupStickinessConfig; s != nil && s.Enabled != nil && *s.Enabled && s.DurationSeconds != nil {
			f.Stickiness = time.Duration(*s.DurationSeconds) * time.Second
		}
	}
	if len(f.Groups) == 0 {
		f.add(t, a.TargetGroupArn, 1)
	}
	return Action{Forward: f}
}

func (f *Forward) add(t *Table, arn *string, weight int32) {
	if arn == nil {
		return
	}
	if g, ok := t.Groups[*arn]; ok {
		g.Used = true
		f.Groups = append(f.Groups, Weighted{Group: g, Weight: weight})
	}
}

// machinesByInstance are the nodes' addresses by their EC2 instance IDs.
type machinesByInstance map[string]netip.Addr

func machines(r *state.Reader) machinesByInstance {
	all := machinesByInstance{}
	for n := range state.Nodes.All(r) {
		if n.EC2InstanceID == "" {
			continue
		}
		all[n.EC2InstanceID] = thisMachine
		if n.Address != "" {
			all[n.EC2InstanceID], _ = netip.ParseAddr(n.Address)
		}
	}
	return all
}

// address is where a target is; the zero Addr when that is unknown.
func (m machinesByInstance) address(id string) netip.Addr {
	if a, ok := m[id]; ok {
		return a
	}
	a, _ := netip.ParseAddr(id)
	return a
}
