package state

import (
	"strconv"
	"strings"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

//	LoadBalancer <-- Listener <-- Rule --forwards to--> TargetGroup <-- Target

var (
	LoadBalancers = NewTable("load-balancer", 1, func(l LoadBalancer) string { return l.ARN },
		Index[LoadBalancer]{"name", func(l LoadBalancer) []string { return []string{l.Name} }})

	Listeners = NewTable("listener", 1, func(l Listener) string { return l.ARN },
		Index[Listener]{"load balancer", func(l Listener) []string { return []string{l.LoadBalancerARN} }},
		Index[Listener]{"target group", func(l Listener) []string { return TargetGroupsOf(l.DefaultActions) }},
		Index[Listener]{"certificate", func(l Listener) []string { return l.Certificates }})

	ListenerRules = NewTable("listener-rule", 1, func(r ListenerRule) string { return r.ARN },
		Index[ListenerRule]{"listener", func(r ListenerRule) []string { return []string{r.ListenerARN} }},
		Index[ListenerRule]{"target group", func(r ListenerRule) []string { return TargetGroupsOf(r.Actions) }})

	TargetGroups = NewTable("target-group", 1, func(g TargetGroup) string { return g.ARN },
		Index[TargetGroup]{"name", func(g TargetGroup) []string { return []string{g.Name} }})

	Targets = NewTable("target", 1, func(t Target) string { return TargetKey(t.TargetGroupARN, t.ID, t.Port) },
		Index[Target]{"target group", func(t Target) []string { return []string{t.TargetGroupARN} }},
		Index[Target]{"task", func(t Target) []string { return ifAny(t.TaskARN) }})

	BalancerLedgers = NewTable("balancer-ledger", 1, func(BalancerLedger) string { return BalancerLedgerKey })

	Certificates = NewTable("certificate", 1, func(c Certificate) string { return c.ARN })
)

func ifAny(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// BalancerLedgerKey is the key of the one BalancerLedger.
const BalancerLedgerKey = "all"

// BalancerLedger counts what api/elbv2 made, changed and removed. It is where rivals meet: whether a name, a port, a
// priority or an address is free, and whether a target group is in use, is seen in a set, which no transaction guards.
// So each that decides upon such a set writes this, too. Writer: api/elbv2.
type BalancerLedger struct {
	Changes int64
}

// LoadBalancer is an entry for traffic. Writer: api/elbv2, but for State.
type LoadBalancer struct {
	ARN                   string
	Name                  string
	DNSName               string
	Type                  elb.LoadBalancerTypeEnum
	Scheme                elb.LoadBalancerSchemeEnum
	IPAddressType         elb.IpAddressType
	Zones                 []elb.AvailabilityZone `json:",omitempty"`
	SecurityGroups        []string               `json:",omitempty"`
	CustomerOwnedIPv4Pool string                 `json:",omitempty"`
	Attributes            map[string]string      `json:",omitempty"`
	Tags                  []elb.Tag              `json:",omitempty"`
	CreatedAt             time.Time
	// Address is the loopback address (127.18.0.0/16) that is this load balancer's own on the machine that it runs on.
	// No two have the same. Balance writes it, too, where there is none, or another Havn on the machine uses it.
	Address string

	// State is whether its listeners listen. Writer: balance.
	State elb.LoadBalancerState `json:",omitzero"`
}

// Listener is a port of a load balancer. Writer: api/elbv2; of the forward weights in DefaultActions control too, while
// a deployment shifts traffic.
type Listener struct {
	ARN             string
	LoadBalancerARN string
	Port            int32
	Protocol        elb.ProtocolEnum
	SSLPolicy       string            `json:",omitempty"`
	ALPNPolicy      []string          `json:",omitempty"`
	Certificates    []string          `json:",omitempty"` // ARNs, the default one first
	DefaultActions  []elb.Action      `json:",omitempty"`
	Attributes      map[string]string `json:",omitempty"`
	Tags            []elb.Tag         `json:",omitempty"`
	CreatedAt       time.Time
}

// ListenerRule is what a listener does with some of its requests; its default actions are on the Listener. Writer: api/elbv2;
// of the forward weights in Actions control too, while a deployment shifts traffic.
type ListenerRule struct {
	ARN         string
	ListenerARN string
	Priority    int32
	Conditions  []elb.RuleCondition
	Actions     []elb.Action
	Transforms  []elb.RuleTransform `json:",omitempty"`
	Tags        []elb.Tag           `json:",omitempty"`
	CreatedAt   time.Time
}

// TargetGroupsOf are the ARNs of the target groups that actions forward to.
func TargetGroupsOf(actions []elb.Action) []string {
	var all []string
	for _, a := range actions {
		if a.TargetGroupArn != nil {
			all = append(all, *a.TargetGroupArn)
		}
		if a.ForwardConfig == nil {
			continue
		}
		for _, g := range a.ForwardConfig.TargetGroups {
			if g.TargetGroupArn != nil && (a.TargetGroupArn == nil || *a.TargetGroupArn != *g.TargetGroupArn) {
				all = append(all, *g.TargetGroupArn)
			}
		}
	}
	return all
}

// ActionsAt are the actions of what an ARN names: a listener rule, a listener, or a listener's default rule, which has
// no record: its ARN is the listener's, as a rule, with the listener's last part once more.
func ActionsAt(src Source, arn string) ([]elb.Action, bool) {
	if r, ok := ListenerRules.Get(src, arn); ok {
		return r.Actions, true
	}
	l, ok := Listeners.Get(src, listenerAt(arn))
	return l.DefaultActions, ok
}

// SetActionsAt changes them.
func SetActionsAt(tx *Tx, arn string, actions []elb.Action) {
	if r, ok := ListenerRules.Get(tx, arn); ok {
		r.Actions = actions
		ListenerRules.Put(tx, r)
	} else if l, ok := Listeners.Get(tx, listenerAt(arn)); ok {
		l.DefaultActions = actions
		Listeners.Put(tx, l)
	}
}

// listenerAt is the ARN of the listener that an ARN names, or whose default rule it names.
func listenerAt(arn string) string {
	before, rule, ok := strings.Cut(arn, ":listener-rule/")
	at := strings.LastIndexByte(rule, '/')
	if !ok || at < 0 || !strings.HasSuffix(rule[:at], rule[at:]) {
		return arn
	}
	return before + ":listener/" + rule[:at]
}

// TargetGroup is where traffic can go. Writer: api/elbv2.
type TargetGroup struct {
	ARN             string
	Name            string
	Type            elb.TargetTypeEnum // instance or ip
	Protocol        elb.ProtocolEnum
	ProtocolVersion string `json:",omitempty"` // HTTP1, HTTP2 or GRPC
	Port            int32
	VPCID           string `json:",omitempty"`
	IPAddressType   elb.TargetGroupIpAddressTypeEnum
	HealthCheck     HealthCheck
	Attributes      map[string]string `json:",omitempty"`
	Tags            []elb.Tag         `json:",omitempty"`
	CreatedAt       time.Time
}

// HealthCheck is how the health of a target group's targets is found out.
type HealthCheck struct {
	Enabled          bool
	Protocol         elb.ProtocolEnum
	Port             string // a number, or traffic-port
	Path             string `json:",omitempty"`
	IntervalSeconds  int32
	TimeoutSeconds   int32
	Healthy          int32  // probes in a row
	Unhealthy        int32  // probes in a row
	HTTPCodes        string `json:",omitempty"` // 200 or 200,202 or 200-299
	GRPCCodes        string `json:",omitempty"`
	MatcherSpecified bool   `json:",omitempty"`
}

// TargetKey is the key of a target.
func TargetKey(targetGroupARN, id string, port int32) string {
	return targetGroupARN + "|" + id + "|" + strconv.Itoa(int(port))
}

// Target is somewhere that a target group sends traffic.
type Target struct {
	// Writer: whoever registers it: api/elbv2 (RegisterTargets), or control for a service's task.
	TargetGroupARN string
	ID             string // an EC2 instance ID, or an IP address
	Port           int32
	Zone           string `json:",omitempty"`
	TaskARN        string `json:",omitempty"` // the service's task that it is
	RegisteredAt   time.Time

	// DrainingSince is when it was deregistered: it gets no new request from then on. Writer: as above.
	DrainingSince time.Time `json:",omitzero"`
	// Drained: nothing is under way to it any more, and nothing will be. Control deletes it then, or when the
	// deregistration delay is over. Writer: balance.
	Drained bool `json:",omitempty"`

	// What its health checks say. Writer: balance. Empty = it has not been looked at: initial.
	Health TargetHealth `json:",omitzero"`
}

// TargetHealth is what DescribeTargetHealth says of a target that is not draining.
type TargetHealth struct {
	State       elb.TargetHealthStateEnum
	Reason      elb.TargetHealthReasonEnum `json:",omitempty"`
	Description string                     `json:",omitempty"`
	Since       time.Time                  `json:",omitzero"`
}

// Certificate is one of ACM's. Writer: api/acm; certify issues what was requested.
type Certificate struct {
	ARN         string
	DomainName  string
	Names       []string // subject alternative names, DomainName among them
	Type        string   // IMPORTED or AMAZON_ISSUED
	Status      string   // PENDING_VALIDATION, ISSUED, FAILED, EXPIRED
	FailReason  string   `json:",omitempty"`
	Body        string   `json:",omitempty"` // PEM
	Chain       string   `json:",omitempty"` // PEM
	Key         Secret   `json:",omitempty"` // PEM; never shown
	KeyType     string   `json:",omitempty"`
	Tags        map[string]string
	CreatedAt   time.Time
	ImportedAt  time.Time `json:",omitzero"`
	IssuedAt    time.Time `json:",omitzero"`
	NotBefore   time.Time `json:",omitzero"`
	NotAfter    time.Time `json:",omitzero"`
	Idempotency string    `json:",omitempty"`
}

// Secret is text that is stored and never printed.
type Secret string

// String hides it.
func (Secret) String() string { return "(secret)" }

// GoString hides it.
func (Secret) GoString() string { return "(secret)" }
