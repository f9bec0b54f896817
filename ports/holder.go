// Package ports tells who has a port of this machine.
package ports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holder is the process of this machine whose socket is in the way of one at an address, as "name (pid 123)"; empty if it
// is not to be seen. network is tcp or udp. At the unspecified address every socket with the port is in the way; at
// others those at the same address, and those at the unspecified one.
//
// It is for the error, after a port was found taken. Nobody is an answer, too: whoever it was can be gone by then, and
// the kernel does not list TCP sockets that are bound and neither listen nor are connected, which is how Havn holds the
// host ports of tasks.
func Holder(network string, at netip.AddrPort) string {
	inodes := make(map[string]bool)
	for _, table := range []string{network, network + "6"} {
		socketsAt(filepath.Join("/proc/thread-self/net", table), at, inodes) // /proc/net is the main thread's
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

// socketsAt collects the inodes of sockets that are in the way, of a table such as /proc/net/tcp (proc(5)).
func socketsAt(table string, at netip.AddrPort, inodes map[string]bool) {
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
		local, ok := parseAddress(fields[1])
		if !ok || local.Port() != at.Port() {
			continue
		}
		if a := local.Addr(); !a.IsUnspecified() && !at.Addr().IsUnspecified() && a != at.Addr() {
			continue
		}
		if inode := fields[9]; inode != "0" {
			inodes[inode] = true
		}
	}
}

// parseAddress reads an address of such a table: words of 32 bits in this machine's order, in hexadecimal, and the port.
func parseAddress(text string) (netip.AddrPort, bool) {
	ip, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(ip)
	if err != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	a, ok := netip.AddrFromSlice(words)
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), ok && err == nil
}
