package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// maxDumps is how often a list is asked for that others change while the kernel tells it.
const maxDumps = 100

// dump asks the kernel for a list until it was told in one piece. On a machine where containers come and go all the
// time, by whoever's hand, one in some hundred is not.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range maxDumps {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
