package network

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Who holds a port is looked up only when a port was found taken, for the error. Nobody is an answer, too: whoever it was
// can be gone by then, and the kernel does not list TCP sockets that are bound and neither listen nor are connected, which
// is how another Havn holds its ports.

// blame completes the error of a port that is taken with who has it.
func (n *Network) blame(err error) {
	taken, ok := errors.AsType[*PortTakenError](err)
	if !ok {
		return
	}
	key := hostPort{taken.Protocol, taken.Port}
	if taken.Endpoint = n.endpointAt(key); taken.Endpoint == "" {
		taken.Process = processAt("/proc", key)
	}
}

// endpointAt is the endpoint of this Network that has the host port; empty if none has.
func (n *Network) endpointAt(key hostPort) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, rec := range n.endpoints {
		for _, b := range rec.Bindings {
			if rec.Mode == Bridge && b.Protocol == key.protocol &&
				int(b.HostPort) <= int(key.port) && int(key.port) < int(b.HostPort)+int(b.Count) {
				return id
			}
		}
	}
	return ""
}

// processAt is the process of this machine whose socket has the port, as "name (pid 123)"; empty if it is not to be
// seen.
func processAt(proc string, key hostPort) string {
	inodes := make(map[string]bool)
	for _, table := range []string{string(key.protocol), string(key.protocol) + "6"} {
		socketsAt(filepath.Join(proc, "thread-self", "net", table), key, inodes) // /proc/net is the main thread's
	}
	if len(inodes) == 0 {
		return ""
	}
	descriptors, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	if err != nil {
		return ""
	}
	for _, fd := range descriptors {
		link, err := os.Readlink(fd)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(process))
	}
	return ""
}

// socketsAt collects the inodes of sockets that are bound to the port, of a table such as /proc/net/tcp (proc(5)).
func socketsAt(table string, key hostPort, inodes map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseUint(hex, 16, 16); err != nil || uint16(port) != key.port {
			continue
		}
		if inode := fields[9]; inode != "0" {
			inodes[inode] = true
		}
	}
}
