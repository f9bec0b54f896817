package ecs

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

// maxServicesPage is how many services a page of ListServices has where the request does not say. API Reference,
// "ListServices".
const maxServicesPage = 10

// maxDescribedServices is how many services one DescribeServices may name.
const maxDescribedServices = 10

// DescribeServices describes the services named, INACTIVE ones too for a while.
func (s *Server) DescribeServices(ctx context.Context, in *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	if err := atMost(maxDescribedServices, len(in.Services), "Services"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		for _, ref := range in.Services {
			arn, err := s.member(kindService, c.Name, ref)
			if err != nil {
				return err
			}
			service, ok := state.Services.Get(r, arn)
			if !ok {
				out.Failures = append(out.Failures, missing(arn))
				continue
			}
			out.Services = append(out.Services, describeService(r, service, in.Include))
		}
		return nil
	})
}

// ListServices lists the services of a cluster that are not INACTIVE.
func (s *Server) ListServices(ctx context.Context, in *ecs.ListServicesInput) (*ecs.ListServicesOutput, error) {
	out := &ecs.ListServicesOutput{}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		arns := []string{}
		for service := range state.Services.By(r, "cluster", c.ARN) { // in the order of their ARNs
			if service.Status != statusInactive &&
				(in.SchedulingStrategy == "" || service.Scheduling == in.SchedulingStrategy) &&
				(in.LaunchType == "" || launchTypeOf(r, service) == in.LaunchType) &&
				// ECS manages the resources of Express Mode's services, and Havn has none.
				in.ResourceManagementType != types.ResourceManagementTypeEcs {
				arns = append(arns, service.ARN)
			}
		}
		request := pageRequest{Max: in.MaxResults, Token: in.NextToken,
			Query: strings.Join([]string{c.ARN, string(in.SchedulingStrategy), string(in.LaunchType), string(in.ResourceManagementType)}, "|")}
		if request.Max == nil {
			request.Max = ptr(int32(maxServicesPage))
		}
		out.ServiceArns, out.NextToken, err = page(arns, self, request)
		return err
	})
}

// launchTypeOf is the launch type of a service's current revision.
func launchTypeOf(src state.Source, service state.Service) types.LaunchType {
	d, _ := state.ServiceDeployments.Get(src, service.DeploymentARN)
	r, _ := state.ServiceRevisions.Get(src, d.Heading())
	return r.LaunchType
}

// ListServicesByNamespace finds no namespace: Havn has no Cloud Map yet, so no service is in one.
func (s *Server) ListServicesByNamespace(ctx context.Context, in *ecs.ListServicesByNamespaceInput) (*ecs.ListServicesByNamespaceOutput, error) {
	return nil, &types.NamespaceNotFoundException{Message: ptr("The specified namespace was not found.")}
}
