// Package ports tells who has a port of this machine.
package ports

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holder is the process of this machine whose socket has the port, as "name (pid 123)"; empty if it is not to be seen.
// network is tcp or udp.
//
// It is for the error, after a port was found taken. Nobody is an answer, too: whoever it was can be gone by then, and
// the kernel does not list TCP sockets that are bound and neither listen nor are connected, which is how Havn holds the
// host ports of tasks.
func Holder(network string, port uint16) string {
	inodes := make(map[string]bool)
	for _, table := range []string{network, network + "6"} {
		socketsAt(filepath.Join("/proc/thread-self/net", table), port, inodes) // /proc/net is the main thread's
	}
	if len(inodes) == 0 {
		return ""
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/*")
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
func socketsAt(table string, port uint16, inodes map[string]bool) {
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
		if found, err := strconv.ParseUint(hex, 16, 16); err != nil || uint16(found) != port {
			continue
		}
		if inode := fields[9]; inode != "0" {
			inodes[inode] = true
		}
	}
}
