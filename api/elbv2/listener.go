package elbv2

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
	"havn/wire"
)

const maxListeners = 50 // of a load balancer (quotas)

// protocols are what a load balancer's listeners can speak.
var protocols = map[types.LoadBalancerTypeEnum][]types.ProtocolEnum{
	types.LoadBalancerTypeEnumApplication: {types.ProtocolEnumHttp, types.ProtocolEnumHttps},
	types.LoadBalancerTypeEnumNetwork:     {types.ProtocolEnumTcp, types.ProtocolEnumTls, types.ProtocolEnumUdp, types.ProtocolEnumTcpUdp},
}

// listenerInput are the members that CreateListener and ModifyListener have in common.
type listenerInput struct {
	port         *int32
	protocol     types.ProtocolEnum
	policy       *string
	certificates []types.Certificate
	alpn         []string
	mutual       *types.MutualAuthenticationAttributes
	actions      []types.Action
}

// CreateListener makes a listener, or finds the one that is there with the same settings.
func (s *Server) CreateListener(ctx context.Context, in *elb.CreateListenerInput) (*elb.CreateListenerOutput, error) {
	if in.Port == nil || in.Protocol == "" {
		return nil, invalid("A listener port and protocol must be specified")
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	var made state.Listener
	err = s.change(ctx, func(tx *state.Tx) error {
		b, err := s.balancer(tx, *in.LoadBalancerArn)
		if err != nil {
			return err
		}
		wanted := state.Listener{LoadBalancerARN: b.ARN, Tags: tags}
		err = s.setListener(tx, b, &wanted, listenerInput{in.Port, in.Protocol, in.SslPolicy, in.Certificates, in.AlpnPolicy, in.MutualAuthentication, in.DefaultActions})
		if err != nil {
			return err
		}
		count := 0
		for other := range state.Listeners.By(tx, "load balancer", b.ARN) {
			if count++; other.Port != wanted.Port {
				continue
			}
			if !sameListener(wanted, other) {
				return portTaken(wanted)
			}
			made = other
			return nil
		}
		if count >= maxListeners {
			return &types.TooManyListenersException{Message: ptr(fmt.Sprintf("The maximum number of listeners on load balancer '%s' is %d", b.ARN, maxListeners))}
		}
		made = wanted
		made.ARN = s.listenerARN(b.ARN, tx.NewID())
		made.CreatedAt = wire.Now(ctx)
		state.Listeners.Put(tx, made)
		return checkGroupsOfBalancer(tx, b.ARN)
	})
	if err != nil {
		return nil, err
	}
	return &elb.CreateListenerOutput{Listeners: []types.Listener{describeListener(made)}}, nil
}

func portTaken(l state.Listener) error {
	return &types.DuplicateListenerException{Message: ptr("A listener already exists on this port for this load balancer '" + l.LoadBalancerARN + "'")}
}

// sameListener: CreateListener "is idempotent: if you attempt to create multiple listeners with the same settings, each
// call succeeds".
func sameListener(a, b state.Listener) bool {
	return a.Protocol == b.Protocol && a.SSLPolicy == b.SSLPolicy && slices.Equal(a.ALPNPolicy, b.ALPNPolicy) &&
		slices.Equal(a.Certificates[:min(1, len(a.Certificates))], b.Certificates[:min(1, len(b.Certificates))]) &&
		reflect.DeepEqual(a.DefaultActions, b.DefaultActions) && reflect.DeepEqual(tagMap(a.Tags), tagMap(b.Tags))
}

// setListener changes what the input names, and checks the whole.
func (s *Server) setListener(tx *state.Tx, b state.LoadBalancer, l *state.Listener, in listenerInput) error {
	l.Port = or(in.port, l.Port)
	was := l.Protocol
	if in.protocol != "" {
		l.Protocol = in.protocol
	}
	if !slices.Contains(protocols[b.Type], l.Protocol) {
		if l.Protocol == types.ProtocolEnumQuic || l.Protocol == types.ProtocolEnumTcpQuic {
			return unsupported("listeners with the protocol "+string(l.Protocol), "Havn speaks no QUIC")
		}
		return invalid("Listener protocol '%s' must be one of '%s'", l.Protocol, list(protocols[b.Type]))
	}
	if in.mutual != nil && or(in.mutual.Mode, "off") != "off" {
		return unsupported("MutualAuthentication with the mode "+*in.mutual.Mode, "Havn checks no certificates of clients")
	}
	if err := s.setSecurity(tx, l, in); err != nil {
		return err
	}
	actions := in.actions
	if actions == nil && l.Protocol != was { // what they lead to must suit the new protocol, too
		actions = l.DefaultActions
		for rule := range state.ListenerRules.By(tx, "listener", l.ARN) {
			if _, err := s.actions(tx, forwarding{b, l.Protocol}, rule.Actions); err != nil {
				return err
			}
		}
	}
	if actions != nil {
		var err error
		if l.DefaultActions, err = s.actions(tx, forwarding{b, l.Protocol}, actions); err != nil {
			return err
		}
	}
	return nil
}

func list[T ~string](all []T) string {
	return strings.Join(collect(all, func(t T) string { return string(t) }), ", ")
}

// ModifyListener changes what it names.
func (s *Server) ModifyListener(ctx context.Context, in *elb.ModifyListenerInput) (*elb.ModifyListenerOutput, error) {
	var made state.Listener
	err := s.changeListener(ctx, *in.ListenerArn, func(tx *state.Tx, l *state.Listener) error {
		b, err := s.balancer(tx, l.LoadBalancerARN)
		if err != nil {
			return err
		}
		err = s.setListener(tx, b, l, listenerInput{in.Port, in.Protocol, in.SslPolicy, in.Certificates, in.AlpnPolicy, in.MutualAuthentication, in.DefaultActions})
		if err != nil {
			return err
		}
		for other := range state.Listeners.By(tx, "load balancer", b.ARN) {
			if other.Port == l.Port && other.ARN != l.ARN {
				return portTaken(*l)
			}
		}
		state.Listeners.Put(tx, *l)
		made = *l
		return checkGroupsOfBalancer(tx, b.ARN)
	})
	if err != nil {
		return nil, err
	}
	return &elb.ModifyListenerOutput{Listeners: []types.Listener{describeListener(made)}}, nil
}

func (s *Server) listener(r state.Source, arn string) (state.Listener, error) {
	if err := s.checkARN(arn, "listener", "listener"); err != nil {
		return state.Listener{}, err
	}
	l, ok := state.Listeners.Get(r, arn)
	if !ok {
		return l, listenerNotFound(arn)
	}
	return l, nil
}

// changeListener writes a listener anew.
func (s *Server) changeListener(ctx context.Context, arn string, change func(*state.Tx, *state.Listener) error) error {
	return s.change(ctx, func(tx *state.Tx) error {
		l, err := s.listener(tx, arn)
		if err != nil {
			return err
		}
		if err := change(tx, &l); err != nil {
			return err
		}
		state.Listeners.Put(tx, l)
		return nil
	})
}

// DeleteListener deletes a listener with its rules.
func (s *Server) DeleteListener(ctx context.Context, in *elb.DeleteListenerInput) (*elb.DeleteListenerOutput, error) {
	return nil, s.change(ctx, func(tx *state.Tx) error {
		l, err := s.listener(tx, *in.ListenerArn)
		if err != nil {
			return err
		}
		deleteListener(tx, l)
		return nil
	})
}

func deleteListener(tx *state.Tx, l state.Listener) {
	for _, rule := range slices.Collect(state.ListenerRules.By(tx, "listener", l.ARN)) {
		state.ListenerRules.Delete(tx, rule.ARN)
	}
	state.Listeners.Delete(tx, l.ARN)
}

// DescribeListeners describes those that are named, which must exist, or all of a load balancer.
func (s *Server) DescribeListeners(_ context.Context, in *elb.DescribeListenersInput) (*elb.DescribeListenersOutput, error) {
	if (len(in.ListenerArns) > 0) == (in.LoadBalancerArn != nil) {
		return nil, invalid("You must specify either listener ARNs or a load balancer ARN")
	}
	if err := atMost(20, "listeners", in.ListenerArns); err != nil {
		return nil, err
	}
	p, err := newPager[types.Listener](in.PageSize, in.Marker, fingerprint(in.ListenerArns, in.LoadBalancerArn))
	if err != nil {
		return nil, err
	}
	err = s.view(func(r *state.Reader) error {
		offer := func(l state.Listener) {
			p.offer(l.ARN, func() types.Listener { return describeListener(l) })
		}
		for _, arn := range slices.Compact(slices.Sorted(slices.Values(in.ListenerArns))) {
			l, err := s.listener(r, arn)
			if err != nil {
				return err
			}
			offer(l)
		}
		if in.LoadBalancerArn != nil {
			b, err := s.balancer(r, *in.LoadBalancerArn)
			if err != nil {
				return err
			}
			for l := range state.Listeners.By(r, "load balancer", b.ARN) {
				offer(l)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.DescribeListenersOutput{Listeners: orEmpty(p.items), NextMarker: p.marker()}, nil
}

func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

func describeListener(l state.Listener) types.Listener {
	out := types.Listener{
		ListenerArn: ptr(l.ARN), LoadBalancerArn: ptr(l.LoadBalancerARN), Port: ptr(l.Port), Protocol: l.Protocol,
		DefaultActions: l.DefaultActions, SslPolicy: some(l.SSLPolicy), AlpnPolicy: l.ALPNPolicy,
	}
	if len(l.Certificates) > 0 { // of the default one only, as ELB
		out.Certificates = []types.Certificate{{CertificateArn: ptr(l.Certificates[0])}}
	}
	if l.Protocol == types.ProtocolEnumHttps {
		out.MutualAuthentication = &types.MutualAuthenticationAttributes{Mode: ptr("off")}
	}
	return out
}
