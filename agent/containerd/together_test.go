package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"havn/lifecycle"
	"havn/protocol"
)

// pairOf is a task of two containers: first, which runs on, and c.
func pairOf(first, c string) *protocol.Task {
	task := oneTask("web", "sh", "-c", c)
	task.Containers = append([]protocol.Container{{Name: "first", Image: "web", Command: []string{"sh", "-c", first}}}, task.Containers...)
	return task
}

func TestContainersOfATaskAreTogether(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := pairOf("echo from the first >/dev/shm/note; sleep 987654",
		"while ! test -s /dev/shm/note; do sleep 0.01; done; cat /dev/shm/note; "+
			"/bin/busybox ps; (sleep 0.01 &); sleep 0.1; /bin/busybox ps | /bin/busybox grep -c '^ *[0-9]* root *.sleep.$'; "+
			"/bin/busybox grep /dev/shm /proc/mounts; echo root:; ls -A /proc/1/root/ /proc/1/root/..; echo end of root; touch /proc/1/root/x; "+
			"/bin/busybox kill -TERM 1; /bin/busybox kill -HUP 1; /bin/busybox kill -0 1; cat /proc/1/status")
	task.PIDMode, task.IPCMode = "task", "task"
	task.Containers[0].DockerConfig = asDocker(t, protocol.ContainerConfig{}, protocol.HostConfig{ShmSize: 4 << 20})
	// Tracing is what could look through the first process at the host.
	task.Containers[1].DockerConfig = asDocker(t, protocol.ContainerConfig{}, protocol.HostConfig{CapAdd: []string{"SYS_PTRACE"}})
	n.must(task, lifecycle.Connect, "")
	for _, v := range toRunning[1:] {
		n.must(task, v, "first")
	}
	n.close()
	n.open()
	for _, v := range toRunning {
		name := "c"
		if v == lifecycle.Connect {
			name = ""
		}
		n.must(task, v, name)
	}
	n.must(task, lifecycle.Wait, "c")
	n.must(task, lifecycle.Remove, "c")
	out := n.output(task, "c")
	for _, want := range []string{"from the first\n", "havn-init hold", "sleep 987654", "\n0\n", "size=4096k",
		"root:\n/proc/1/root/:\n\n/proc/1/root/..:\nend of root\n", "/proc/1/root/x: Read-only file system", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	n.must(task, lifecycle.Stop, "first")
	n.clean(task)
	n.noLeaks()
}

func TestAnInitIsTheFirstProcess(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	withInit := asDocker(t, protocol.ContainerConfig{}, protocol.HostConfig{Init: ptr(true)})

	obeys, _, ready := counted(t, obedient)
	obeys.Containers[0].DockerConfig = withInit
	n.run(obeys)
	ready()
	n.must(obeys, lifecycle.Stop, "c")
	if r := n.must(obeys, lifecycle.Wait, "c"); r.ExitCode != 6 {
		t.Errorf("it handed on a signal, and the exit code is %d", r.ExitCode)
	}
	n.clean(obeys)

	for _, test := range []struct {
		command []string
		tty     bool
		code    int
		says    string
	}{
		{[]string{"sh", "-c", "/bin/busybox kill -SEGV $$"}, false, 139, ""},
		{[]string{"nowhere"}, false, 127, "havn-init: exec nowhere failed: no such file or directory\n"},
		{[]string{"/noexec"}, false, 126, "havn-init: exec /noexec failed: permission denied\n"},
		{[]string{"sh", "-c", "cat /proc/self/stat"}, true, 0, ""},
	} {
		task := oneTask("web", test.command...)
		task.Containers[0].DockerConfig = asDocker(t, protocol.ContainerConfig{Tty: test.tty}, protocol.HostConfig{Init: ptr(true)})
		n.run(task)
		if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != test.code {
			t.Errorf("%q: exit code %d, want %d", test.command, r.ExitCode, test.code)
		}
		n.must(task, lifecycle.Remove, "c")
		out := n.output(task, "c")
		if !strings.Contains(out, test.says) {
			t.Errorf("%q: %q is not in the output: %s", test.command, test.says, out)
		}
		if test.tty {
			// proc(5): the process group is in front of the terminal, so its keys reach the command.
			if f := strings.Fields(out); len(f) < 8 || f[4] != f[7] {
				t.Errorf("the command is not in front of its terminal: %s", out)
			}
		}
		n.clean(task)
	}
}

func TestWhatANodeCannotDoIsSaid(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	own, both := int64(64<<20), int64(32<<20)
	for _, test := range []struct {
		name    string
		host    protocol.HostConfig
		change  func(*protocol.Task)
		unless  string // a file of a host that can do it
		refused string
	}{
		{name: "a device", host: protocol.HostConfig{Devices: []protocol.DeviceMapping{{PathOnHost: "/dev/none", PathInContainer: "/dev/none"}}},
			refused: `error gathering device information while adding custom device "/dev/none": `},
		{name: "AppArmor", host: protocol.HostConfig{SecurityOpt: []string{"apparmor:shop"}}, unless: "/sys/module/apparmor", refused: "AppArmor is not enabled on this node"},
		{name: "SELinux", host: protocol.HostConfig{SecurityOpt: []string{"label:type:shop_t"}}, unless: "/sys/fs/selinux", refused: "SELinux is not enabled on this node"},
		{name: "a security option", host: protocol.HostConfig{SecurityOpt: []string{"seccomp=unconfined"}}, refused: `invalid --security-opt: "seccomp=unconfined"`},
		{name: "an option of a tmpfs", host: protocol.HostConfig{Tmpfs: map[string]string{"/t": "bind"}}, refused: `Invalid tmpfs option "bind"`},
		{name: "a tmpfs in a volume's place", host: protocol.HostConfig{Tmpfs: map[string]string{"/t": ""}}, refused: "Duplicate mount point: /t",
			change: func(task *protocol.Task) {
				task.Volumes = []protocol.Volume{{Name: "v"}}
				task.Containers[0].MountPoints = []protocol.MountPoint{{SourceVolume: "v", ContainerPath: "/t/"}}
			}},
		{name: "swap without memory", host: protocol.HostConfig{MemorySwap: &both}, refused: "You should always set the Memory limit when using Memoryswap limit"},
		{name: "swappiness", host: protocol.HostConfig{MemorySwap: &own, MemorySwappiness: ptr(int64(5))}, unless: "/sys/fs/cgroup/memory", refused: "kernel does not support memory swappiness",
			change: func(task *protocol.Task) { task.Containers[0].Memory = 32 }},
		{name: "a negative ulimit", host: protocol.HostConfig{Ulimits: []protocol.Ulimit{{Name: "core", Soft: -2, Hard: 1}}}, refused: `invalid ulimit "core"`},
	} {
		if _, err := os.Stat(test.unless); test.unless != "" && err == nil {
			continue
		}
		task := oneTask("web")
		task.Containers[0].DockerConfig = asDocker(t, protocol.ContainerConfig{}, test.host)
		if test.change != nil {
			test.change(task)
		}
		if why := n.refused(task); !strings.HasPrefix(why, "CannotCreateContainerError: Error response from daemon: ") || !strings.Contains(why, test.refused) {
			t.Errorf("%s: %q is not in the reason: %s", test.name, test.refused, why)
		}
	}

	// What is wrong with the whole is told when the container is to start; see the package's page.
	task := oneTask("web")
	task.Memory, task.Containers[0].Memory = 16, 32
	n.must(task, lifecycle.Connect, "")
	n.must(task, lifecycle.Create, "c")
	if r := n.do(task, lifecycle.Start, "c"); !strings.Contains(r.Reason, "container c has a hard limit of 32 MiB of memory, and the whole task only 16") {
		t.Errorf("more memory than the task: %s", r.Reason)
	}
	n.clean(task)
}

func TestCapabilities(t *testing.T) {
	usual, own := []string{"CAP_CHOWN", "CAP_KILL"}, []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}
	for _, test := range []struct{ add, drop, want string }{
		{"", "", "CAP_CHOWN CAP_KILL"},
		{"SYS_ADMIN KILL", "CHOWN", "CAP_KILL CAP_SYS_ADMIN"},
		{"ALL", "", "CAP_CHOWN CAP_KILL CAP_SYS_ADMIN"},
		{"ALL", "KILL", "CAP_CHOWN CAP_SYS_ADMIN"},
		{"", "ALL", ""},
		{"kill", "ALL", "CAP_KILL"},
		{"SYS_BOOT", "", `invalid CapAdd: the capability "CAP_SYS_BOOT" cannot be given: this node does not have it itself`},
	} {
		set, err := capabilitySet(usual, own, strings.Fields(test.add), strings.Fields(test.drop), false)
		got := strings.Join(set, " ")
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("add %q, drop %q: %s, want %s", test.add, test.drop, got, test.want)
		}
	}
}

func TestWhetherSwapIsCounted(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		want  swapSupport
	}{
		"version 1":                            {[]string{"memory/memory.memsw.limit_in_bytes"}, swapSupport{counted: true, swappiness: true}},
		"version 1 without":                    {[]string{"memory/memory.limit_in_bytes"}, swapSupport{swappiness: true}},
		"version 2":                            {[]string{"cgroup.controllers", "system.slice/memory.max", "system.slice/memory.swap.max"}, swapSupport{counted: true}},
		"version 2 without":                    {[]string{"cgroup.controllers", "system.slice/memory.max"}, swapSupport{}},
		"version 2, where nothing is seen yet": {[]string{"cgroup.controllers"}, swapSupport{counted: true}},
	} {
		root := t.TempDir()
		for _, f := range test.files {
			os.MkdirAll(filepath.Dir(filepath.Join(root, f)), 0o755)
			os.WriteFile(filepath.Join(root, f), nil, 0o644)
		}
		if got := newCgroups(root, "abc").swap(); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestATaskWeighsAsMuchAsItsContainers(t *testing.T) {
	for _, test := range []struct {
		cpu   float64
		parts []int64
		want  uint64
	}{
		{0, []int64{0, 1, 100}, 2 + 2 + 100},
		{0, nil, 2},
		{0, []int64{300_000, 300_000}, 262144},
		{0.5, []int64{100}, 512},
	} {
		task := &protocol.Task{CPU: test.cpu}
		for _, cpu := range test.parts {
			task.Containers = append(task.Containers, protocol.Container{CPU: cpu})
		}
		if got := taskShares(task); got != test.want {
			t.Errorf("%v: %d shares, want %d", test, got, test.want)
		}
	}
}
