package control

import (
	"strings"
	"time"

	"havn/placement"
	"havn/state"
)

// Membership keeps nodes that serve every cluster in every cluster. Whoever creates a cluster or registers
// a node does this in its own transaction; what is left for here is two of these that did not see each
// other, more of them than one transaction makes or removes, and clusters and nodes that go.
func Membership() Controller {
	return Controller{
		Name: "membership",
		Concerns: func(c state.Change) []string {
			switch c.Table {
			case state.Clusters.Name():
				return []string{"cluster " + c.Key}
			case state.Nodes.Name():
				before, _ := c.Old.(state.Node)
				after, _ := c.New.(state.Node)
				if c.Old == nil || before.EveryCluster != after.EveryCluster { // its resources change all the time
					return []string{"node " + c.Key}
				}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, now time.Time) (time.Duration, error) {
			kind, key, _ := strings.Cut(key, " ")
			more := false
			switch kind {
			case "cluster":
				if c, ok := state.Clusters.Get(tx, key); ok && c.Status == "ACTIVE" {
					more = placement.JoinCluster(tx, c, now)
				} else {
					more = placement.LeaveCluster(tx, key)
				}
			case "node":
				if n, ok := state.Nodes.Get(tx, key); ok && n.EveryCluster {
					more = placement.JoinNode(tx, n, now)
				} else {
					more = placement.LeaveNode(tx, key)
				}
			}
			if more {
				return 1, nil // the rest at once, in a transaction of their own
			}
			return 0, nil
		},
	}
}
