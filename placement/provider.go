package placement

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/schedule"
	"havn/state"
)

// ProviderAttribute is the attribute by which a container instance belongs to a capacity provider: its value is the
// provider's name. In AWS the Auto Scaling group that an instance was born in says so; Havn's machines are born by
// their owner, who says it when the node starts (havn up --capacity-provider), or with PutAttributes.
const ProviderAttribute = "havn.capacity-provider"

// Provide divides asks between the capacity providers of a strategy, when so many tasks run with each already: each will
// be placed on container instances of its provider alone. Without a strategy nothing is said.
func Provide(asks []Ask, strategy []types.CapacityProviderStrategyItem, running map[string]int) {
	var providers []schedule.Provider
	for _, item := range strategy {
		providers = append(providers, schedule.Provider{Name: aws.ToString(item.CapacityProvider), Base: int(item.Base), Weight: int(item.Weight)})
	}
	for n, name := range schedule.Divide(providers, running, len(asks)) {
		asks[n].Task.CapacityProvider = name
		asks[n].Requires = append(slices.Clone(asks[n].Requires), types.Attribute{Name: aws.String(ProviderAttribute), Value: aws.String(name)})
	}
}

// ProviderOf is the capacity provider that a container instance belongs to; empty = none.
func ProviderOf(i state.Instance, n state.Node) string { return attribute(i, n, ProviderAttribute) }

// attribute is the value of an attribute of a container instance; users' come before the node's.
func attribute(i state.Instance, n state.Node, name string) (value string) {
	for _, a := range slices.Concat(n.Attributes, i.Attributes) {
		if aws.ToString(a.Name) == name {
			value = aws.ToString(a.Value)
		}
	}
	return value
}
