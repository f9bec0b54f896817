package placement

import (
	"slices"

	"havn/state"
)

// Recount returns the node with what it has left worked out anew: its total without what tasks hold. It is
// for when the total has changed; in between, each task takes and gives back its own share.
func Recount(src state.Source, n state.Node) state.Node {
	n.Remaining = state.Resources{
		CPU: n.Total.CPU, Memory: n.Total.Memory,
		TCPPorts: with(nil, n.Total.TCPPorts), UDPPorts: with(nil, n.Total.UDPPorts), GPUs: with(nil, n.Total.GPUs),
	}
	for t := range state.Tasks.By(src, "unstopped on node", n.ID) {
		n.Remaining = subtract(n.Remaining, t.Reserved)
	}
	return n
}

// subtract is what a node has left after a task took its share. Ports of a node's remaining resources are
// those in use, so they grow.
func subtract(left, taken state.Resources) state.Resources {
	left.CPU -= taken.CPU
	left.Memory -= taken.Memory
	left.TCPPorts = with(left.TCPPorts, taken.TCPPorts)
	left.UDPPorts = with(left.UDPPorts, taken.UDPPorts)
	left.GPUs = without(left.GPUs, taken.GPUs)
	return left
}

// add is what a node has left after a task gave its share back. The node may have registered anew since the
// task took it: a port that no task may have any more is not free, and a GPU that is gone does not return.
func add(left, given, total state.Resources) state.Resources {
	left.CPU += given.CPU
	left.Memory += given.Memory
	left.TCPPorts = without(left.TCPPorts, without(given.TCPPorts, total.TCPPorts))
	left.UDPPorts = without(left.UDPPorts, without(given.UDPPorts, total.UDPPorts))
	left.GPUs = with(left.GPUs, without(given.GPUs, without(given.GPUs, total.GPUs)))
	return left
}

// with is a sorted copy of all and more, each once; records are values, so nothing is changed in place.
func with[T uint16 | string](all, more []T) []T {
	if len(more) == 0 {
		return all
	}
	both := slices.Concat(all, more)
	slices.Sort(both)
	return slices.Compact(both)
}

func without[T uint16 | string](all, fewer []T) []T {
	if len(all) == 0 || len(fewer) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(v T) bool { return slices.Contains(fewer, v) })
}
