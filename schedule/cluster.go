package schedule

import (
	"maps"
	"slices"
	"strings"
)

type Cluster struct{ nodes map[string]Node }

func NewCluster(nodes []Node) *Cluster {
	c := &Cluster{map[string]Node{}}
	for _, n := range nodes {
		c.Set(n)
	}
	return c
}

func (c *Cluster) Set(n Node)       { c.nodes[n.ID] = n }
func (c *Cluster) Remove(id string) { delete(c.nodes, id) }

func (c *Cluster) Place(asks []Ask) (bindings []Binding, refusals []Refusal) {
	nodes := maps.Clone(c.nodes)
	ids := slices.SortedFunc(maps.Keys(nodes), strings.Compare)
	for i := range asks {
		a := &asks[i]
		refusal := Refusal{Ask: a.ID}
		best := ""
		for _, id := range ids {
			n := nodes[id]
			if r := Check(&n, a); r != Fits {
				refusal.Nodes = append(refusal.Nodes, NodeRefusal{id, r})
			} else if best == "" || n.Groups[a.Group] < nodes[best].Groups[a.Group] {
				best = id
			}
		}
		if best == "" {
			refusals = append(refusals, refusal)
			continue
		}
		n, gpus := nodes[best].With(a)
		nodes[best] = n
		bindings = append(bindings, Binding{a.ID, best, gpus})
	}
	return bindings, refusals
}
