package containerd

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"havn/lifecycle"
	"havn/protocol"
)

// What a container sees, told by itself.
func TestAContainerIsAsItWasAskedFor(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, func(c *v1.ConfigFile) {
		c.Config.User, c.Config.WorkingDir = "web", "/tmp"
		c.Config.Entrypoint, c.Config.Cmd = []string{"/bin/sh", "-c"}, []string{"env; id; pwd; hostname"}
	}))
	host := t.TempDir()
	os.WriteFile(filepath.Join(host, "given"), []byte("from the host\n"), 0o644)

	for _, test := range []struct {
		name   string
		change func(*protocol.Task, *protocol.Container)
		want   []string
		not    []string
	}{
		{"the image's own", func(*protocol.Task, *protocol.Container) {},
			[]string{"FROM=image", "uid=1000(web) gid=1000(web) groups=", "50(staff)", "/tmp", "HOSTNAME="}, nil},
		{"environment", func(_ *protocol.Task, c *protocol.Container) {
			c.Environment = map[string]string{"FROM": "task", "EMPTY": "", "LINES": "a\nb=c"}
		}, []string{"FROM=task", "EMPTY=\n", "LINES=a\nb=c"}, []string{"FROM=image"}},
		{"command", func(_ *protocol.Task, c *protocol.Container) { c.Command = []string{"echo $FROM"} }, []string{"image\n"}, nil},
		{"entryPoint drops the image's command", func(_ *protocol.Task, c *protocol.Container) {
			c.EntryPoint = &[]string{"/bin/busybox", "echo"}
		}, []string{"\n"}, []string{"env"}},
		{"user, working directory, hostname", func(_ *protocol.Task, c *protocol.Container) {
			c.DockerConfig = &protocol.DockerConfig{Config: `{"User":"7:50","WorkingDir":"/made/anew","Hostname":"shop"}`}
		}, []string{"uid=7 gid=50(staff)", "/made/anew\n", "shop\n", "HOSTNAME=shop"}, nil},
		{"hosts and resolvers", func(_ *protocol.Task, c *protocol.Container) {
			c.Command = []string{"cat /etc/hosts /etc/hostname /etc/resolv.conf"}
		}, []string{"localhost", "nameserver"}, nil},
		{"a volume of the host, one of the task", func(task *protocol.Task, c *protocol.Container) {
			task.Volumes = []protocol.Volume{{Name: "host", Host: &protocol.HostVolume{SourcePath: host}}, {Name: "own"}}
			c.MountPoints = []protocol.MountPoint{{SourceVolume: "host", ContainerPath: "/in", ReadOnly: true}, {SourceVolume: "own", ContainerPath: "/own"}}
			c.DockerConfig = &protocol.DockerConfig{Config: `{"User":"root"}`}
			c.Command = []string{"cat /in/given; touch /in/new; touch /own/new && ls /own"}
		}, []string{"from the host", "Read-only file system", "new\n"}, nil},
		{"capabilities and seccomp are Docker's", func(_ *protocol.Task, c *protocol.Container) {
			c.DockerConfig = &protocol.DockerConfig{Config: `{"User":"root"}`}
			c.Command = []string{"cat /proc/self/status; cat /proc/kcore | /bin/busybox head -c1 | /bin/busybox wc -c"}
		}, []string{"CapEff:\t00000000a80425fb", "Seccomp:\t2", "NoNewPrivs:\t0", "\n0\n"}, nil},
		{"its own processes only", func(_ *protocol.Task, c *protocol.Container) { c.Command = []string{"echo pid $$"} }, []string{"pid 1\n"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			task := oneTask("web")
			test.change(task, &task.Containers[0])
			n.tb = t
			n.run(task)
			if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != 0 {
				t.Errorf("exit code %d", r.ExitCode)
			}
			n.must(task, lifecycle.Remove, "c") // whose end waits for the log
			out := n.output(task, "c")
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
			n.clean(task)
		})
	}
	n.tb = t
}

func TestNetworkModes(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[string]string{"host": own + "\n", "none": "", "bridge": ""} {
		task := oneTask("web", "sh", "-c", "/bin/busybox readlink /proc/self/ns/net; cat /proc/net/dev")
		task.NetworkMode = mode
		n.run(task)
		n.must(task, lifecycle.Wait, "c")
		out := n.output(task, "c")
		if got := strings.HasPrefix(out, own); got != (want != "") {
			t.Errorf("%s: on the host's network: %v", mode, got)
		}
		if got := strings.Contains(out, "eth0"); mode != "host" && got != (mode == "bridge") {
			t.Errorf("%s: has eth0: %v", mode, got)
		}
		n.clean(task)
	}
}

func TestStartFailuresAreWordedAsECSDoes(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for _, test := range []struct {
		name   string
		change func(*protocol.Task, *protocol.Container)
		verb   lifecycle.Verb
		want   []string
	}{
		{"no such command", func(_ *protocol.Task, c *protocol.Container) { c.Command = []string{"/nonexistent"} }, lifecycle.Start,
			[]string{"CannotStartContainerError: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: ",
				`exec: "/nonexistent": stat /nonexistent: no such file or directory: unknown`}},
		{"not in PATH", func(_ *protocol.Task, c *protocol.Container) { c.Command = []string{"nonexistent"} }, lifecycle.Start,
			[]string{"CannotStartContainerError: ", `exec: "nonexistent": executable file not found in $PATH`}},
		{"not executable", func(_ *protocol.Task, c *protocol.Container) { c.Command = []string{"/noexec"} }, lifecycle.Start,
			[]string{"CannotStartContainerError: ", `exec: "/noexec": permission denied`}},
		{"no command", func(_ *protocol.Task, c *protocol.Container) { c.EntryPoint = &[]string{} }, lifecycle.Create,
			[]string{"CannotCreateContainerError: Error response from daemon: no command specified"}},
		{"no such user", func(_ *protocol.Task, c *protocol.Container) {
			c.DockerConfig = &protocol.DockerConfig{Config: `{"User":"nobody"}`}
		}, lifecycle.Create, []string{"CannotCreateContainerError: ", "unable to find user nobody: no matching entries in passwd file"}},
		{"no such image", func(_ *protocol.Task, c *protocol.Container) { c.Image = "other" }, lifecycle.Create,
			[]string{"CannotCreateContainerError: Error response from daemon: No such image: other"}},
		{"no such volume", func(_ *protocol.Task, c *protocol.Container) {
			c.MountPoints = []protocol.MountPoint{{SourceVolume: "v", ContainerPath: "/v"}}
		}, lifecycle.Create, []string{"CannotCreateContainerError: ", `no volume "v"`}},
		{"a tag that is a program", func(task *protocol.Task, _ *protocol.Container) {
			withLog(task, `{"LogConfig":{"Type":"json-file","Config":{"tag":"{{range 3000000000}}x{{end}}"}}}`)
		}, lifecycle.Start, []string{"CannotStartContainerError: Error response from daemon: ", "cannot read the log option tag: {{range 3000000000}} is not supported"}},
	} {
		task := oneTask("web")
		test.change(task, &task.Containers[0])
		n.must(task, lifecycle.Connect, "")
		r := n.do(task, lifecycle.Create, "c")
		if test.verb == lifecycle.Start {
			if r.Reason != "" || r.RuntimeID != containerID(task.ARN, "c") {
				t.Errorf("%s: Create: %+v", test.name, r)
			}
			r = n.do(task, lifecycle.Start, "c")
		}
		for _, want := range test.want {
			if !strings.Contains(r.Reason, want) {
				t.Errorf("%s: %q is not in %q", test.name, want, r.Reason)
			}
		}
		n.clean(task)
	}
	n.noLeaks()
}

// The kernel finds out about it only when the program is to run: then it has been started, and its exit code tells.
func TestExecFormatError(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web", "/nonsense")
	n.must(task, lifecycle.Connect, "")
	n.must(task, lifecycle.Create, "c")
	n.must(task, lifecycle.Start, "c")
	w := n.must(task, lifecycle.Wait, "c")
	n.must(task, lifecycle.Remove, "c") // after which all that it wrote has been read
	if w.ExitCode == 0 || !strings.Contains(n.output(task, "c"), "exec format error") {
		t.Errorf("exit code %d, output %q", w.ExitCode, n.output(task, "c"))
	}
	if want := `CannotStartContainerError: Error response from daemon: OCI runtime start failed: exec /nonsense: exec format error Cause: "/nonsense" is neither a program for Linux nor a script that begins with #! (exec-format)`; w.ExitReason != want {
		t.Errorf("exit code %d, reason %q", w.ExitCode, w.ExitReason)
	}
	n.clean(task)
}

func TestLimits(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	hungry := "x=0123456789abcdef; while :; do x=$x$x; done"

	t.Run("a container's memory", func(t *testing.T) {
		task := oneTask("web", "sh", "-c", hungry)
		task.Containers[0].Memory = 16
		n.run(task)
		if r := n.must(task, lifecycle.Wait, "c"); !r.OutOfMemory || r.ExitCode != 137 {
			t.Errorf("%+v", r)
		}
		n.clean(task)
	})
	t.Run("a task's memory", func(t *testing.T) {
		task := oneTask("web", "sh", "-c", hungry)
		task.Memory = 16
		n.run(task)
		if r := n.must(task, lifecycle.Wait, "c"); !r.OutOfMemory || r.ExitCode != 137 {
			t.Errorf("%+v", r)
		}
		n.clean(task)
	})
	t.Run("the kernel's view", func(t *testing.T) {
		if n.cgroups.unified {
			t.Skip("the names below are those of cgroup v1, and this machine has v2")
		}
		task := oneTask("web")
		task.CPU, task.Memory = 0.5, 512
		c := &task.Containers[0]
		c.CPU, c.Memory = 1, 4
		c.DockerConfig = &protocol.DockerConfig{HostConfig: `{"MemoryReservation":5242880}`}
		n.run(task)
		group, id := n.cgroups.taskPath(task.ARN), containerID(task.ARN, "c")[:12]
		for file, want := range map[string]string{
			filepath.Join("cpu", group, id, "cpu.shares"):                    "2",       // the kernel's minimum
			filepath.Join("memory", group, id, "memory.limit_in_bytes"):      "6291456", // Docker's
			filepath.Join("memory", group, id, "memory.soft_limit_in_bytes"): "5242880",
			filepath.Join("cpu", group, "cpu.cfs_quota_us"):                  "50000",
			filepath.Join("memory", group, "memory.limit_in_bytes"):          "536870912",
		} {
			got, err := os.ReadFile(filepath.Join(cgroupRoot, file))
			if err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s: %q, %v; want %s", file, got, err, want)
			}
		}
		if devices, err := os.ReadFile(filepath.Join(cgroupRoot, "devices", group, id, "devices.list")); err != nil || strings.Contains(string(devices), "a *:*") {
			t.Errorf("all devices are allowed: %q, %v", devices, err)
		}
		n.clean(task)
	})
}

// On version 2 there is one hierarchy, and each level must pass its controllers on.
func TestTaskLimitsOnCgroupV2(t *testing.T) {
	root := t.TempDir()
	os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu memory pids\n"), 0o644)
	g := newCgroups(root, "abc")
	task := &protocol.Task{ARN: "arn:aws:ecs:us-east-1:000000000000:task/default/1", CPU: 0.25, Memory: 64}
	done, err := g.enter(task)
	if err != nil {
		t.Fatal(err)
	}
	done()
	for file, want := range map[string]string{
		"cgroup.subtree_control":            "+cpu +memory +pids",
		"havn-abc/cgroup.subtree_control":   "+cpu +memory +pids",
		"havn-abc/1/cgroup.subtree_control": "+cpu +memory +pids",
		"havn-abc/1/cpu.max":                "25000 100000",
		"havn-abc/1/cpu.weight":             "35",
		"havn-abc/1/memory.max":             "67108864",
	} {
		if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", file, got, err, want)
		}
	}
	os.MkdirAll(filepath.Join(root, g.path(task.ARN, strings.Repeat("0", 64))), 0o755)
	events := filepath.Join(root, g.path(task.ARN, strings.Repeat("0", 64)), "memory.events")
	for text, want := range map[string]bool{"low 0\noom 1\noom_kill 0\n": false, "oom 1\noom_kill 2\n": true} {
		os.WriteFile(events, []byte(text), 0o644)
		if got, err := g.oomKilled(g.path(task.ARN, strings.Repeat("0", 64))); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestStopSendsTheImagesSignal(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, func(c *v1.ConfigFile) { c.Config.StopSignal = "SIGUSR1" }))
	ready := t.TempDir()
	pipe := filepath.Join(ready, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	task := oneTask("web", "sh", "-c", "trap 'echo got it; exit 5' USR1; echo >/ready/pipe; sleep 1000000 & wait")
	task.Volumes = []protocol.Volume{{Name: "ready", Host: &protocol.HostVolume{SourcePath: ready}}}
	task.Containers[0].MountPoints = []protocol.MountPoint{{SourceVolume: "ready", ContainerPath: "/ready"}}
	n.run(task)
	os.ReadFile(pipe)
	n.must(task, lifecycle.Stop, "c")
	if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != 5 {
		t.Errorf("exit code %d, output %q", r.ExitCode, n.output(task, "c"))
	}
	n.clean(task)
}

func TestStopCanBeCancelled(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web", "sh", "-c", "trap '' TERM; sleep 1000000")
	n.run(task)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan lifecycle.Result)
	go func() {
		done <- n.Perform(ctx, task, lifecycle.Effect{Verb: lifecycle.Stop, Container: "c", Grace: time.Hour})
	}()
	cancel()
	if r := <-done; !r.Canceled || r.Reason != "" {
		t.Errorf("%+v", r)
	}
	n.clean(task)
}

// The shim holds a container's exit. If it dies, so does the container, and the exit is still told.
func TestAShimsDeathEndsItsContainer(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web")
	n.run(task)
	done := make(chan lifecycle.Result)
	go func() { done <- n.do(task, lifecycle.Wait, "c") }()
	if err := unix.Kill(n.shimOf(task), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.ExitCode != 137 && !strings.HasPrefix(r.Reason, "ContainerVanishedError: ") {
		t.Errorf("%+v", r)
	}
	n.must(task, lifecycle.Start, "c") // not again
	if r := n.do(task, lifecycle.Wait, "c"); !strings.HasPrefix(r.Reason, "ContainerVanishedError: No container matching saved ID found Cause: ") {
		t.Errorf("%+v", r)
	}
	n.clean(task)
	n.noLeaks()
}

// After a reboot the runtime folder is empty and no process is there, but the data folder says that the container had
// run.
func TestAReboot(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web")
	n.run(task)
	n.close()
	id := containerID(task.ARN, "c")
	pid, err := os.ReadFile(filepath.Join(bundles(n.config.RuntimeDir), id, "init.pid"))
	if err != nil {
		t.Fatal(err)
	}
	init, _ := strconv.Atoi(string(pid))
	shim := n.shimOf(task)
	unix.Kill(shim, unix.SIGKILL)
	unix.Kill(init, unix.SIGKILL)
	fd, err := unix.PidfdOpen(init, 0)
	if err == nil {
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		unix.Close(fd)
	}
	for _, dir := range n.cgroups.hierarchies() {
		unix.Rmdir(filepath.Join(dir, n.cgroups.path(task.ARN, id)))
		unix.Rmdir(filepath.Join(dir, n.cgroups.taskPath(task.ARN)))
		unix.Rmdir(filepath.Join(dir, n.cgroups.name))
	}
	if err := removeUnmounted(n.config.RuntimeDir); err != nil {
		t.Fatal(err)
	}
	n.open()
	n.must(task, lifecycle.Start, "c")
	if r := n.do(task, lifecycle.Wait, "c"); !strings.HasPrefix(r.Reason, "ContainerVanishedError: No container matching saved ID found Cause: ") {
		t.Errorf("%+v", r)
	}
	n.clean(task)
	n.noLeaks()
}
