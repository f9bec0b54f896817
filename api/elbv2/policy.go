package elbv2

import (
	"context"
	"slices"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/sslpolicy"
)

// DescribeSSLPolicies describes the policies that Havn's listeners can have, as AWS describes them. Of the ciphers, those
// that Go's TLS does not have are not offered.
func (s *Server) DescribeSSLPolicies(_ context.Context, in *elb.DescribeSSLPoliciesInput) (*elb.DescribeSSLPoliciesOutput, error) {
	p, err := newPager[types.SslPolicy](in.PageSize, in.Marker, fingerprint(in.Names, in.LoadBalancerType))
	if err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if _, ok := sslpolicy.Get(name); !ok {
			return nil, policyNotFound(name)
		}
	}
	all := slices.SortedFunc(slices.Values(sslpolicy.All), func(a, b sslpolicy.Policy) int { return strings.Compare(a.Name, b.Name) })
	for _, policy := range all {
		if in.LoadBalancerType == types.LoadBalancerTypeEnumGateway || len(in.Names) > 0 && !slices.Contains(in.Names, policy.Name) {
			continue
		}
		p.offer(policy.Name, func() types.SslPolicy {
			described := types.SslPolicy{Name: ptr(policy.Name), SslProtocols: policy.Protocols, SupportedLoadBalancerTypes: []string{"application", "network"}}
			for i, c := range policy.Ciphers {
				described.Ciphers = append(described.Ciphers, types.Cipher{Name: ptr(c), Priority: ptr(int32(i + 1))})
			}
			return described
		})
	}
	return &elb.DescribeSSLPoliciesOutput{SslPolicies: orEmpty(p.items), NextMarker: p.marker()}, nil
}

func policyNotFound(name string) error {
	return &types.SSLPolicyNotFoundException{Message: ptr("SSL policy '" + name + "' not found among those that Havn supports")}
}
