package elbv2

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
	"havn/wire"
)

const maxRules = 100 // of a load balancer, without its default rules (quotas)

// A listener's default actions are described as a rule, too, with the priority "default". Its ARN follows from the
// listener's, so it needs no record.
func (s *Server) defaultRuleARN(l state.Listener) string {
	resource := s.resource(l.ARN)
	return s.ruleARN(l.ARN, resource[strings.LastIndexByte(resource, '/')+1:])
}

// defaultRuleOf is the listener whose default rule the ARN is of.
func defaultRuleOf(s *Server, r state.Source, arn string) (state.Listener, bool) {
	rest, ok := strings.CutPrefix(s.resource(arn), "listener-rule/")
	at := strings.LastIndexByte(rest, '/')
	if !ok || at < 0 {
		return state.Listener{}, false
	}
	l, ok := state.Listeners.Get(r, s.arn("listener/"+rest[:at]))
	return l, ok && s.defaultRuleARN(l) == arn
}

// CreateRule adds a rule to a listener.
func (s *Server) CreateRule(ctx context.Context, in *elb.CreateRuleInput) (*elb.CreateRuleOutput, error) {
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	var made state.ListenerRule
	err = s.change(ctx, func(tx *state.Tx) error {
		l, err := s.listener(tx, *in.ListenerArn)
		if err != nil {
			return err
		}
		b, err := s.balancer(tx, l.LoadBalancerARN)
		if err != nil {
			return err
		}
		made = state.ListenerRule{ListenerARN: l.ARN, Priority: *in.Priority, Tags: tags, CreatedAt: wire.Now(ctx)}
		if made.Conditions, err = conditions(b, in.Conditions); err != nil {
			return err
		}
		if made.Transforms, err = transforms(in.Transforms); err != nil {
			return err
		}
		if made.Actions, err = s.actions(tx, forwarding{b, l.Protocol}, in.Actions); err != nil {
			return err
		}
		for rule := range state.ListenerRules.By(tx, "listener", l.ARN) {
			if rule.Priority == made.Priority {
				return priorityTaken(made.Priority)
			}
		}
		count := 0
		for other := range state.Listeners.By(tx, "load balancer", b.ARN) {
			count += state.ListenerRules.CountBy(tx, "listener", other.ARN)
		}
		if count >= maxRules {
			return &types.TooManyRulesException{Message: ptr(fmt.Sprintf("The maximum number of rules on load balancer '%s' is %d", b.ARN, maxRules))}
		}
		made.ARN = s.ruleARN(l.ARN, tx.NewID())
		state.ListenerRules.Put(tx, made)
		return checkGroupsOfBalancer(tx, b.ARN)
	})
	if err != nil {
		return nil, err
	}
	return &elb.CreateRuleOutput{Rules: []types.Rule{describeRule(made)}}, nil
}

func priorityTaken(priority int32) error {
	return &types.PriorityInUseException{Message: ptr(fmt.Sprintf("Priority '%d' is currently in use", priority))}
}

// rule finds a rule that is no default rule; what is to be done with it is said of a default one.
func (s *Server) rule(tx *state.Tx, arn, done string) (state.ListenerRule, error) {
	if err := s.checkARN(arn, "listener-rule", "listener rule"); err != nil {
		return state.ListenerRule{}, err
	}
	if _, ok := defaultRuleOf(s, tx, arn); ok {
		return state.ListenerRule{}, notPermitted("Default rule '%s' cannot be %s", arn, done)
	}
	rule, ok := state.ListenerRules.Get(tx, arn)
	if !ok {
		return rule, ruleNotFound(arn)
	}
	return rule, nil
}

// ModifyRule changes what it names. "To delete all transforms, set ResetTransforms" (ModifyRule).
func (s *Server) ModifyRule(ctx context.Context, in *elb.ModifyRuleInput) (*elb.ModifyRuleOutput, error) {
	reset := deref(in.ResetTransforms)
	switch {
	case len(in.Conditions) == 0 && len(in.Actions) == 0 && len(in.Transforms) == 0 && !reset:
		return nil, invalid("Either conditions, actions or transforms must be specified")
	case reset && len(in.Transforms) > 0:
		return nil, invalid("Transforms cannot be specified with ResetTransforms")
	}
	var made state.ListenerRule
	err := s.change(ctx, func(tx *state.Tx) (err error) {
		if made, err = s.rule(tx, *in.RuleArn, "modified; modify its listener"); err != nil {
			return err
		}
		l, err := s.listener(tx, made.ListenerARN)
		if err != nil {
			return err
		}
		b, err := s.balancer(tx, l.LoadBalancerARN)
		if err != nil {
			return err
		}
		if len(in.Conditions) > 0 {
			if made.Conditions, err = conditions(b, in.Conditions); err != nil {
				return err
			}
		}
		if reset || len(in.Transforms) > 0 {
			if made.Transforms, err = transforms(in.Transforms); err != nil {
				return err
			}
		}
		if len(in.Actions) > 0 {
			if made.Actions, err = s.actions(tx, forwarding{b, l.Protocol}, in.Actions); err != nil {
				return err
			}
		}
		state.ListenerRules.Put(tx, made)
		return checkGroupsOfBalancer(tx, b.ARN)
	})
	if err != nil {
		return nil, err
	}
	return &elb.ModifyRuleOutput{Rules: []types.Rule{describeRule(made)}}, nil
}

// SetRulePriorities gives rules other priorities, all at once: two can change places.
func (s *Server) SetRulePriorities(ctx context.Context, in *elb.SetRulePrioritiesInput) (*elb.SetRulePrioritiesOutput, error) {
	var made []state.ListenerRule
	err := s.change(ctx, func(tx *state.Tx) error {
		made = nil
		var named []string
		for _, p := range in.RulePriorities {
			if p.Priority == nil || p.RuleArn == nil {
				return invalid("A rule ARN and a priority must be specified")
			}
			if slices.Contains(named, *p.RuleArn) {
				return invalid("Rule '%s' was specified more than once", *p.RuleArn)
			}
			named = append(named, *p.RuleArn)
			rule, err := s.rule(tx, *p.RuleArn, "given a priority")
			if err != nil {
				return err
			}
			if len(made) > 0 && made[0].ListenerARN != rule.ListenerARN {
				return invalid("All rules must belong to the same listener")
			}
			rule.Priority = *p.Priority
			state.ListenerRules.Put(tx, rule)
			made = append(made, rule)
		}
		if len(made) == 0 {
			return invalid("A rule ARN and a priority must be specified")
		}
		taken := map[int32]bool{}
		for rule := range state.ListenerRules.By(tx, "listener", made[0].ListenerARN) { // as they are now
			if taken[rule.Priority] {
				return priorityTaken(rule.Priority)
			}
			taken[rule.Priority] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.SetRulePrioritiesOutput{Rules: collect(made, describeRule)}, nil
}

// DeleteRule deletes a rule.
func (s *Server) DeleteRule(ctx context.Context, in *elb.DeleteRuleInput) (*elb.DeleteRuleOutput, error) {
	return nil, s.change(ctx, func(tx *state.Tx) error {
		rule, err := s.rule(tx, *in.RuleArn, "deleted")
		if err != nil {
			return err
		}
		state.ListenerRules.Delete(tx, rule.ARN)
		return nil
	})
}

// DescribeRules describes the rules that are named, or all of a listener in the order of their priorities, the default
// one last.
func (s *Server) DescribeRules(_ context.Context, in *elb.DescribeRulesInput) (*elb.DescribeRulesOutput, error) {
	if (len(in.RuleArns) > 0) == (in.ListenerArn != nil) {
		return nil, invalid("You must specify either listener rule ARNs or a listener ARN")
	}
	if err := atMost(20, "rules", in.RuleArns); err != nil {
		return nil, err
	}
	p, err := newPager[types.Rule](in.PageSize, in.Marker, fingerprint(in.RuleArns, in.ListenerArn))
	if err != nil {
		return nil, err
	}
	var found []types.Rule
	err = s.view(func(r *state.Reader) error {
		for _, arn := range in.RuleArns {
			if l, ok := defaultRuleOf(s, r, arn); ok {
				found = append(found, s.describeDefault(l))
				continue
			}
			rule, ok := state.ListenerRules.Get(r, arn)
			if !ok {
				return &types.RuleNotFoundException{Message: ptr("One or more rules not found")}
			}
			found = append(found, describeRule(rule))
		}
		if in.ListenerArn != nil {
			l, err := s.listener(r, *in.ListenerArn)
			if err != nil {
				return err
			}
			for rule := range state.ListenerRules.By(r, "listener", l.ARN) {
				found = append(found, describeRule(rule))
			}
			found = append(found, s.describeDefault(l))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b types.Rule) int { return strings.Compare(ruleOrder(a), ruleOrder(b)) })
	for _, rule := range found {
		p.offer(ruleOrder(rule), func() types.Rule { return rule })
	}
	return &elb.DescribeRulesOutput{Rules: orEmpty(p.items), NextMarker: p.marker()}, nil
}

// ruleOrder sorts by priority, the default ones after all.
func ruleOrder(r types.Rule) string {
	n, err := strconv.Atoi(*r.Priority)
	if err != nil {
		n = 99_999
	}
	return fmt.Sprintf("%05d %s", n, *r.RuleArn)
}

func describeRule(r state.ListenerRule) types.Rule {
	return types.Rule{
		RuleArn: ptr(r.ARN), Priority: ptr(strconv.Itoa(int(r.Priority))), IsDefault: ptr(false),
		Conditions: r.Conditions, Actions: r.Actions, Transforms: r.Transforms,
	}
}

func (s *Server) describeDefault(l state.Listener) types.Rule {
	return types.Rule{
		RuleArn: ptr(s.defaultRuleARN(l)), Priority: ptr("default"), IsDefault: ptr(true),
		Conditions: []types.RuleCondition{}, Actions: l.DefaultActions,
	}
}
