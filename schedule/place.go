package schedule

// Place answers the asks in order. The nodes' IDs are unique; their order does
// not matter. It is NewCluster(nodes).Place(asks): who asks again and again of
// nodes that change a little keeps a Cluster.
func Place(nodes []Node, asks []Ask) ([]Binding, []Refusal) {
	return NewCluster(nodes).Place(asks)
}
