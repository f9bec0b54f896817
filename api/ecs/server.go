package ecs

import (
	"context"

	"havn/state"
	"havn/wire"
)

// Config is what a Server needs to know of the world.
type Config struct {
	Store *state.Store

	Region  string
	Account string
	// Zone is the availability zone of nodes that name none. Region followed by "a" when empty.
	Zone string

	// PollEndpoint is the base URL that the nodes are told to poll, for the request that ctx belongs to;
	// the paths /acs and /tcs are added to it.
	PollEndpoint func(ctx context.Context) string
}

// Server answers the operations of the ECS API. Its methods are the handlers; it holds nothing but its
// configuration, so any number of requests can be answered at a time.
type Server struct{ Config }

// NewServer completes the configuration.
func NewServer(c Config) *Server {
	if c.Zone == "" {
		c.Zone = c.Region + "a"
	}
	return &Server{c}
}

// API returns ECS as wire serves it, with a handler for each operation that Havn does.
func (s *Server) API() *wire.API {
	api := &wire.API{
		Name:       "ecs",
		Dialect:    wire.AWSJSON,
		Target:     "AmazonEC2ContainerServiceV20141113",
		BodyLimit:  1 << 20,
		Operations: operations,
		Shapes:     shapes,
		// ECS declares no ValidationException, and answers input that its model forbids with this one.
		ValidationCode: "InvalidParameterException",
	}
	s.Register(api)
	return api
}

// Register adds a handler for each operation that Havn does.
func (s *Server) Register(api *wire.API) {
	wire.Handle(api, s.CreateCluster)
	wire.Handle(api, s.DescribeClusters)
	wire.Handle(api, s.ListClusters)
	wire.Handle(api, s.UpdateCluster)
	wire.Handle(api, s.UpdateClusterSettings)
	wire.Handle(api, s.PutClusterCapacityProviders)
	wire.Handle(api, s.DeleteCluster)

	wire.Handle(api, s.CreateTaskSet)
	wire.Handle(api, s.UpdateTaskSet)
	wire.Handle(api, s.DeleteTaskSet)
	wire.Handle(api, s.DescribeTaskSets)
	wire.Handle(api, s.UpdateServicePrimaryTaskSet)

	wire.Handle(api, s.CreateCapacityProvider)
	wire.Handle(api, s.DescribeCapacityProviders)
	wire.Handle(api, s.UpdateCapacityProvider)
	wire.Handle(api, s.DeleteCapacityProvider)

	wire.Handle(api, s.RegisterTaskDefinition)
	wire.Handle(api, s.DescribeTaskDefinition)
	wire.Handle(api, s.ListTaskDefinitions)
	wire.Handle(api, s.ListTaskDefinitionFamilies)
	wire.Handle(api, s.DeregisterTaskDefinition)
	wire.Handle(api, s.DeleteTaskDefinitions)

	wire.Handle(api, s.RunTask)
	wire.Handle(api, s.StartTask)
	wire.Handle(api, s.StopTask)
	wire.Handle(api, s.DescribeTasks)
	wire.Handle(api, s.ListTasks)
	wire.Handle(api, s.GetTaskProtection)
	wire.Handle(api, s.UpdateTaskProtection)
	wire.Handle(api, s.SubmitTaskStateChange)
	wire.Handle(api, s.SubmitContainerStateChange)
	wire.Handle(api, s.SubmitAttachmentStateChanges)

	wire.Handle(api, s.CreateService)
	wire.Handle(api, s.UpdateService)
	wire.Handle(api, s.DeleteService)
	wire.Handle(api, s.DescribeServices)
	wire.Handle(api, s.ListServices)
	wire.Handle(api, s.ListServicesByNamespace)
	wire.Handle(api, s.ListServiceDeployments)
	wire.Handle(api, s.DescribeServiceDeployments)
	wire.Handle(api, s.DescribeServiceRevisions)
	wire.Handle(api, s.StopServiceDeployment)
	wire.Handle(api, s.ContinueServiceDeployment)

	wire.Handle(api, s.RegisterContainerInstance)
	wire.Handle(api, s.DeregisterContainerInstance)
	wire.Handle(api, s.DescribeContainerInstances)
	wire.Handle(api, s.ListContainerInstances)
	wire.Handle(api, s.UpdateContainerInstancesState)
	wire.Handle(api, s.UpdateContainerAgent)
	wire.Handle(api, s.DiscoverPollEndpoint)

	wire.Handle(api, s.PutAttributes)
	wire.Handle(api, s.DeleteAttributes)
	wire.Handle(api, s.ListAttributes)

	wire.Handle(api, s.TagResource)
	wire.Handle(api, s.UntagResource)
	wire.Handle(api, s.ListTagsForResource)

	wire.Handle(api, s.PutAccountSetting)
	wire.Handle(api, s.PutAccountSettingDefault)
	wire.Handle(api, s.ListAccountSettings)
	wire.Handle(api, s.DeleteAccountSetting)
}

// The statuses of clusters and container instances.
const (
	statusActive   = "ACTIVE"
	statusInactive = "INACTIVE"
)

// view runs f on one image of the state.
func (s *Server) view(f func(r *state.Reader) error) error {
	var err error
	s.Store.View(func(r *state.Reader) { err = f(r) })
	return err
}
