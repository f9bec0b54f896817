package containerd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	runccgroups "github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"havn/protocol"
)

const cgroupRoot = "/sys/fs/cgroup"

// cpuPeriod is the kernel's default, in microseconds, in which a task may use its quota.
const cpuPeriod = 100_000

// cgroups keeps the groups above those of the containers. A container's group is /havn-NAME/TASK/CONTAINER; runc makes
// it, and those above it, and removes only it.
type cgroups struct {
	root    string // where the hierarchies are mounted
	name    string
	unified bool // version 2: one hierarchy, at root itself

	// A group must not be removed while a container is being made in it.
	mu      sync.Mutex
	entered map[string]int // by task's group
	removed map[string]bool
}

func newCgroups(root, name string) *cgroups {
	_, err := os.Stat(filepath.Join(root, "cgroup.controllers"))
	return &cgroups{root: root, name: "havn-" + name, unified: err == nil,
		entered: make(map[string]int), removed: make(map[string]bool)}
}

func (g *cgroups) path(taskARN, id string) string { return filepath.Join(g.taskPath(taskARN), id[:12]) }

func (g *cgroups) taskPath(taskARN string) string {
	return filepath.Join("/", g.name, TaskID(taskARN))
}

// enter prepares the task's group for a container, and keeps it until done is called.
func (g *cgroups) enter(task *protocol.Task) (done func(), err error) {
	path := g.taskPath(task.ARN)
	g.mu.Lock()
	g.entered[path]++
	g.entered[g.name]++
	g.mu.Unlock()
	done = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, p := range []string{path, g.name} {
			if g.entered[p]--; g.entered[p] == 0 {
				delete(g.entered, p)
			}
		}
		if g.removed[path] {
			g.prune(path)
		}
	}
	if err := g.limitTask(task); err != nil {
		done()
		return nil, fmt.Errorf("cannot limit the task: %w", err)
	}
	return done, nil
}

// limitTask makes the task's own limits act on all its containers together. Besides, when there is not enough for
// all, a task gets as much of the CPU as it asked for, or as its containers did: in a group of its own they would
// otherwise weigh as much together as those of any other task.
func (g *cgroups) limitTask(task *protocol.Task) error {
	for _, c := range task.Containers {
		if task.Memory > 0 && c.Memory > task.Memory {
			return fmt.Errorf("container %s has a hard limit of %d MiB of memory, and the whole task only %d", c.Name, c.Memory, task.Memory)
		}
	}
	group, shares := g.taskPath(task.ARN), taskShares(task)
	quota, memory := int64(task.CPU*cpuPeriod), task.Memory*mebibyte
	if g.unified {
		dir := filepath.Join(g.root, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, above := range []string{g.root, filepath.Join(g.root, g.name), dir} {
			if err := writeCgroup(above, "cgroup.subtree_control", "+cpu +memory +pids"); err != nil {
				return err
			}
		}
		return writeLimits([]cgroupLimit{
			{dir, "cpu.weight", strconv.FormatUint(weightOf(shares), 10), true},
			{dir, "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod), quota > 0},
			{dir, "memory.max", strconv.FormatInt(memory, 10), memory > 0},
		})
	}
	cpu, mem := filepath.Join(g.root, "cpu", group), filepath.Join(g.root, "memory", group)
	return writeLimits([]cgroupLimit{
		{cpu, "cpu.shares", strconv.FormatUint(shares, 10), true},
		{cpu, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod), quota > 0},
		{cpu, "cpu.cfs_quota_us", strconv.FormatInt(quota, 10), quota > 0},
		{mem, "memory.limit_in_bytes", strconv.FormatInt(memory, 10), memory > 0},
	})
}

// taskShares is the task's CPU in shares, or the sum of its containers'.
func taskShares(task *protocol.Task) uint64 {
	if task.CPU > 0 {
		return min(max(uint64(task.CPU*1024), minShares), maxShares)
	}
	var sum uint64
	for i := range task.Containers {
		sum += sharesOf(&task.Containers[i])
	}
	return min(max(sum, minShares), maxShares)
}

// weightOf is what version 2 has for shares: from 1 to 10000, and 100 for 1024. runc uses the same curve for the
// containers.
func weightOf(shares uint64) uint64 {
	return runccgroups.ConvertCPUSharesToCgroupV2Value(shares)
}

type cgroupLimit struct {
	dir, file, value string
	given            bool
}

func writeLimits(limits []cgroupLimit) error {
	for _, l := range limits {
		if !l.given {
			continue
		}
		if err := os.MkdirAll(l.dir, 0o755); err != nil {
			return err
		}
		if err := writeCgroup(l.dir, l.file, l.value); err != nil {
			return err
		}
	}
	return nil
}

func writeCgroup(dir, file, value string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644)
}

// remove removes the container's group, which runc does unless its process was killed on the way, then the task's and
// ours above it, as far as nothing is in them.
func (g *cgroups) remove(taskARN, id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, dir := range g.hierarchies() {
		unix.Rmdir(filepath.Join(dir, g.path(taskARN, id)))
	}
	g.prune(g.taskPath(taskARN))
}

func (g *cgroups) prune(path string) {
	if g.entered[path] > 0 {
		g.removed[path] = true
		return
	}
	delete(g.removed, path)
	for _, dir := range g.hierarchies() {
		unix.Rmdir(filepath.Join(dir, path)) // fails where there is something in it, or nothing of it
		if g.entered[g.name] == 0 {
			unix.Rmdir(filepath.Join(dir, g.name))
		}
	}
}

// processes are those in the group.
func (g *cgroups) processes(path string) ([]int, error) {
	var all []int
	for _, dir := range g.hierarchies() {
		data, err := os.ReadFile(filepath.Join(dir, path, "cgroup.procs"))
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) { // it is being removed
				continue
			}
			return nil, err
		}
		for field := range strings.FieldsSeq(string(data)) {
			// A process of another namespace of processes than ours is 0.
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !slices.Contains(all, pid) {
				all = append(all, pid)
			}
		}
	}
	return all, nil
}

// hierarchies are the folders where a group may have a folder of its own.
func (g *cgroups) hierarchies() []string {
	if g.unified {
		return []string{g.root}
	}
	entries, err := os.ReadDir(g.root)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() { // links like cpu,cpuacct lead to one of the others
			dirs = append(dirs, filepath.Join(g.root, e.Name()))
		}
	}
	return dirs
}

// swapSupport is what the kernel can do about a container's use of swap.
type swapSupport struct{ counted, swappiness bool }

// swap looks at groups that are there: at the root of version 2 itself there is no limit on anything. Where none has
// a limit on memory yet, it is runc that will find out.
func (g *cgroups) swap() swapSupport {
	if !g.unified {
		_, err := os.Stat(filepath.Join(g.root, "memory", "memory.memsw.limit_in_bytes"))
		return swapSupport{counted: err == nil, swappiness: true}
	}
	var limits int
	for _, file := range []string{"memory.swap.max", "memory.max"} {
		found, err := filepath.Glob(filepath.Join(g.root, "*", file))
		if limits = len(found); err == nil && limits > 0 {
			return swapSupport{counted: file == "memory.swap.max"}
		}
	}
	return swapSupport{counted: true}
}

// oomKilled tells whether the kernel killed a process of the group for want of memory. It can be asked until the
// container is removed, so nobody needs to have been listening.
func (g *cgroups) oomKilled(path string) (bool, error) {
	file := filepath.Join(g.root, "memory", path, "memory.oom_control")
	if g.unified {
		file = filepath.Join(g.root, path, "memory.events")
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if count, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			return count != "0", nil
		}
	}
	return false, nil
}
