package observe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Group is where a container's counters are.
type Group struct {
	Root    string // where the hierarchies are mounted: /sys/fs/cgroup
	Unified bool   // version 2: one hierarchy, at Root itself
	Path    string // of the group, below each hierarchy
	// PID is a process in the container's own network namespace; zero if it has the host's.
	PID int
}

// ticks is the unit of /proc/stat and of cpuacct.stat: USER_HZ, which is 100 on every architecture that Go runs on.
const ticks = uint64(time.Second / 100)

// Read takes a sample. The error is fs.ErrNotExist where there is no such group.
func (g Group) Read(at time.Time) (Sample, error) {
	s := Sample{At: at}
	read := g.readOne
	if g.Unified {
		read = g.readTwo
	}
	if err := errors.Join(read(&s), s.readMachine("/proc")); err != nil {
		return s, fmt.Errorf("cannot read what a container uses: %w", err)
	}
	if g.PID == 0 {
		return s, nil
	}
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(g.PID), "net/dev"))
	if err != nil {
		return s, fmt.Errorf("cannot read what a container's network has carried: %w", err)
	}
	s.Interfaces = parseInterfaces(content)
	return s, nil
}

// readOne reads version 1. Only what every kernel has must be there: hierarchies can be left out.
func (g Group) readOne(s *Sample) error {
	cpu, memory, pids := g.dir("cpuacct"), g.dir("memory"), g.dir("pids")
	usage, err := os.ReadFile(filepath.Join(cpu, "cpuacct.usage"))
	if err != nil {
		return err
	}
	s.CPU.Total = number(usage)
	for field := range strings.FieldsSeq(string(optional(cpu, "cpuacct.usage_percpu"))) {
		s.CPU.PerProcessor = append(s.CPU.PerProcessor, number([]byte(field)))
	}
	split := pairs(optional(cpu, "cpuacct.stat"))
	s.CPU.User, s.CPU.Kernel = split["user"]*ticks, split["system"]*ticks
	held := pairs(optional(g.dir("cpu"), "cpu.stat"))
	s.CPU.Periods, s.CPU.Throttled, s.CPU.Waited = held["nr_periods"], held["nr_throttled"], held["throttled_time"]

	s.Memory = Memory{
		Usage: number(optional(memory, "memory.usage_in_bytes")), Max: number(optional(memory, "memory.max_usage_in_bytes")),
		Limit: number(optional(memory, "memory.limit_in_bytes")), Failures: number(optional(memory, "memory.failcnt")),
		Stats: pairs(optional(memory, "memory.stat")),
	}
	s.PIDs = PIDs{number(optional(pids, "pids.current")), number(optional(pids, "pids.max"))}
	s.Disk = parseBlkio(optional(g.dir("blkio"), "blkio.throttle.io_service_bytes_recursive"),
		optional(g.dir("blkio"), "blkio.throttle.io_serviced_recursive"))
	return nil
}

// readTwo reads version 2.
func (g Group) readTwo(s *Sample) error {
	dir := filepath.Join(g.Root, g.Path)
	content, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return err
	}
	cpu := pairs(content)
	const micro = uint64(time.Microsecond)
	s.CPU = CPU{Total: cpu["usage_usec"] * micro, User: cpu["user_usec"] * micro, Kernel: cpu["system_usec"] * micro,
		Periods: cpu["nr_periods"], Throttled: cpu["nr_throttled"], Waited: cpu["throttled_usec"] * micro}
	s.Memory = Memory{Usage: number(optional(dir, "memory.current")), Max: number(optional(dir, "memory.peak")),
		Limit: number(optional(dir, "memory.max")), Stats: pairs(optional(dir, "memory.stat"))}
	s.PIDs = PIDs{number(optional(dir, "pids.current")), number(optional(dir, "pids.max"))}
	s.Disk = parseIO(optional(dir, "io.stat"))
	return nil
}

// readMachine adds what is to be compared with.
func (s *Sample) readMachine(proc string) error {
	content, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return err
	}
	s.SystemCPU, s.Online = parseMachine(content)
	memory, err := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(memory)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			if total := number([]byte(f[1])) << 10; s.Memory.Limit == 0 || s.Memory.Limit > total {
				s.Memory.Limit = total
			}
		}
	}
	return nil
}

func (g Group) dir(hierarchy string) string { return filepath.Join(g.Root, hierarchy, g.Path) }

// optional is empty where the kernel does not tell: not every controller is on.
func optional(dir, file string) []byte {
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	return content
}

// number is zero for what is none, such as max.
func number(text []byte) uint64 {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// pairs reads lines of a key and a number.
func pairs(content []byte) map[string]uint64 {
	all := map[string]uint64{}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), " "); ok {
			all[key] = number([]byte(value))
		}
	}
	return all
}

// parseMachine reads the first line of /proc/stat, and counts the processors.
func parseMachine(content []byte) (nanoseconds uint64, processors int) {
	for line := range strings.Lines(string(content)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 8 && f[0] == "cpu":
			for _, field := range f[1:9] { // not the guests', who are counted as users already
				nanoseconds += number([]byte(field)) * ticks
			}
		case len(f) > 0 && strings.HasPrefix(f[0], "cpu"):
			processors++
		}
	}
	return nanoseconds, processors
}

// parseBlkio reads version 1's two files, of lines MAJOR:MINOR OPERATION NUMBER.
func parseBlkio(bytesFile, countsFile []byte) []Disk {
	var all disks
	read := func(content []byte, reads, writes func(*Disk) *uint64) {
		for line := range strings.Lines(string(content)) {
			f := strings.Fields(line)
			if len(f) != 3 {
				continue // the sum of all
			}
			into := map[string]func(*Disk) *uint64{"Read": reads, "Write": writes}[f[1]]
			if d := all.of(f[0]); d != nil && into != nil {
				*into(d) = number([]byte(f[2]))
			}
		}
	}
	read(bytesFile, func(d *Disk) *uint64 { return &d.ReadBytes }, func(d *Disk) *uint64 { return &d.WriteBytes })
	read(countsFile, func(d *Disk) *uint64 { return &d.Reads }, func(d *Disk) *uint64 { return &d.Writes })
	return all
}

// parseIO reads version 2's file, of lines MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ...
func parseIO(content []byte) []Disk {
	var all disks
	for line := range strings.Lines(string(content)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		d := all.of(f[0])
		if d == nil {
			continue
		}
		for _, pair := range f[1:] {
			key, value, _ := strings.Cut(pair, "=")
			if into := map[string]*uint64{"rbytes": &d.ReadBytes, "wbytes": &d.WriteBytes, "rios": &d.Reads, "wios": &d.Writes}[key]; into != nil {
				*into = number([]byte(value))
			}
		}
	}
	return all
}

type disks []Disk

// of finds the device MAJOR:MINOR, or adds it; nil if that is no device.
func (d *disks) of(device string) *Disk {
	major, minor, ok := strings.Cut(device, ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return nil
	}
	for i := range *d {
		if (*d)[i].Major == a && (*d)[i].Minor == b {
			return &(*d)[i]
		}
	}
	*d = append(*d, Disk{Major: a, Minor: b})
	return &(*d)[len(*d)-1]
}

// parseInterfaces reads /proc/net/dev, but for the loopback interface.
func parseInterfaces(content []byte) map[string]Interface {
	all := map[string]Interface{}
	for line := range strings.Lines(string(content)) {
		name, counters, ok := strings.Cut(line, ":")
		f := strings.Fields(counters)
		if name = strings.TrimSpace(name); !ok || len(f) < 12 || name == "lo" {
			continue
		}
		n := func(i int) uint64 { return number([]byte(f[i])) }
		all[name] = Interface{RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDropped: n(3),
			TxBytes: n(8), TxPackets: n(9), TxErrors: n(10), TxDropped: n(11)}
	}
	return all
}
