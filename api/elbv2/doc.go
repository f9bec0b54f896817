// Package elbv2 is what the Elastic Load Balancing API (version 2015-12-01) promises, as handlers on the SDK's own types.
//
// A handler writes down what was asked: load balancers, listeners, rules, target groups and targets are records of
// package state. Package balance follows them, listens, probes and forwards, and writes back the state of a load balancer
// and the health of a target, which are described here.
//
// What a load balancer has on a machine of one's own (balancer.go):
//
//   - Its DNS name ends in .localhost, which curl and browsers take to this machine by themselves.
//   - It has an address of its own in 127.18.0.0/16, so that two can listen on one port.
//   - There is no EC2 API yet, so subnets, security groups and VPCs are taken as they are called, when they are called
//     as they would be on EC2. The first subnet is in the Region's zone a, the second in b, and so on. Who names none
//     gets the three of the default VPC (subnet.go): a laptop has none to name.
//
// What Havn does not do is refused by its name. Attributes are in one table (attribute.go), with who acts on each.
package elbv2
