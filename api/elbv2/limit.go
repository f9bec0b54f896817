package elbv2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// limits are the quotas that the handlers keep, under the names of DescribeAccountLimits.
var limits = map[string]int{
	"application-load-balancers":                            maxBalancers,
	"network-load-balancers":                                maxBalancers,
	"listeners-per-application-load-balancer":               maxListeners,
	"listeners-per-network-load-balancer":                   maxListeners,
	"rules-per-application-load-balancer":                   maxRules,
	"condition-values-per-alb-rule":                         maxConditionValues,
	"condition-wildcards-per-alb-rule":                      maxWildcards,
	"target-groups":                                         maxGroups,
	"target-groups-per-application-load-balancer":           maxGroupsOfBalancer,
	"target-groups-per-action-on-application-load-balancer": maxGroupsOfAction,
	"target-groups-per-action-on-network-load-balancer":     maxGroupsOfAction,
	"targets-per-target-group":                              maxTargets,
	"certificates-per-application-load-balancer":            maxCertificates,
	"certificates-per-network-load-balancer":                maxCertificates,
}

// DescribeAccountLimits tells the quotas.
func (s *Server) DescribeAccountLimits(_ context.Context, in *elb.DescribeAccountLimitsInput) (*elb.DescribeAccountLimitsOutput, error) {
	p, err := newPager[types.Limit](in.PageSize, in.Marker, fingerprint("limits"))
	if err != nil {
		return nil, err
	}
	var all []types.Limit
	for name, most := range limits {
		all = append(all, types.Limit{Name: ptr(name), Max: ptr(strconv.Itoa(most))})
	}
	slices.SortFunc(all, func(a, b types.Limit) int { return strings.Compare(*a.Name, *b.Name) })
	for _, l := range all {
		p.offer(*l.Name, func() types.Limit { return l })
	}
	return &elb.DescribeAccountLimitsOutput{Limits: orEmpty(p.items), NextMarker: p.marker()}, nil
}
