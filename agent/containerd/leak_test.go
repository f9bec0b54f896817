package containerd

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"havn/lifecycle"
	"havn/protocol"
)

// noLeaks looks for everything that a task can leave on a machine.
func (n *node) noLeaks() {
	n.tb.Helper()
	for _, m := range mountsBelow(n.config.RuntimeDir) {
		n.tb.Errorf("left mounted: %s", m)
	}
	for _, dir := range n.cgroups.hierarchies() {
		if _, err := os.Stat(filepath.Join(dir, n.cgroups.name)); err == nil {
			n.tb.Errorf("left cgroup: %s in %s", n.cgroups.name, dir)
		}
	}
	for _, pid := range n.shims() {
		n.tb.Errorf("left process: shim %d", pid)
	}
	for _, pid := range n.holders() {
		n.tb.Errorf("left process: the first of a task's namespace, %d", pid)
	}
	if left := n.config.Network.Attachments(); len(left) > 0 {
		n.tb.Errorf("left attachments: %v", left)
	}
	for _, dir := range []string{
		filepath.Join(n.net.StateDir, "netns"), bundles(n.config.RuntimeDir), shimSockets(n.config.RuntimeDir),
		filepath.Join(n.config.RuntimeDir, "r", Namespace), filepath.Join(n.config.RuntimeDir, "m"),
		filepath.Join(n.config.RuntimeDir, "t"),
		filepath.Join(n.config.DataDir, "tasks"), filepath.Join(n.config.DataDir, "logs"),
	} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			n.tb.Errorf("left file: %s", filepath.Join(dir, e.Name()))
		}
	}
	n.snapshots.Walk(within(n.tb), func(_ context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			n.tb.Errorf("left snapshot: %s", i.Name)
		}
		return nil
	})
	if left, err := n.containers.List(within(n.tb)); err != nil || len(left) > 0 {
		n.tb.Errorf("left containers: %v, %v", left, err)
	}
}

// holders are the processes that hold a namespace for a task of this node.
func (n *node) holders() []int {
	var left []int
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		line, _ := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if pid, err := strconv.Atoi(p.Name()); err == nil && bytes.HasPrefix(line, []byte(initName+"\x00hold\x00"+n.config.RuntimeDir+"/")) {
			left = append(left, pid)
		}
	}
	return left
}

// shims are the processes of this node's shims that do not end by themselves within a test's patience.
func (n *node) shims() []int {
	var left []int
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if !bytes.Contains(line, []byte("\x00"+SocketPath(n.config.RuntimeDir)+"\x00")) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if ready, _ := unix.Poll(poll, 10_000); ready == 0 {
			left = append(left, pid)
		}
		unix.Close(fd)
	}
	return left
}

// shimOf is the process of a task's shim.
func (n *node) shimOf(task *protocol.Task) int {
	n.tb.Helper()
	pids, err := n.shimsOf(func(id string) bool {
		return slices.ContainsFunc(task.Containers, func(c protocol.Container) bool { return containerID(task.ARN, c.Name) == id })
	})
	if err != nil || len(pids) != 1 {
		n.tb.Fatalf("the task has the shims %v, %v", pids, err)
	}
	return pids[0]
}

func TestNothingIsLeft(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))

	ends := oneTask("web", "sh", "-c", "exit 0")
	ends.CPU, ends.Memory = 0.5, 64
	n.run(ends)
	n.must(ends, lifecycle.Wait, "c")

	runs := oneTask("web")
	runs.NetworkMode = "bridge"
	second := runs.Containers[0]
	second.Name = "d"
	second.PortMappings = []protocol.PortMapping{{ContainerPort: 80}}
	runs.Containers = append(runs.Containers, second)
	n.run(runs)

	fails := oneTask("web", "/nonexistent")
	n.must(fails, lifecycle.Connect, "")
	n.must(fails, lifecycle.Create, "c")
	n.do(fails, lifecycle.Start, "c")

	created := oneTask("web")
	n.must(created, lifecycle.Connect, "")
	n.must(created, lifecycle.Create, "c")

	connected := oneTask("web")
	n.must(connected, lifecycle.Connect, "")

	for _, task := range []*protocol.Task{ends, runs, fails, created, connected} {
		n.clean(task)
	}
	n.noLeaks()
}

func TestDestroyLeavesNothing(t *testing.T) {
	n := makeNode(t)
	n.open()
	n.load("web:latest", busybox(t, nil))
	for range 3 {
		n.run(oneTask("web"))
	}
	n.destroy()
	for _, pid := range n.shims() {
		t.Errorf("left process: shim %d", pid)
	}
	for _, dir := range n.cgroups.hierarchies() {
		if _, err := os.Stat(filepath.Join(dir, n.cgroups.name)); err == nil {
			t.Errorf("left cgroup: %s in %s", n.cgroups.name, dir)
		}
	}
	if _, err := os.Stat(n.config.RuntimeDir); err == nil {
		t.Errorf("left folder: %s", n.config.RuntimeDir)
	}
}
