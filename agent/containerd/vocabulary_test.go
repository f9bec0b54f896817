package containerd

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"havn/lifecycle"
	"havn/protocol"
)

func asDocker(tb testing.TB, config protocol.ContainerConfig, host protocol.HostConfig) *protocol.DockerConfig {
	tb.Helper()
	c, err1 := json.Marshal(config)
	h, err2 := json.Marshal(host)
	if err1 != nil || err2 != nil {
		tb.Fatal(err1, err2)
	}
	return &protocol.DockerConfig{Config: string(c), HostConfig: string(h)}
}

func ptr[T any](v T) *T { return &v }

// What each field of a definition changes for the process, told by itself.
func TestTheProcessSeesWhatTheDefinitionSays(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	ownIPC, err := os.Readlink("/proc/self/ns/ipc")
	if err != nil {
		t.Fatal(err)
	}
	ownPID, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	// A device that is none of those that every container has: the kernel's, for files in the memory of programs.
	spare := filepath.Join(t.TempDir(), "spare")
	if err := errors.Join(unix.Mknod(spare, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))), os.Chmod(spare, 0o666)); err != nil {
		t.Fatal(err)
	}
	swapLimit := "8388608\n" // version 2 counts it apart
	if !n.cgroups.unified {
		swapLimit = "41943040\n"
	}
	for _, test := range []struct {
		name   string
		config protocol.ContainerConfig
		host   protocol.HostConfig
		task   func(*protocol.Task)
		script string
		want   []string
		not    []string
	}{
		{name: "user by name", config: protocol.ContainerConfig{User: "web"}, script: "id", want: []string{"uid=1000(web) gid=1000(web)", "50(staff)"}},
		{name: "user and group by name", config: protocol.ContainerConfig{User: "web:staff"}, script: "id", want: []string{"uid=1000(web) gid=50(staff)"}},
		{name: "user by name, group by number", config: protocol.ContainerConfig{User: "web:7"}, script: "id", want: []string{"uid=1000(web) gid=7"}},
		{name: "user by number, group by name", config: protocol.ContainerConfig{User: "9:staff"}, script: "id", want: []string{"uid=9 gid=50(staff)"}},
		{name: "user by number", config: protocol.ContainerConfig{User: "9"}, script: "id; cat /proc/self/status", want: []string{"uid=9 gid=0(root)", "CapEff:\t0000000000000000"}},

		{name: "readonlyRootFilesystem", host: protocol.HostConfig{ReadonlyRootfs: true}, script: "touch /new; touch /etc/hosts; touch /dev/shm/new && echo shm",
			want: []string{"/new: Read-only", "/etc/hosts: Read-only", "shm\n"}},
		{name: "privileged", host: protocol.HostConfig{Privileged: true},
			script: "cat /proc/self/status /proc/mounts; ls -l /dev/kmsg; echo 3 >/proc/sys/kernel/printk_delay && echo 0 >/proc/sys/kernel/printk_delay && echo proc is writable; head -c 0 /dev/kmsg && echo may read it",
			want:   []string{"Seccomp:\t0", "/dev/kmsg", "sysfs /sys sysfs rw", "proc is writable", "may read it"}, not: []string{"/proc/kcore", "CapEff:\t00000000a80425fb", "cgroup ro,"}},
		{name: "capabilities added", host: protocol.HostConfig{CapAdd: []string{"SYS_PTRACE", "NET_ADMIN"}}, script: "cat /proc/self/status",
			want: []string{"CapEff:\t00000000a80c35fb", "Seccomp:\t2"}},
		{name: "capabilities dropped", host: protocol.HostConfig{CapDrop: []string{"CHOWN", "NET_RAW"}}, script: "cat /proc/self/status", want: []string{"CapBnd:\t00000000a80405fa", "CapEff:\t00000000a80405fa"}},
		{name: "all capabilities dropped but one", host: protocol.HostConfig{CapDrop: []string{"ALL"}, CapAdd: []string{"KILL"}}, script: "cat /proc/self/status", want: []string{"CapEff:\t0000000000000020"}},
		{name: "all capabilities added but one", host: protocol.HostConfig{CapAdd: []string{"ALL"}, CapDrop: []string{"CHOWN"}}, script: "cat /proc/self/status", want: []string{"fffe\n", "Seccomp:\t2"}},
		{name: "no-new-privileges", host: protocol.HostConfig{SecurityOpt: []string{"no-new-privileges"}}, script: "cat /proc/self/status", want: []string{"NoNewPrivs:\t1"}},

		{name: "ulimits", host: protocol.HostConfig{Ulimits: []protocol.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: 0, Hard: 4096}, {Name: "nproc", Soft: 50, Hard: 60}, {Name: "stack", Soft: 1 << 20, Hard: -1}}},
			script: "cat /proc/self/limits | tr -s ' '", want: []string{"Max open files 100 200", "Max core file size 0 4096", "Max processes 50 60", "Max stack size 1048576 unlimited"}},
		{name: "systemControls", host: protocol.HostConfig{Sysctls: map[string]string{"net.core.somaxconn": "123", "kernel.msgmax": "4321"}},
			script: "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start", want: []string{"123\n4321\n0\n"}},

		{name: "devices", host: protocol.HostConfig{Devices: []protocol.DeviceMapping{{PathOnHost: spare, PathInContainer: "/dev/spare", CgroupPermissions: "r"}}},
			script: "head -c 0 /dev/spare && echo read; echo x >/dev/spare || echo no write; ls -l /dev/spare", want: []string{"read\n", "/dev/spare: Operation not permitted\n", "no write\n", "crw-rw-rw-"}},
		{name: "maxSwap", host: protocol.HostConfig{MemorySwap: ptr(int64(40 << 20))}, task: func(p *protocol.Task) { p.Containers[0].Memory = 32 },
			script: "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes || cat /sys/fs/cgroup$(head -n 1 /proc/self/cgroup | cut -d : -f 3)/memory.swap.max || cat /sys/fs/cgroup/memory.swap.max", want: []string{swapLimit}},
		{name: "sharedMemorySize", host: protocol.HostConfig{ShmSize: 8 << 20}, script: "grep /dev/shm /proc/mounts", want: []string{"size=8192k"}},
		{name: "tmpfs", host: protocol.HostConfig{Tmpfs: map[string]string{"/scratch": "size=1048576,mode=700,exec"}}, script: "grep /scratch /proc/mounts",
			want: []string{"rw,nosuid,nodev", "size=1024k", "mode=700"}, not: []string{"noexec"}},

		{name: "pidMode host", task: func(p *protocol.Task) { p.PIDMode = "host" }, script: "readlink /proc/self/ns/pid", want: []string{ownPID}},
		{name: "ipcMode host", task: func(p *protocol.Task) { p.IPCMode = "host" }, script: "readlink /proc/self/ns/ipc", want: []string{ownIPC}},
		{name: "ipcMode none", task: func(p *protocol.Task) { p.IPCMode = "none" }, script: "readlink /proc/self/ns/ipc; grep -c /dev/shm /proc/mounts; true", want: []string{"\n0\n"}, not: []string{ownIPC}},

		{name: "pseudoTerminal", config: protocol.ContainerConfig{Tty: true}, script: "tty; echo $TERM; test -t 0 && test -t 1 && echo a terminal", want: []string{"/dev/pts/0\r\n", "xterm\r\n", "a terminal\r\n"}},
		{name: "interactive", config: protocol.ContainerConfig{OpenStdin: true}, script: "timeout 0.3 cat; echo the end of $?", want: []string{"the end of 143"}},
		{name: "neither", script: "cat && echo the end", want: []string{"the end"}},

		{name: "initProcessEnabled", host: protocol.HostConfig{Init: ptr(true)}, script: "head -c 14 /proc/1/cmdline; echo; (sleep 0.01 &); sleep 0.1; ps", want: []string{"/dev/havn-init\n"}, not: []string{"[sleep]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.tb = t
			defer func() { n.tb = t }()
			task := oneTask("web", "/bin/busybox", "sh", "-c", ""+applets+test.script)
			task.Containers[0].DockerConfig = asDocker(t, test.config, test.host)
			if test.task != nil {
				test.task(task)
			}
			out := n.saidAtLast(task)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in the output:\n%s", want, out)
				}
			}
			for _, not := range test.not {
				if strings.Contains(out, not) {
					t.Errorf("%q is in the output:\n%s", not, out)
				}
			}
		})
	}
	n.tb = t
}

// applets are what the scripts use beside the image's.
const applets = `for a in grep head tr readlink tty timeout ps cut; do eval "$a() { /bin/busybox $a \"\$@\"; }"; done; PATH=/bin; `

// saidAtLast is what the task's container wrote before it ended, however it did.
func (n *node) saidAtLast(task *protocol.Task) string {
	n.tb.Helper()
	n.run(task)
	n.must(task, lifecycle.Wait, "c")
	n.must(task, lifecycle.Remove, "c") // whose end waits for the log
	out := n.output(task, "c")
	n.clean(task)
	return out
}
