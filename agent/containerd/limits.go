package containerd

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"havn/protocol"
)

const (
	mebibyte = 1 << 20
	// Docker refuses to run a container in less, and ECS's agent raises smaller values to it.
	minMemory = 6 * mebibyte
	// The kernel's bounds.
	minShares, maxShares = 2, 262144
	// What ECS documents for Fargate. The default of a daemon would depend on how it was started.
	wantedOpenFiles = 65535
)

// limit bounds what the whole container may use.
func limit(r *specs.LinuxResources, in specInput) error {
	shares := sharesOf(in.container)
	r.CPU = &specs.LinuxCPU{Shares: &shares}
	if in.container.Memory > 0 {
		hard := max(in.container.Memory*mebibyte, minMemory)
		r.Memory = &specs.LinuxMemory{Limit: &hard}
	}
	if soft := in.docker.host.MemoryReservation; soft > 0 {
		if r.Memory == nil {
			r.Memory = &specs.LinuxMemory{}
		}
		r.Memory.Reservation = &soft
	}
	return limitSwap(r.Memory, in)
}

func sharesOf(c *protocol.Container) uint64 { return uint64(min(max(c.CPU, minShares), maxShares)) }

// limitSwap bounds memory and swap together. Docker runs a container without a bound that its kernel cannot keep, and
// logs it; here it is not run.
func limitSwap(m *specs.LinuxMemory, in specInput) error {
	both, swappiness := in.docker.host.MemorySwap, in.docker.host.MemorySwappiness
	switch {
	case both == nil:
		return nil // without maxSwap, swappiness is ignored: API Reference, "LinuxParameters"
	case m == nil || m.Limit == nil:
		return errors.New("You should always set the Memory limit when using Memoryswap limit: " + //nolint:staticcheck // Docker's words
			"maxSwap needs the container's memory")
	case !in.swap.counted:
		return errors.New("Your kernel does not support swap limit capabilities or the cgroup is not mounted: " + //nolint:staticcheck // Docker's words
			"maxSwap cannot be kept on this node")
	case swappiness != nil && !in.swap.swappiness:
		return errors.New("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted: " + //nolint:staticcheck // Docker's words
			"swappiness needs cgroup version 1, and this node has version 2")
	}
	bound := *both
	if bound >= 0 {
		bound += *m.Limit - in.container.Memory*mebibyte // where the memory was raised
	}
	m.Swap = &bound
	if swappiness != nil {
		value := uint64(*swappiness)
		m.Swappiness = &value
	}
	return nil
}

// rlimits bound each process. Those that are not asked for are the node's, but for the number of open files.
func rlimits(asked []protocol.Ulimit) ([]specs.POSIXRlimit, error) {
	all := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: openFiles(), Soft: openFiles()}}
	for _, u := range asked {
		soft, err1 := rlimitValue(u.Soft)
		hard, err2 := rlimitValue(u.Hard)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("invalid ulimit %q: %w", u.Name, err)
		}
		l := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: soft, Hard: hard}
		if l.Type == all[0].Type {
			all[0] = l
		} else {
			all = append(all, l)
		}
	}
	return all, nil
}

// rlimitValue of -1 is no limit, as in Docker.
func rlimitValue(n int64) (uint64, error) {
	switch {
	case n == -1:
		return math.MaxUint64, nil // RLIM_INFINITY
	case n < 0:
		return 0, fmt.Errorf("%d is negative, and -1 is what means no limit", n)
	}
	return uint64(n), nil
}

// openFiles is how many files a process may have open: not more than we may allow.
var openFiles = sync.OnceValue(func() uint64 {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return 1024
	}
	return min(wantedOpenFiles, own.Max)
})
