package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// failure is a task that does not run, and what it must be told for.
type failure struct {
	name   string
	define func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) // changes a busybox that exits 0
	code   types.TaskStopCode
	reason string // matches stoppedReason, or the reason of a container
	why    string // matches "because (code)" of havn why
}

const (
	notStarted = types.TaskStopCodeTaskFailedToStart
	exited     = types.TaskStopCodeEssentialContainerExited
)

// Whatever keeps a task from running is named: by ECS's stop code and reasons, and by havn why in plain terms.
func TestWhyATaskDidNotRun(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	failures := failuresToStage(t)

	tasks := map[string]string{} // ARN: the failure's name
	var arns []string
	for _, f := range failures {
		c := box("c", "exit 0")
		d := &ecs.RegisterTaskDefinitionInput{Family: aws.String(f.name)}
		if f.define != nil {
			f.define(d, &c)
		}
		d.ContainerDefinitions = append([]types.ContainerDefinition{c}, d.ContainerDefinitions...)
		if _, err := h.RegisterTaskDefinition(within(t), d); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		arn := h.run(f.name)
		tasks[arn] = f.name
		arns = append(arns, arn)
	}
	told := map[string]types.Task{}
	for _, arn := range arns {
		told[tasks[arn]] = h.stopped(arn)
	}

	var answer struct {
		Stories []struct{ Definition, Code, Because, Try string }
	}
	if err := json.Unmarshal(h.why(append([]string{"--json"}, arns...)...), &answer); err != nil {
		t.Fatal(err)
	}
	because := map[string]string{}
	for _, s := range answer.Stories {
		because[strings.Split(s.Definition, ":")[0]] = s.Because + " (" + s.Code + ")"
		if s.Try == "" {
			t.Errorf("%s: havn why has no advice", s.Definition)
		}
	}
	for _, f := range failures {
		task := told[f.name]
		reasons := []string{aws.ToString(task.StoppedReason)}
		for _, c := range task.Containers {
			reasons = append(reasons, aws.ToString(c.Reason))
		}
		all := strings.Join(reasons, "\n")
		if task.StopCode != f.code || !regexp.MustCompile("(?m)"+f.reason).MatchString(all) {
			t.Errorf("%s: %s\n%s\nwant %s %s", f.name, task.StopCode, all, f.code, f.reason)
		}
		if !regexp.MustCompile(f.why).MatchString(because[f.name]) {
			t.Errorf("%s: havn why says %q\nof %s\nwant %s", f.name, because[f.name], all, f.why)
		}
	}
	t.Logf("%d failures", len(failures))
}

// What finds no place is told in the answer, and remembered; what somebody stops or deregisters, too. What runs and is
// not well is told of while it runs.
func TestWhyNothingRuns(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	big := box("c", "true")
	big.Memory = aws.Int32(1 << 30)
	h.define("big", big)
	for range 2 {
		out, err := h.RunTask(within(t), &ecs.RunTaskInput{TaskDefinition: aws.String("big"), Count: aws.Int32(3), StartedBy: aws.String("nightly")})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Tasks) > 0 || len(out.Failures) != 1 || aws.ToString(out.Failures[0].Reason) != "RESOURCE:MEMORY" ||
			!strings.Contains(aws.ToString(out.Failures[0].Detail), "short of memory (it takes 1073741824 MiB, at most ") {
			t.Errorf("RunTask answers %+v", out.Failures)
		}
	}
	h.define("sleeper", box("c", "sleep 1000"))
	task, left := h.run("sleeper"), h.run("sleeper")
	ailing := box("c", "echo I feel unwell; echo very >&2; sleep 1000")
	unhealthy(nil, &ailing)
	h.define("ailing", ailing)
	sick := h.run("ailing")
	h.running(task, left, sick)
	eventually(t, "the task is UNHEALTHY", func() bool { return h.running(sick)[0].HealthStatus == types.HealthStatusUnhealthy })
	if _, err := h.StopTask(within(t), &ecs.StopTaskInput{Task: &task, Reason: aws.String("not needed")}); err != nil {
		t.Fatal(err)
	}
	h.stopped(task)
	said := string(h.why(sick))
	for _, want := range []string{": RUNNING\n", "health c  became UNHEALTHY: nobody is at home\n", "Because: the health check failed, and said: nobody is at home (unhealthy).\nTry: ",
		"\nThe last that container c wrote:\n  I feel unwell\n  very\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("havn why of a task that is not well: %q is not in\n%s", want, said)
		}
	}
	for instance := range h.instances() {
		if _, err := h.DeregisterContainerInstance(within(t), &ecs.DeregisterContainerInstanceInput{ContainerInstance: &instance, Force: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	h.stopped(left)
	for args, wants := range map[string][]string{
		left: {"UserInitiated: Container instance deregistration forced by user", "Because: somebody deregistered the container instance that it ran on (node "},
		"":   {"no place for big:1 in cluster default, 2 times since ", "0 of 3 asked for were placed, by arn:aws:iam::000000000000:root, startedBy nightly\n  RESOURCE:MEMORY (1): ", " are free) (no-room)\n  Try: Free resources"},
		task: {"asked     to run sleeper:1 in cluster default, by arn:aws:iam::000000000000:root\n", "UserInitiated: not needed, asked by arn:aws:iam::000000000000:root",
			"Because: arn:aws:iam::000000000000:root asked to stop it: not needed (stopped-by-user).\nTry: "},
	} {
		said := string(h.why(strings.Fields(args)...))
		for _, want := range wants {
			if !strings.Contains(said, want) {
				t.Errorf("havn why %s: %q is not in\n%s", args, want, said)
			}
		}
	}
}

// why runs havn why.
func (h *havnOf) why(args ...string) []byte {
	h.t.Helper()
	cmd := exec.Command(filepath.Join(binaries, "havn"), append([]string{"why"}, args...)...)
	cmd.Env = append(os.Environ(), "HAVN_DATA_DIR="+h.home, "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		var said []byte
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			said = exit.Stderr
		}
		h.t.Fatalf("havn why: %v\n%s", err, said)
	}
	return out
}

// line makes the container run a line of shell.
func line(text string) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return command("sh", "-c", text)
}

func command(args ...string) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) { c.Command = args }
}

func image(ref string) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) { c.Image = &ref }
}

// program runs what the image says.
func program(ref string) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
		c.Image, c.Command = &ref, nil
	}
}

// mounting mounts a folder or file of the host.
func mounting(source, target string) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return func(d *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
		name := fmt.Sprintf("v%d", len(d.Volumes))
		d.Volumes = append(d.Volumes, types.Volume{Name: &name, Host: &types.HostVolumeProperties{SourcePath: &source}})
		c.MountPoints = append(c.MountPoints, types.MountPoint{SourceVolume: &name, ContainerPath: &target})
	}
}

// beside adds a container.
func beside(c types.ContainerDefinition, and ...func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition)) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return func(d *ecs.RegisterTaskDefinitionInput, first *types.ContainerDefinition) {
		d.ContainerDefinitions = append(d.ContainerDefinitions, c)
		for _, change := range and {
			change(d, first)
		}
	}
}

// supporting is a container that is not essential, and has two seconds for what others wait for.
func supporting(name, text string, and ...func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition)) types.ContainerDefinition {
	c := box(name, text)
	c.Essential, c.StartTimeout = aws.Bool(false), aws.Int32(2)
	for _, change := range and {
		change(nil, &c)
	}
	return c
}

// unhealthy gives the container a health check that fails at once: the first probe comes after five seconds, the least
// that ECS knows.
func unhealthy(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
	c.HealthCheck = &types.HealthCheck{Command: []string{"CMD-SHELL", "echo nobody is at home; exit 1"}, Interval: aws.Int32(5), Retries: aws.Int32(1)}
	c.StartTimeout = aws.Int32(10)
}

func after(name string, condition types.ContainerCondition) func(*ecs.RegisterTaskDefinitionInput, *types.ContainerDefinition) {
	return func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
		c.DependsOn = append(c.DependsOn, types.ContainerDependency{ContainerName: &name, Condition: condition})
	}
}

func failuresToStage(t *testing.T) []failure {
	reg := startFaultyRegistry(t)
	programs := pushPrograms(t, reg.inner)
	outside := outsideAddress(t)
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Listener = listenOn(t, outside)
	untrusted.Config.ErrorLog = quiet
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.Listener = listenOn(t, outside)
	plain.Start()
	t.Cleanup(plain.Close)
	taken := listenOn(t, "0.0.0.0")
	t.Cleanup(func() { taken.Close() })
	takenPort := int32(taken.Addr().(*net.TCPAddr).Port)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
		c.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: &takenPort}}
	}
	exists, access, network := "Check whether the image exists", "Check that the role has the permissions", "Check your network configuration"

	return []failure{
		// Pulling.
		{"no-such-image", image(reg.address + "/missing:v1"), notStarted, "^CannotPullImageManifestError: .*" + exists, `the registry 127.0.0.1:\d+ has no image .*/missing:v1 \(image-not-found\)`},
		{"no-such-tag", image(reg.inner.address + "/busybox:v9"), notStarted, exists, `busybox:v9 \(image-not-found\)`},
		{"unauthorized", image(reg.address + "/unauthorized:v1"), notStarted, access, `does not let this node pull .*/unauthorized:v1.* \(pull-denied\)`},
		{"forbidden", image(reg.address + "/forbidden:v1"), notStarted, access, `\(pull-denied\)`},
		{"nobody-listens", image("127.0.0.1:1/web:v1"), notStarted, network + ".*connect: connection refused", `nobody listens at the registry's address 127.0.0.1:1 \(registry-refused\)`},
		{"no-such-host", image("registry.invalid/web:v1"), notStarted, "^CannotPullImageManifestError: ", `the registry's name registry.invalid cannot be resolved \(registry-unknown\)`},
		{"untrusted", image(untrusted.Listener.Addr().String() + "/web:v1"), notStarted, network + ".*x509", `the certificate of the registry \S+ is not trusted by the node \(registry-tls\)`},
		{"plain-http", image(plain.Listener.Addr().String() + "/web:v1"), notStarted, "server gave HTTP response to HTTPS client", `speaks plain HTTP, which is trusted on loopback only \(registry-tls\)`},
		{"breaks-off", image(reg.address + "/breaks-off:v1"), notStarted, "EOF", `broke off the connection \(registry-failed\)`},
		{"fails", image(reg.address + "/fails:v1"), notStarted, "500 Internal Server Error", `answers 500 Internal Server Error \(registry-failed\)`},
		{"limited", image(reg.address + "/limited:v1"), notStarted, "429 Too Many Requests", `too many requests \(registry-limit\)`},
		{"no-manifest", image(reg.address + "/nonsense:v1"), notStarted, "^CannotPull", `\(image-broken\)`},
		{"lies-about-manifest", image(reg.address + "/liar@sha256:" + strings.Repeat("0", 64)), notStarted, "^CannotPull", `is not what its manifest says \(image-broken\)`},
		{"corrupt-layer", image(reg.address + "/corrupt:v1"), notStarted, "^CannotPullContainerError: ", `is not what its manifest says \(image-broken\)`},
		{"no-layer", image(reg.address + "/hollow:v1"), notStarted, "^CannotPullContainerError: ", `\(image-not-found\)`},
		{"other-platform", image(reg.address + "/foreign:v1"), notStarted, "no matching manifest for linux/" + runtime.GOARCH, `no variant for linux/` + runtime.GOARCH + `.* \(wrong-platform\)`},

		// Creating and starting.
		{"no-such-command", command("/no/such/command"), notStarted, `^CannotStartContainerError: .*exec: "/no/such/command"`, `there is no program "/no/such/command" in the image \(no-such-command\)`},
		{"not-in-path", command("nonexistent"), notStarted, `executable file not found in \$PATH`, `there is no program "nonexistent" in the image's \$PATH \(no-such-command\)`},
		{"not-executable", command("/etc/hosts"), notStarted, "permission denied", `"/etc/hosts" may not be executed.* \(not-executable\)`},
		{"a-directory", command("/tmp"), notStarted, "is a directory", `"/tmp" is a directory, not a program \(command-is-directory\)`},
		{"no-command", program(programs["no-command"]), notStarted, "no command specified", `\(no-command\)`},
		{"wrong-machine", program(programs["foreign"]), exited, "exec format error", `"/program" is built for \w+, and the node is ` + runtime.GOARCH + ` \(exec-format\)`},
		{"no-format", program(programs["text"]), exited, "exec format error", `neither a program for Linux nor a script.* \(exec-format\)`},
		{"no-loader", program(programs["dynamic"]), exited, "no such file or directory", `"/program" needs the loader /lib\S+, which is not in the image \(missing-loader\)`},
		{"no-interpreter", program(programs["script"]), exited, "no such file or directory", `wants the interpreter /usr/bin/python3, which is not in the image \(missing-loader\)`},
		{"written-on-windows", program(programs["crlf"]), exited, "no such file or directory", `ends its lines with CR LF.* \(missing-loader\)`},
		{"no-such-user", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.User = aws.String("nobody-knows")
		}, notStarted,
			"^CannotCreateContainerError: .*unable to find user nobody-knows", `the image has no user "nobody-knows" \(unknown-user\)`},
		{"no-working-directory", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.WorkingDirectory = aws.String("/etc/hosts/here")
		}, notStarted,
			"^CannotStartContainerError: ", `the working directory .*cannot be made: not a directory \(working-directory\)`},
		{"file-over-directory", mounting(file, "/tmp"), notStarted, "^CannotStartContainerError: ", `cannot be mounted at "/tmp": one is a file and the other a directory \(bad-mount\)`},
		{"no-folder", mounting(filepath.Join(file, "below"), "/data"), notStarted, "^CannotStartContainerError: ", `"\S+/file/below" cannot be mounted: not a directory \(bad-mount\)`},
		{"port-taken", port, notStarted, "port is already allocated", fmt.Sprintf(`host port %d/tcp is taken on the node by the process e2e.test \(pid %d\) \(port-taken\)`, takenPort, os.Getpid())},

		{"no-device", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{Devices: []types.Device{{HostPath: aws.String("/dev/not-there")}}}
		}, notStarted, "^Cannot(Create|Start)ContainerError: ", `the node has no device /dev/not-there \(no-device\)`},
		{"no-setting", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.SystemControls = []types.SystemControl{{Namespace: aws.String("net.core.not_there"), Value: aws.String("1")}}
		}, notStarted, "^Cannot(Create|Start)ContainerError: ", `the kernel setting \S*not_there\S* cannot be made.* \(refused-sysctl\)`},
		{"too-many-files", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.Ulimits = []types.Ulimit{{Name: types.UlimitNameNofile, SoftLimit: 1 << 30, HardLimit: 1<<31 - 1}}
		}, notStarted, "^Cannot(Create|Start)ContainerError: ", `a ulimit \(of type 7\) cannot be set: operation not permitted \(refused-limit\)`},
		{"tmpfs-over-file", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{Tmpfs: []types.Tmpfs{{ContainerPath: aws.String("/bin/busybox"), Size: 1}}}
		}, notStarted, "^Cannot(Create|Start)ContainerError: ", `cannot be mounted at "/bin/busybox".* \(bad-mount\)`},

		// Ending.
		{"exits-3", line("exit 3"), exited, "^Essential container in task exited", `the container ended: exit code 3 \(failed\)`},
		{"exits-0", nil, exited, "^Essential container in task exited", `exit code 0 \(finished\)`},
		{"shell-finds-nothing", line("nonexistent"), exited, "^Essential container in task exited", `exit code 127 \(a shell did not find the command\) \(failed\)`},
		{"shell-may-not", line("/etc/hosts"), exited, "^Essential container in task exited", `exit code 126 \(a shell could not execute the command\) \(failed\)`},
		{"killed", line("sleep 1000 & kill -9 $!; wait $!"), exited, "^Essential container in task exited", `exit code 137 \(SIGKILL\); not for its memory limit \(killed\)`},
		{"crashes", line("sleep 1000 & kill -SEGV $!; wait $!"), exited, "^Essential container in task exited", `exit code 139 \(SIGSEGV\) \(killed\)`},
		{"greedy", func(_ *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) {
			c.Memory, c.Command = aws.Int32(8), []string{"tail", "/dev/zero"}
		}, exited, "OutOfMemoryError: Container killed due to memory usage", `container c used more memory than its limit of 8 MiB \(out-of-memory\)`},

		// Several containers: the one is named that the rest followed from.
		{"one-cannot-be-pulled", beside(box("d", "sleep 1000"), image("127.0.0.1:1/web:v1")), notStarted, "connection refused", `container c: nobody listens .* \(registry-refused\)`},
		{"one-cannot-start", beside(box("d", "sleep 1000"), command("/none")), notStarted, "CannotStartContainerError", `container c: there is no program "/none" in the image \(no-such-command\)`},
		{"dependency-fails", beside(supporting("d", "exit 3"), after("d", types.ContainerConditionSuccess)), notStarted,
			`dependency \[d\] for target \[c\] as dependency did not exit successfully`, `container d ended: exit code 3 \(failed\)`},
		{"dependency-cannot-be-pulled", beside(supporting("d", "exit 0", image("127.0.0.1:1/web:v1")), after("d", types.ContainerConditionStart)), notStarted,
			`dependency will never start`, `container d: nobody listens .* \(registry-refused\)`},
		{"dependency-takes-too-long", beside(supporting("d", "sleep 1000"), after("d", types.ContainerConditionComplete)), notStarted,
			`has timed out`, `container d, which c waits for, was not COMPLETE within its startTimeout of 2s \(start-timeout\)`},
		{"dependency-is-unhealthy", beside(supporting("d", "sleep 1000", unhealthy), after("d", types.ContainerConditionHealthy)), notStarted,
			`has timed out: it has not come to HEALTHY`, `the health check of container d failed, and said: nobody is at home \(unhealthy\)`},
		{"one-ends-first", beside(box("d", "sleep 1000"), line("sleep 0.3; exit 4")), exited, "^Essential container in task exited", `container c ended: exit code 4 \(failed\)`},
	}
}
