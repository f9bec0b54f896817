package ecs

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/placement"
	"havn/state"
)

// The attributes by which a node of Havn's own tells who it is and which clusters it serves.
const (
	attributeNodeID       = "havn.node-id"
	attributeEveryCluster = "havn.every-cluster"
)

// The attributes that the control plane knows better than the agent.
const (
	attributeZone         = "ecs.availability-zone"
	attributeInstanceType = "ecs.instance-type"
	attributeImage        = "ecs.ami-id"
)

// maxAttributes is how many custom attributes a resource may have, and one request may name.
const maxAttributes = 10

var (
	attributeName = regexp.MustCompile(`^[a-zA-Z0-9_/.\\-]{1,128}$`)
	// A value may be empty; it neither begins nor ends with a space.
	attributeText = regexp.MustCompile(`^([a-zA-Z0-9_.@:/\\-]([a-zA-Z0-9_.@:/\\ -]{0,126}[a-zA-Z0-9_.@:/\\-])?)?$`)
)

// reservedAttribute: set by agents and by the control plane only.
func reservedAttribute(name string) bool {
	if name == placement.ProviderAttribute {
		return false // which machines a capacity provider has is their owner's to say
	}
	for _, prefix := range []string{"ecs.", "com.amazonaws.", "havn."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func attributeValue(list []types.Attribute, name string) string {
	for _, a := range list {
		if deref(a.Name) == name {
			return deref(a.Value)
		}
	}
	return ""
}

// withAttribute is the list with an attribute put in, in its old place if it has one.
func withAttribute(list []types.Attribute, a types.Attribute) []types.Attribute {
	list = slices.Clone(list)
	a = types.Attribute{Name: a.Name, Value: a.Value}
	at := slices.IndexFunc(list, func(o types.Attribute) bool { return deref(o.Name) == deref(a.Name) })
	if at < 0 {
		return append(list, a)
	}
	list[at] = a
	return list
}

// nodeAttributes are the attributes of a node that has registered: what the agent sent, the custom ones it
// had sent when it registered first (a restarted agent leaves them out), and what the control plane adds.
func (s *Server) nodeAttributes(old, sent []types.Attribute, id identity) []types.Attribute {
	var list []types.Attribute
	for _, a := range old {
		if !reservedAttribute(deref(a.Name)) {
			list = append(list, a)
		}
	}
	for _, a := range sent {
		list = withAttribute(list, a)
	}
	add := func(name, value string) {
		if value != "" && attributeValue(list, name) == "" {
			list = append(list, types.Attribute{Name: ptr(name), Value: ptr(value)})
		}
	}
	add(attributeZone, cmp.Or(id.AvailabilityZone, s.Zone))
	add(attributeInstanceType, id.InstanceType)
	add(attributeImage, id.ImageID)
	return list
}

// instanceAttributes are all attributes of a container instance: those of its node, then those put by
// users, which hide the node's.
func instanceAttributes(i state.Instance, n state.Node) []types.Attribute {
	list := slices.Clone(n.Attributes)
	for _, a := range i.Attributes {
		list = withAttribute(list, a)
	}
	return listed(list)
}

// checkRegisteredAttributes checks what an agent sends. It may send any name.
func checkRegisteredAttributes(list []types.Attribute) error {
	custom := 0
	for _, a := range list {
		if deref(a.Name) == "" {
			return invalid("Attribute name cannot be empty.")
		}
		if !reservedAttribute(*a.Name) {
			custom++
			if err := checkAttribute(a); err != nil {
				return err
			}
		}
	}
	if custom > maxAttributes {
		return invalid("A container instance can have at most %d custom attributes.", maxAttributes)
	}
	return nil
}

func checkAttribute(a types.Attribute) error {
	if !attributeName.MatchString(deref(a.Name)) {
		return invalid("Invalid attribute name: %s", quoted(deref(a.Name)))
	}
	if !attributeText.MatchString(deref(a.Value)) {
		return invalid("Invalid attribute value: %s", quoted(deref(a.Value)))
	}
	return nil
}

// PutAttributes puts custom attributes on container instances.
func (s *Server) PutAttributes(ctx context.Context, in *ecs.PutAttributesInput) (*ecs.PutAttributesOutput, error) {
	for _, a := range in.Attributes {
		if err := checkAttribute(a); err != nil {
			return nil, err
		}
		if reservedAttribute(deref(a.Name)) {
			return nil, invalid("Attribute name %s is reserved.", quoted(deref(a.Name)))
		}
	}
	out := &ecs.PutAttributesOutput{}
	var err error
	out.Attributes, err = s.changeAttributes(ctx, in.Cluster, in.Attributes, func(tx *state.Tx, i state.Instance, a types.Attribute) error {
		i.Attributes = withAttribute(i.Attributes, a)
		if len(i.Attributes) > maxAttributes {
			return &types.AttributeLimitExceededException{Message: ptr("A container instance can have at most 10 custom attributes.")}
		}
		i.Version++
		state.Instances.Put(tx, i)
		return nil
	})
	return out, err
}

// DeleteAttributes removes custom attributes from container instances; one that was sent by the agent is
// removed from the node and so from its container instances in all clusters.
func (s *Server) DeleteAttributes(ctx context.Context, in *ecs.DeleteAttributesInput) (*ecs.DeleteAttributesOutput, error) {
	out := &ecs.DeleteAttributesOutput{}
	var err error
	out.Attributes, err = s.changeAttributes(ctx, in.Cluster, in.Attributes, func(tx *state.Tx, i state.Instance, a types.Attribute) error {
		if reservedAttribute(deref(a.Name)) {
			return invalid("Attribute name %s is reserved.", quoted(deref(a.Name)))
		}
		n, _ := state.Nodes.Get(tx, i.NodeID)
		gone := func(o types.Attribute) bool {
			return deref(o.Name) == deref(a.Name) && (a.Value == nil || deref(o.Value) == *a.Value)
		}
		if !slices.ContainsFunc(instanceAttributes(i, n), gone) {
			return targetNotFound("no attribute " + quoted(deref(a.Name)) + " on " + i.ARN)
		}
		if slices.ContainsFunc(n.Attributes, gone) {
			n.Attributes = slices.DeleteFunc(slices.Clone(n.Attributes), gone)
			state.Nodes.Put(tx, n)
		}
		i.Attributes = slices.DeleteFunc(slices.Clone(i.Attributes), gone)
		i.Version++
		state.Instances.Put(tx, i)
		return nil
	})
	return out, err
}

// changeAttributes makes one change for each attribute of a request, to the container instance that is the
// attribute's target, and answers with the attributes and their targets in full.
func (s *Server) changeAttributes(ctx context.Context, cluster *string, list []types.Attribute, change func(*state.Tx, state.Instance, types.Attribute) error) ([]types.Attribute, error) {
	if err := atMost(maxAttributes, len(list), "Attributes"); err != nil {
		return nil, err
	}
	var out []types.Attribute
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		out = []types.Attribute{}
		c, err := s.cluster(tx, cluster)
		if err != nil {
			return err
		}
		for _, a := range list {
			target := deref(a.TargetId)
			if target == "" {
				return invalid("targetId must be specified.")
			}
			if a.TargetType == "" && !isARN(target) {
				return invalid("targetType must be specified when targetId is not an ARN.")
			}
			arn, err := s.member(kindInstance, c.Name, target)
			if err != nil {
				return err
			}
			i, ok := state.Instances.Get(tx, arn)
			if !ok || i.Status == statusInactive {
				return targetNotFound(target)
			}
			if err := change(tx, i, a); err != nil {
				return err
			}
			out = append(out, types.Attribute{Name: a.Name, Value: a.Value, TargetId: ptr(arn), TargetType: types.TargetTypeContainerInstance})
		}
		return nil
	})
	return out, err
}

// ListAttributes lists the attributes of the container instances of a cluster.
func (s *Server) ListAttributes(ctx context.Context, in *ecs.ListAttributesInput) (*ecs.ListAttributesOutput, error) {
	if in.TargetType != types.TargetTypeContainerInstance {
		return nil, invalid("targetType must be container-instance")
	}
	if in.AttributeValue != nil && deref(in.AttributeName) == "" {
		return nil, invalid("attributeName must be specified when attributeValue is.")
	}
	out := &ecs.ListAttributesOutput{}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		var list []types.Attribute
		for i := range state.Instances.By(r, "cluster", c.ARN) {
			if i.Status == statusInactive {
				continue
			}
			n, _ := state.Nodes.Get(r, i.NodeID)
			for _, a := range instanceAttributes(i, n) {
				if in.AttributeName != nil && deref(a.Name) != *in.AttributeName || in.AttributeValue != nil && deref(a.Value) != *in.AttributeValue {
					continue
				}
				a.TargetId = ptr(i.ARN)
				list = append(list, a)
			}
		}
		key := func(a types.Attribute) string { return deref(a.Name) + "|" + deref(a.TargetId) }
		slices.SortFunc(list, func(a, b types.Attribute) int { return strings.Compare(key(a), key(b)) })
		list, out.NextToken, err = page(list, key, pageRequest{Max: in.MaxResults, Token: in.NextToken,
			Query: c.ARN + "|" + deref(in.AttributeName) + "|" + deref(in.AttributeValue)})
		out.Attributes = listed(list)
		return err
	})
}
