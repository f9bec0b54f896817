package elbv2

import (
	"context"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"havn/state"
)

// ModifyLoadBalancerAttributes sets attributes; the others stay as they are.
func (s *Server) ModifyLoadBalancerAttributes(ctx context.Context, in *elb.ModifyLoadBalancerAttributesInput) (*elb.ModifyLoadBalancerAttributesOutput, error) {
	out := &elb.ModifyLoadBalancerAttributesOutput{}
	err := s.changeBalancer(ctx, *in.LoadBalancerArn, func(b *state.LoadBalancer) (err error) {
		has := attributesOf(balancerAttributes, string(b.Type))
		if b.Attributes, err = setAttributes("Load balancer", has, b.Attributes, collect(in.Attributes, balancerPair)); err != nil {
			return err
		}
		out.Attributes = valuesOf(has, b.Attributes, balancerAttribute)
		return nil
	})
	return out, err
}

// DescribeLoadBalancerAttributes tells all attributes that the load balancer has.
func (s *Server) DescribeLoadBalancerAttributes(_ context.Context, in *elb.DescribeLoadBalancerAttributesInput) (*elb.DescribeLoadBalancerAttributesOutput, error) {
	out := &elb.DescribeLoadBalancerAttributesOutput{}
	return out, s.view(func(r *state.Reader) error {
		b, err := s.balancer(r, *in.LoadBalancerArn)
		out.Attributes = valuesOf(attributesOf(balancerAttributes, string(b.Type)), b.Attributes, balancerAttribute)
		return err
	})
}

// ModifyListenerAttributes sets attributes; the others stay as they are.
func (s *Server) ModifyListenerAttributes(ctx context.Context, in *elb.ModifyListenerAttributesInput) (*elb.ModifyListenerAttributesOutput, error) {
	out := &elb.ModifyListenerAttributesOutput{}
	err := s.changeListener(ctx, *in.ListenerArn, func(_ *state.Tx, l *state.Listener) (err error) {
		has := attributesOf(listenerAttributes, string(l.Protocol))
		if l.Attributes, err = setAttributes("Listener", has, l.Attributes, collect(in.Attributes, listenerPair)); err != nil {
			return err
		}
		out.Attributes = valuesOf(has, l.Attributes, listenerAttribute)
		return nil
	})
	return out, err
}

// DescribeListenerAttributes tells all attributes that the listener has.
func (s *Server) DescribeListenerAttributes(_ context.Context, in *elb.DescribeListenerAttributesInput) (*elb.DescribeListenerAttributesOutput, error) {
	out := &elb.DescribeListenerAttributesOutput{}
	return out, s.view(func(r *state.Reader) error {
		l, err := s.listener(r, *in.ListenerArn)
		out.Attributes = valuesOf(attributesOf(listenerAttributes, string(l.Protocol)), l.Attributes, listenerAttribute)
		return err
	})
}

// ModifyTargetGroupAttributes sets attributes; the others stay as they are.
func (s *Server) ModifyTargetGroupAttributes(ctx context.Context, in *elb.ModifyTargetGroupAttributesInput) (*elb.ModifyTargetGroupAttributesOutput, error) {
	out := &elb.ModifyTargetGroupAttributesOutput{}
	err := s.change(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.TargetGroupArn)
		if err != nil {
			return err
		}
		has := attributesOf(groupAttributes, string(g.Protocol))
		if g.Attributes, err = setAttributes("Target group", has, g.Attributes, collect(in.Attributes, groupPair)); err != nil {
			return err
		}
		set := g.Attributes
		switch {
		case set["stickiness.enabled"] == "true" && set["stickiness.type"] == "app_cookie" && set["stickiness.app_cookie.cookie_name"] == "":
			return invalid("A cookie name must be specified for stickiness of type 'app_cookie'")
		case set["slow_start.duration_seconds"] != "" && set["load_balancing.algorithm.type"] != "":
			// "You can't enable slow start mode with the least outstanding requests or weighted random algorithms"
			return badConfiguration("Slow start cannot be enabled with the algorithm '%s'", set["load_balancing.algorithm.type"])
		}
		state.TargetGroups.Put(tx, g)
		out.Attributes = valuesOf(has, g.Attributes, groupAttribute)
		return nil
	})
	return out, err
}

// DescribeTargetGroupAttributes tells all attributes that the target group has.
func (s *Server) DescribeTargetGroupAttributes(_ context.Context, in *elb.DescribeTargetGroupAttributesInput) (*elb.DescribeTargetGroupAttributesOutput, error) {
	out := &elb.DescribeTargetGroupAttributesOutput{}
	return out, s.view(func(r *state.Reader) error {
		g, err := s.group(r, *in.TargetGroupArn)
		out.Attributes = valuesOf(attributesOf(groupAttributes, string(g.Protocol)), g.Attributes, groupAttribute)
		return err
	})
}
