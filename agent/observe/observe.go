// Package observe says what can be observed of a container while it runs: facts that the container engine knows, and
// counters that the kernel keeps. It looks when it is asked, and remembers nothing.
package observe

import (
	"net/netip"
	"time"
)

// Facts are what the engine knows of a container beyond the task's document. What it does not know is empty.
type Facts struct {
	ImageID     string // digest of the image's configuration, as Docker names an image
	CreatedAt   time.Time
	Snapshotter string
	Addresses   []netip.Addr
	Mounts      []Mount // of the host's files and folders
}

// Mount shows a file or folder of the host in a container.
type Mount struct{ Source, Destination string }

// Sample is what the kernel has counted of a container since it began, but for what is used now.
type Sample struct {
	At time.Time

	CPU       CPU
	SystemCPU uint64 // nanoseconds, of the whole machine and all its processors
	Online    int    // processors

	Memory Memory
	Disk   []Disk
	PIDs   PIDs
	// Interfaces are those of the container's own network; nil if it has the host's.
	Interfaces map[string]Interface
}

// CPU is time in nanoseconds, and how often a limit held the container back.
type CPU struct {
	Total, Kernel, User        uint64
	PerProcessor               []uint64 // cgroup v1 only
	Periods, Throttled, Waited uint64   // Waited is nanoseconds
}

// Memory is in bytes.
type Memory struct {
	Usage    uint64
	Max      uint64 // the most that Usage ever was; zero if the kernel does not tell
	Limit    uint64 // that of the machine if there is none
	Failures uint64 // how often the limit was hit; cgroup v1 only
	Stats    map[string]uint64
}

// Disk is what was read from and written to one device.
type Disk struct {
	Major, Minor                         uint64
	ReadBytes, WriteBytes, Reads, Writes uint64
}

// PIDs are how many processes and threads there are, and may be; zero = as many as the machine has.
type PIDs struct{ Current, Limit uint64 }

// Interface counts what a network interface has received and sent.
type Interface struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}
