package schedule

import (
	"fmt"
	"strings"
)

// Ask is one task that wants a node.
type Ask struct {
	ID    string // the task's; comes back in the binding or the refusal
	Group string // the task group: service:NAME or family:NAME

	CPU      int   // units
	Memory   int   // MiB
	GPUs     int   // how many
	TCPPorts []int // fixed host ports, each once
	UDPPorts []int // fixed host ports, each once

	Requires    []Attribute // the task definition's requiresAttributes
	Constraints []Constraint
	Strategies  []Strategy // none: spread over availability zones

	// Seed is where the strategy random draws from; nothing else looks at it.
	// The asks of one request should share a seed: they are then drawn one
	// after the other from the same sequence, and need one index only.
	Seed uint64
}

// Attribute is what a node must have. An empty value asks for the name alone.
type Attribute struct {
	Name, Value string
}

// The types of a Constraint, as ECS names them.
const (
	DistinctInstance = "distinctInstance"
	MemberOf         = "memberOf"
)

// Constraint rules nodes out. One of another type rules out none.
type Constraint struct {
	Type  string // DistinctInstance or MemberOf
	Query Query  // for MemberOf
}

// The types of a Strategy, as ECS names them.
const (
	Spread  = "spread"
	Binpack = "binpack"
	Random  = "random"
)

// Strategy orders the nodes that fit.
type Strategy struct {
	Type string // Spread, Binpack or Random
	// Field is what to spread over (instanceId, host, attribute:NAME or the
	// bare NAME of an attribute) or what to pack (cpu, memory).
	Field string
}

// Validate says what is wrong with the strategy, if anything is. Place takes a
// strategy that is not valid for one without preference.
func (s Strategy) Validate() error {
	switch s.Type {
	case Spread:
		if attributeName(s.Field) == "" {
			return fmt.Errorf("a spread strategy needs a field: instanceId, host or attribute:NAME")
		}
	case Binpack:
		if s.resource() == "" {
			return fmt.Errorf("a binpack strategy needs the field cpu or memory, not %q", s.Field)
		}
	case Random:
		if s.Field != "" {
			return fmt.Errorf("a random strategy takes no field, not even %q", s.Field)
		}
	default:
		return fmt.Errorf("unknown placement strategy %q: it is %s, %s or %s", s.Type, Spread, Binpack, Random)
	}
	return nil
}

// attributeName is the name of the attribute that a spread field speaks of.
// instanceId and host speak of the node itself: see spreadsInstances.
func attributeName(field string) string {
	return strings.TrimPrefix(field, "attribute:")
}

func (s Strategy) spreadsInstances() bool {
	return strings.EqualFold(s.Field, "instanceId") || strings.EqualFold(s.Field, "host")
}

// resource is the resource that a binpack packs, or "".
func (s Strategy) resource() string {
	switch f := strings.ToLower(s.Field); f {
	case "cpu", "memory":
		return f
	}
	return ""
}

// Binding is a yes: the ask goes to the node.
type Binding struct {
	Ask  string
	Node string
	GPUs []string // the GPUs that the task gets
}
