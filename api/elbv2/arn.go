package elbv2

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

//	loadbalancer/app/NAME/ID                 <- load balancer; net for a network load balancer
//	listener/app/NAME/ID/LISTENER            <- listener
//	listener-rule/app/NAME/ID/LISTENER/RULE  <- rule
//	targetgroup/NAME/ID                      <- target group

func (s *Server) arn(resource string) string {
	return "arn:aws:elasticloadbalancing:" + s.Region + ":" + s.Account + ":" + resource
}

// resource is the part of an ARN that is after the account; empty when it is no ARN of ours.
func (s *Server) resource(arn string) string {
	rest, ok := strings.CutPrefix(arn, s.arn(""))
	if !ok {
		return ""
	}
	return rest
}

// shortID is 16 hexadecimal digits, as in ELB's ARNs, of an identifier that is 32.
func shortID(id string) string { return id[len(id)-16:] }

func (s *Server) balancerARN(kind types.LoadBalancerTypeEnum, name, id string) string {
	short := "app"
	if kind == types.LoadBalancerTypeEnumNetwork {
		short = "net"
	}
	return s.arn("loadbalancer/" + short + "/" + name + "/" + shortID(id))
}

func (s *Server) listenerARN(balancerARN, id string) string {
	return s.arn("listener/" + strings.TrimPrefix(s.resource(balancerARN), "loadbalancer/") + "/" + shortID(id))
}

func (s *Server) ruleARN(listenerARN, id string) string {
	return s.arn("listener-rule/" + strings.TrimPrefix(s.resource(listenerARN), "listener/") + "/" + shortID(id))
}

func (s *Server) groupARN(name, id string) string {
	return s.arn("targetgroup/" + name + "/" + shortID(id))
}

// checkARN refuses what is not called as an ARN of this account and Region and of that kind of resource.
func (s *Server) checkARN(arn, kind, what string) error {
	if !strings.HasPrefix(s.resource(arn), kind+"/") {
		return invalid("'%s' is not a valid %s ARN", arn, what)
	}
	return nil
}
