// Package route is what the load balancers' records mean for a request: which rule it meets, and where that leads. It is
// pure: the records of one revision of the state make a [Table], which never changes; a request is matched against it.
package route

import (
	"net/netip"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// Table is all load balancers at one revision of the state.
type Table struct {
	Balancers []state.LoadBalancer // in the order of their ARNs; those without a listener too
	Listeners map[string]*Listener // by ARN
	Groups    map[string]*Group    // by ARN
}

// Listener is a port of a load balancer, with the load balancer's settings that matter for its traffic.
type Listener struct {
	ARN      string
	Balancer state.LoadBalancer
	Port     uint16
	Protocol elb.ProtocolEnum
	// Rules are in the order of their priorities; the last is the default, which meets every request.
	Rules        []Rule
	Certificates []state.Certificate // the default one first; without those that are gone or have no key
	Record       state.Listener
	Settings     Settings
}

// Rule is what is done with the requests that it meets.
type Rule struct {
	ARN        string
	Priority   int32 // 0 = the default
	Conditions []elb.RuleCondition
	Action     Action
	Transforms []elb.RuleTransform

	conditions []condition
	transforms []transform
}

// Action is what is done. One of its members is there.
type Action struct {
	Forward  *Forward
	Redirect *elb.RedirectActionConfig
	Fixed    *elb.FixedResponseActionConfig
}

// Forward sends to one of its groups, chosen by weight.
type Forward struct {
	Groups     []Weighted
	Stickiness time.Duration // of the choice of a group; zero = none

	total int64 // of the weights
}

// Weighted is a group with its weight.
type Weighted struct {
	Group  *Group
	Weight int32
}

// Group is a target group.
type Group struct {
	Record state.TargetGroup
	// Targets are all that are registered, in the order of their keys.
	Targets []Target
	// Used: a listener leads to it, so its targets are probed.
	Used bool

	// Open are the indexes of the targets that get new requests: the healthy ones, or, if too few are, all that are not
	// draining.
	Open       []int
	Algorithm  Algorithm
	SlowStart  time.Duration
	Stickiness Stickiness
	Mark       uint64 // of its ARN

	marks map[uint64]int // of Open, if it is sticky
}

// Target is where requests can go.
type Target struct {
	Key      string
	Address  netip.AddrPort
	Record   state.Target
	Draining bool
}
