package placement

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/schedule"
)

// The limits of what says where tasks may go. API Reference, "RunTask".
const (
	maxConstraints = 10 // of the definition and the request together
	maxStrategies  = 5
)

// Constraints are the placement constraints of a definition and of a request or a service, as schedule knows them. Errors are
// what ECS says of such a request.
func Constraints(definition []types.TaskDefinitionPlacementConstraint, request []types.PlacementConstraint) ([]schedule.Constraint, error) {
	all := slices.Clone(request)
	for _, c := range definition {
		all = append(all, types.PlacementConstraint{Type: types.PlacementConstraintType(c.Type), Expression: c.Expression})
	}
	if len(all) > maxConstraints {
		return nil, fmt.Errorf("A task can have at most %d placement constraints.", maxConstraints)
	}
	var out []schedule.Constraint
	for _, c := range all {
		switch c.Type {
		case types.PlacementConstraintTypeDistinctInstance:
			if aws.ToString(c.Expression) != "" {
				return nil, errors.New("The distinctInstance placement constraint takes no expression.")
			}
			out = append(out, schedule.Constraint{Type: schedule.DistinctInstance})
		case types.PlacementConstraintTypeMemberOf:
			q, err := schedule.ParseQuery(aws.ToString(c.Expression))
			if err != nil {
				return nil, fmt.Errorf("Invalid expression in placement constraint: %v", err)
			}
			out = append(out, schedule.Constraint{Type: schedule.MemberOf, Query: q})
		default:
			return nil, errors.New("Placement constraint type should be one of [distinctInstance, memberOf]")
		}
	}
	return out, nil
}

// Strategies are the placement strategies of a request or a service.
func Strategies(request []types.PlacementStrategy) ([]schedule.Strategy, error) {
	if len(request) > maxStrategies {
		return nil, fmt.Errorf("A task can have at most %d placement strategies.", maxStrategies)
	}
	var out []schedule.Strategy
	for _, p := range request {
		strategy := schedule.Strategy{Type: string(p.Type), Field: aws.ToString(p.Field)}
		if err := strategy.Validate(); err != nil {
			return nil, fmt.Errorf("Invalid placement strategy: %v", err)
		}
		out = append(out, strategy)
	}
	return out, nil
}
