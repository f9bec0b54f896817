package elbv2

import (
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"havn/wire"
)

// Register adds a handler for each operation.
func (s *Server) Register(api *wire.API) {
	wire.Handle(api, s.CreateLoadBalancer)
	wire.Handle(api, s.DescribeLoadBalancers)
	wire.Handle(api, s.DeleteLoadBalancer)
	wire.Handle(api, s.SetSubnets)
	wire.Handle(api, s.SetSecurityGroups)
	wire.Handle(api, s.SetIpAddressType)
	wire.Handle(api, s.ModifyLoadBalancerAttributes)
	wire.Handle(api, s.DescribeLoadBalancerAttributes)

	wire.Handle(api, s.CreateListener)
	wire.Handle(api, s.DescribeListeners)
	wire.Handle(api, s.ModifyListener)
	wire.Handle(api, s.DeleteListener)
	wire.Handle(api, s.ModifyListenerAttributes)
	wire.Handle(api, s.DescribeListenerAttributes)
	wire.Handle(api, s.AddListenerCertificates)
	wire.Handle(api, s.RemoveListenerCertificates)
	wire.Handle(api, s.DescribeListenerCertificates)

	wire.Handle(api, s.CreateRule)
	wire.Handle(api, s.DescribeRules)
	wire.Handle(api, s.ModifyRule)
	wire.Handle(api, s.DeleteRule)
	wire.Handle(api, s.SetRulePriorities)

	wire.Handle(api, s.CreateTargetGroup)
	wire.Handle(api, s.DescribeTargetGroups)
	wire.Handle(api, s.ModifyTargetGroup)
	wire.Handle(api, s.DeleteTargetGroup)
	wire.Handle(api, s.ModifyTargetGroupAttributes)
	wire.Handle(api, s.DescribeTargetGroupAttributes)

	wire.Handle(api, s.RegisterTargets)
	wire.Handle(api, s.DeregisterTargets)
	wire.Handle(api, s.DescribeTargetHealth)

	wire.Handle(api, s.AddTags)
	wire.Handle(api, s.RemoveTags)
	wire.Handle(api, s.DescribeTags)
	wire.Handle(api, s.DescribeAccountLimits)
	wire.Handle(api, s.DescribeSSLPolicies)

	wire.Handle(api, s.DescribeCapacityReservation)
	wire.Handle(api, s.ModifyCapacityReservation)
	wire.Handle(api, s.ModifyIpPools)
	wire.Handle(api, s.GetResourcePolicy)
	wire.Handle(api, s.CreateTrustStore)
	wire.Handle(api, s.DescribeTrustStores)
	wire.Handle(api, trustStoreNotFound[elb.ModifyTrustStoreInput, elb.ModifyTrustStoreOutput](func(in *elb.ModifyTrustStoreInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.DeleteTrustStoreInput, elb.DeleteTrustStoreOutput](func(in *elb.DeleteTrustStoreInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.DescribeTrustStoreAssociationsInput, elb.DescribeTrustStoreAssociationsOutput](func(in *elb.DescribeTrustStoreAssociationsInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.DeleteSharedTrustStoreAssociationInput, elb.DeleteSharedTrustStoreAssociationOutput](func(in *elb.DeleteSharedTrustStoreAssociationInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.DescribeTrustStoreRevocationsInput, elb.DescribeTrustStoreRevocationsOutput](func(in *elb.DescribeTrustStoreRevocationsInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.AddTrustStoreRevocationsInput, elb.AddTrustStoreRevocationsOutput](func(in *elb.AddTrustStoreRevocationsInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.RemoveTrustStoreRevocationsInput, elb.RemoveTrustStoreRevocationsOutput](func(in *elb.RemoveTrustStoreRevocationsInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.GetTrustStoreCaCertificatesBundleInput, elb.GetTrustStoreCaCertificatesBundleOutput](func(in *elb.GetTrustStoreCaCertificatesBundleInput) *string { return in.TrustStoreArn }))
	wire.Handle(api, trustStoreNotFound[elb.GetTrustStoreRevocationContentInput, elb.GetTrustStoreRevocationContentOutput](func(in *elb.GetTrustStoreRevocationContentInput) *string { return in.TrustStoreArn }))
}
