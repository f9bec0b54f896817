package elbv2

import (
	"context"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// What Havn has none of is refused where it would be made, and described as what it is: nothing. Terraform looks for some
// of it whenever it reads a load balancer.

func (s *Server) noSuch(what, reason string) error {
	return notPermitted("Havn has no %s: %s", what, reason)
}

const (
	trustStores  = "it checks no certificates of clients"
	reservations = "a load balancer can use all of its machine"
)

// CreateTrustStore is refused.
func (s *Server) CreateTrustStore(context.Context, *elb.CreateTrustStoreInput) (*elb.CreateTrustStoreOutput, error) {
	return nil, s.noSuch("trust stores", trustStores)
}

// DescribeTrustStores describes none.
func (s *Server) DescribeTrustStores(_ context.Context, in *elb.DescribeTrustStoresInput) (*elb.DescribeTrustStoresOutput, error) {
	if len(in.TrustStoreArns)+len(in.Names) > 0 {
		return nil, &types.TrustStoreNotFoundException{Message: ptr("One or more trust stores not found: Havn has none, for " + trustStores)}
	}
	return &elb.DescribeTrustStoresOutput{TrustStores: []types.TrustStore{}}, nil
}

// DescribeCapacityReservation tells that a load balancer has none.
func (s *Server) DescribeCapacityReservation(_ context.Context, in *elb.DescribeCapacityReservationInput) (*elb.DescribeCapacityReservationOutput, error) {
	return &elb.DescribeCapacityReservationOutput{}, s.view(func(r *state.Reader) error {
		_, err := s.balancer(r, *in.LoadBalancerArn)
		return err
	})
}

// ModifyCapacityReservation resets what is not there, and refuses to reserve anything.
func (s *Server) ModifyCapacityReservation(_ context.Context, in *elb.ModifyCapacityReservationInput) (*elb.ModifyCapacityReservationOutput, error) {
	if in.MinimumLoadBalancerCapacity != nil || !deref(in.ResetCapacityReservation) {
		return nil, s.noSuch("capacity reservations", reservations)
	}
	return &elb.ModifyCapacityReservationOutput{}, s.view(func(r *state.Reader) error {
		_, err := s.balancer(r, *in.LoadBalancerArn)
		return err
	})
}

// ModifyIpPools is refused.
func (s *Server) ModifyIpPools(context.Context, *elb.ModifyIpPoolsInput) (*elb.ModifyIpPoolsOutput, error) {
	return nil, s.noSuch("IPAM pools", "a load balancer gets an address of its own")
}

// GetResourcePolicy finds none: only a trust store that is shared has one.
func (s *Server) GetResourcePolicy(_ context.Context, in *elb.GetResourcePolicyInput) (*elb.GetResourcePolicyOutput, error) {
	return nil, &types.ResourceNotFoundException{Message: ptr("Resource '" + *in.ResourceArn + "' not found: Havn has no trust stores, for " + trustStores)}
}

// trustStoreNotFound answers the operations on one trust store.
func trustStoreNotFound[In, Out any](name func(*In) *string) func(context.Context, *In) (*Out, error) {
	return func(_ context.Context, in *In) (*Out, error) {
		return nil, &types.TrustStoreNotFoundException{Message: ptr("Trust store '" + deref(name(in)) + "' not found: Havn has no trust stores, for " + trustStores)}
	}
}
