package placement

import (
	"maps"
	"slices"
	"sync"

	"havn/lifecycle"
	"havn/schedule"
	"havn/state"
)

// A placement at 5,000 container instances cannot read them all out of the state: that alone takes 18 ms. So each store
// keeps the clusters that were placed in lately as schedule wants them, and brings one up to date when it is asked of
// again, by what has changed since. The decision is what it would be without: schedule.Cluster answers by its nodes and
// the asks alone.
//
// Transactions that run at the same time share a prepared cluster, so it may be ahead of what a transaction found.
// That is safe: a decision takes effect through the records of the container instance and the node that were chosen, which
// the transaction reads by key. Where these are what they were, the decision is as good as before; where they have
// changed, the transaction conflicts and is decided again.
//
// Transactions that run at the same time would as a rule choose the same nodes, the best ones, and all but one conflict.
// So a container instance that a transaction has chosen is left alone by others until that one is over, if there is
// another one to take: but for the strategy binpack, which wants the same one.
var prepared = state.NewMemo(func() *clusters { return &clusters{byARN: map[string]*cluster{}} })

// maxPrepared is how many container instances are kept prepared, in all clusters together: some kilobytes each.
const maxPrepared = 20_000

// clusters are those of one store.
type clusters struct {
	mu     sync.Mutex
	byARN  map[string]*cluster
	recent []*cluster // the latest used last
}

// cluster is the container instances of one cluster, prepared.
type cluster struct {
	arn string

	mu        sync.Mutex
	at        state.Revision // what nodes show; zero = nothing yet
	nodes     *schedule.Cluster
	instances map[string][]string // ARNs, by node
	chosen    map[string]int      // by how many transactions that are not over; by ARN
	stale     map[string]bool     // ARNs to look at again: a transaction that chose them is over
	size      int                 // of nodes, for who does not hold mu; guarded by clusters.mu
}

// use is the cluster, which is now the latest used.
func (all *clusters) use(arn string) *cluster {
	all.mu.Lock()
	defer all.mu.Unlock()
	c := all.byARN[arn]
	if c == nil {
		c = &cluster{arn: arn, chosen: map[string]int{}, stale: map[string]bool{}}
		all.byARN[arn] = c
	}
	all.recent = append(slices.DeleteFunc(all.recent, func(other *cluster) bool { return other == c }), c)
	return c
}

// used notes how large a cluster has become, and forgets those that were not used for longest while all together are
// too large.
func (all *clusters) used(c *cluster, size int) {
	all.mu.Lock()
	defer all.mu.Unlock()
	c.size = size
	sum := 0
	var kept []*cluster
	for _, other := range slices.Backward(all.recent) {
		if sum += other.size + 1; sum > maxPrepared && other != c {
			delete(all.byARN, other.arn)
		} else {
			kept = append(kept, other)
		}
	}
	slices.Reverse(kept)
	all.recent = kept
}

// place is what schedule says on the cluster as the transaction sees it. What was chosen is the transaction's until it is
// over.
func (all *clusters) place(tx *state.Tx, clusterARN string, wanted []schedule.Ask) decision {
	c := all.use(clusterARN)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp(tx)
	all.used(c, c.nodes.Len())
	d := c.decide(tx, wanted)
	c.choose(tx, wanted, d)
	return d
}

// taken is the status of a container instance that another transaction has chosen.
const taken = "TAKEN"

// decide leaves the cluster as it is.
func (c *cluster) decide(tx *state.Tx, wanted []schedule.Ask) (d decision) {
	own := c.touched(tx.Changes())
	packs := slices.ContainsFunc(wanted, func(a schedule.Ask) bool {
		return slices.ContainsFunc(a.Strategies, func(s schedule.Strategy) bool { return s.Type == schedule.Binpack })
	})
	others := maps.Clone(c.stale) // of one that is ahead: what is over may not be in it
	for arn := range c.chosen {
		others[arn] = true
	}
	if len(others) == 0 || !packs {
		c.with(tx, own, func() { d = decide(c.nodes, wanted) })
	}
	if len(others) > 0 && (packs || len(d.refused) > 0) { // it may conflict then
		c.with(tx, slices.Concat(own, slices.Sorted(maps.Keys(others))), func() { d = decide(c.nodes, wanted) })
	}
	return d
}

// with calls f while the cluster shows some container instances as the transaction sees them: its own writes are
// nobody else's business.
func (c *cluster) with(tx *state.Tx, some []string, f func()) {
	before := map[string]schedule.Node{}
	for _, arn := range some {
		if _, done := before[arn]; done {
			continue
		}
		before[arn], _ = c.nodes.Node(arn)
		c.set(tx, arn)
	}
	f()
	for _, arn := range slices.Sorted(maps.Keys(before)) {
		if n := before[arn]; n.ID != "" {
			c.nodes.Set(n)
		} else {
			c.nodes.Remove(arn)
		}
	}
}

// choose keeps others away from what was chosen until the transaction is over.
func (c *cluster) choose(tx *state.Tx, wanted []schedule.Ask, d decision) {
	asks := make(map[string]*schedule.Ask, len(wanted))
	for n := range wanted {
		asks[wanted[n].ID] = &wanted[n]
	}
	var mine []string
	for _, b := range d.bindings {
		n, ok := c.nodes.Node(b.Node)
		if !ok {
			continue // the transaction itself has made it
		}
		if !slices.Contains(mine, b.Node) {
			mine = append(mine, b.Node)
			c.chosen[b.Node]++
		}
		// It counts where tasks are spread, though it takes no more of them.
		a := *asks[b.Ask]
		a.GPUs = 0
		n, _ = n.With(&a)
		n.Status = taken
		c.nodes.Set(n)
	}
	tx.AfterRun(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, arn := range mine {
			c.stale[arn] = true
			if c.chosen[arn]--; c.chosen[arn] == 0 {
				delete(c.chosen, arn)
			}
		}
	})
}

// catchUp makes the cluster show what the transaction found, unless it shows something later.
func (c *cluster) catchUp(tx *state.Tx) {
	found := tx.Found()
	if c.at > found.Revision() {
		return
	}
	commits, kept := tx.Since(c.at)
	if c.nodes == nil || !kept || len(commits) > c.nodes.Len()+minCommits {
		c.nodes, c.instances = schedule.NewCluster(nil), map[string][]string{}
		for i := range state.Instances.By(found, "cluster", c.arn) {
			c.note(i)
			c.setFor(found, i.ARN)
		}
	} else {
		var changes []state.Change
		for _, commit := range commits {
			changes = append(changes, commit.Changes...)
		}
		for _, arn := range c.touched(changes) {
			c.stale[arn] = true
		}
		for _, arn := range slices.Sorted(maps.Keys(c.stale)) {
			c.setFor(found, arn)
		}
	}
	clear(c.stale)
	c.at = found.Revision()
}

// minCommits is how many commits are always less work than looking at all container instances.
const minCommits = 64

// touched are the ARNs of the container instances of which these changes may alter the description, each once.
func (c *cluster) touched(changes []state.Change) []string {
	var touched []string
	for _, change := range changes {
		switch change.Table {
		case state.Instances.Name():
			old, _ := change.Old.(state.Instance)
			now, _ := change.New.(state.Instance)
			if old.ClusterARN == c.arn || now.ClusterARN == c.arn {
				c.note(now)
				touched = append(touched, change.Key)
			}
		case state.Nodes.Name():
			touched = append(touched, c.instances[change.Key]...)
		case state.Tasks.Name():
			old, _ := change.Old.(state.Task)
			now, _ := change.New.(state.Task)
			if old.ClusterARN != c.arn && now.ClusterARN != c.arn || countsLike(old, now) {
				continue
			}
			for _, t := range []state.Task{old, now} {
				if t.InstanceARN != "" {
					touched = append(touched, t.InstanceARN)
				}
			}
		}
	}
	slices.Sort(touched)
	return slices.Compact(touched)
}

// countsLike: Describe counts the two alike. Most of what becomes of a task does not matter to where others go.
func countsLike(a, b state.Task) bool {
	return a.InstanceARN == b.InstanceARN && a.Group == b.Group && (a.Last == lifecycle.Stopped) == (b.Last == lifecycle.Stopped) &&
		(a.Last == lifecycle.Running) == (b.Last == lifecycle.Running) && (a.Desired == lifecycle.Stopped) == (b.Desired == lifecycle.Stopped)
}

// note remembers which node a container instance is of. It is not forgotten: what is gone is looked at in vain.
func (c *cluster) note(i state.Instance) {
	if i.ClusterARN == c.arn && !slices.Contains(c.instances[i.NodeID], i.ARN) {
		c.instances[i.NodeID] = append(c.instances[i.NodeID], i.ARN)
	}
}

// set describes a container instance anew.
func (c *cluster) set(src state.Source, arn string) {
	if n, ok := look(src, arn); ok {
		c.nodes.Set(n)
	} else {
		c.nodes.Remove(arn)
	}
}

// setFor is set for all transactions.
func (c *cluster) setFor(found *state.Reader, arn string) {
	c.set(found, arn)
	if n, ok := c.nodes.Node(arn); ok && c.chosen[arn] > 0 {
		n.Status = taken
		c.nodes.Set(n)
	}
}

// look is a container instance as schedule sees it; false if there is none that is to be looked at.
func look(src state.Source, arn string) (schedule.Node, bool) {
	i, _ := state.Instances.Peek(src, arn)
	n, ok := state.Nodes.Peek(src, i.NodeID)
	if !ok || i.Status == "INACTIVE" {
		return schedule.Node{}, false
	}
	return Describe(src, i, n), true
}

// describeAll is the cluster's container instances, read out of the state one by one.
func describeAll(src state.Source, clusterARN string) []schedule.Node {
	var nodes []schedule.Node
	for i := range state.Instances.By(src, "cluster", clusterARN) {
		if n, ok := look(src, i.ARN); ok {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
