package containerd

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// checked is a task whose container runs until it is stopped, with a health check.
func checked(test string) *protocol.Task {
	task := oneTask("web", "sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait")
	task.Containers[0].DockerConfig = &protocol.DockerConfig{
		Config: fmt.Sprintf(`{"User":"web","WorkingDir":"/tmp","Healthcheck":{"Test":%s}}`, test)}
	return task
}

func (n *node) probe(task *protocol.Task, timeout time.Duration) lifecycle.Result {
	n.tb.Helper()
	r := n.Perform(within(n.tb), task, lifecycle.Effect{Verb: lifecycle.Probe, Container: "c", Timeout: timeout})
	if r.Reason != "" || r.Canceled {
		n.tb.Fatalf("probe: %s (canceled %v)", r.Reason, r.Canceled)
	}
	return r
}

// processes of the container.
func (n *node) processes(task *protocol.Task) int {
	n.tb.Helper()
	pids, err := n.cgroups.processes(n.cgroups.path(task.ARN, containerID(task.ARN, "c")))
	if err != nil {
		n.tb.Fatal(err)
	}
	return len(pids)
}

func TestAHealthCheckRunsAsTheContainerDoes(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for _, test := range []struct {
		name, check, want string
		code              int
	}{
		{"user, environment and folder", `["CMD-SHELL","id; pwd; echo $FROM $OWN"]`, "uid=1000(web) gid=1000(web) groups=50(staff),1000(web)\n/tmp\nimage task\n", 0},
		{"both outputs", `["CMD","sh","-c","echo out; echo err >&2; exit 7"]`, "", 7},
		{"no such command", `["CMD","/nonexistent"]`, "no such file or directory", -1},
		{"no such command for the shell", `["CMD-SHELL","nonexistent"]`, "not found", 127},
	} {
		t.Run(test.name, func(t *testing.T) {
			task := checked(test.check)
			task.Containers[0].Environment = map[string]string{"OWN": "task"}
			n.tb = t
			n.run(task)
			r := n.probe(task, 30*time.Second)
			if r.ExitCode != test.code || !strings.Contains(r.Output, test.want) {
				t.Errorf("exit code %d, output %q; want %d, %q", r.ExitCode, r.Output, test.code, test.want)
			}
			if test.name == "both outputs" && (!strings.Contains(r.Output, "out\n") || !strings.Contains(r.Output, "err\n")) {
				t.Errorf("output %q", r.Output)
			}
			n.clean(task)
		})
	}
	n.tb = t
}

// A check that writes without end, and one that leaves a program behind that holds the output open.
func TestAHealthCheckCannotFloodTheNodeNorHang(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := checked(`["CMD-SHELL","while :; do echo a long line of text, over and over; done"]`)
	n.run(task)
	if r := n.probe(task, time.Second); r.ExitCode != -1 || len(r.Output) < lifecycle.MaxOutput/2 || len(r.Output) > lifecycle.MaxOutput+100 {
		t.Errorf("exit code %d, %d bytes of output", r.ExitCode, len(r.Output))
	}
	if left := n.processes(task); left != 2 {
		t.Errorf("in the container run %d processes, want the two of its own", left)
	}
	n.clean(task)

	task = checked(`["CMD-SHELL","echo done; sleep 1000000 &"]`)
	n.run(task)
	if r := n.probe(task, 30*time.Second); r.ExitCode != 0 || r.Output != "done\n" {
		t.Errorf("exit code %d, output %q", r.ExitCode, r.Output)
	}
	n.clean(task)
	n.noLeaks()
}

// What took too long is ended with all that it started: children, orphans, and children that began a session.
func TestNothingIsLeftOfAHealthCheckThatTookTooLong(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := checked(`["NONE"]`)
	n.run(task)
	for _, check := range []string{
		"sleep 777; true",
		"(sleep 777 & sleep 777 &) & busybox setsid sleep 777 & (busybox setsid sh -c 'sleep 777; true'; true) & sleep 777; true",
		"trap '' TERM INT HUP; while :; do (sleep 777 &); sleep 0.05; done",
	} {
		task.Containers[0].DockerConfig = checked(fmt.Sprintf(`["CMD-SHELL",%q]`, check)).Containers[0].DockerConfig
		if r := n.probe(task, time.Second); r.ExitCode != -1 || !strings.Contains(r.Output, "exceeded timeout") {
			t.Errorf("%s: %+v", check, r)
		}
		if left := n.processes(task); left != 2 {
			t.Errorf("%s: in the container run %d processes, want the two of its own", check, left)
		}
	}
	n.clean(task)
	n.noLeaks()
}

// What a process of ours that was killed left running, the next one ends.
func TestAProbeOfAnAgentThatDiedIsEnded(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := checked(`["CMD","sleep","1000000"]`)
	n.run(task)
	id := containerID(task.ARN, "c")
	process, err := n.probeProcess(within(t), id, &task.Containers[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := n.startProbe(within(t), id, process, "", ""); err != nil {
		t.Fatal(err)
	}
	n.close()
	n.open()
	if left := n.processes(task); left != 3 {
		t.Fatalf("in the container run %d processes, want its two and the probe", left)
	}
	if r := n.probe(task, 200*time.Millisecond); r.ExitCode != -1 {
		t.Errorf("%+v", r)
	}
	if left := n.processes(task); left != 2 {
		t.Errorf("in the container run %d processes, want the two of its own", left)
	}
	n.clean(task)
}

// The same container: what the process before wrote is there, and the log goes on.
func TestARestartedContainerKeepsItsFilesAndItsLog(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web", "sh", "-c", "echo x >>/tmp/rounds; cat /tmp/rounds; exit 5")
	n.run(task)
	for round := range 3 {
		start := lifecycle.Effect{Verb: lifecycle.Start, Container: "c", Round: round}
		wait := lifecycle.Effect{Verb: lifecycle.Wait, Container: "c", Round: round}
		if r := n.Perform(within(t), task, start); r.Reason != "" {
			t.Fatalf("round %d: %s", round, r.Reason)
		}
		if r := n.Perform(within(t), task, wait); r.Reason != "" || r.ExitCode != 5 {
			t.Fatalf("round %d: %+v", round, r)
		}
	}
	if out := n.output(task, "c"); out != "x\nx\nx\nx\nx\nx\n" {
		t.Errorf("output %q", out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := n.Perform(ctx, task, lifecycle.Effect{Verb: lifecycle.Start, Container: "c", Round: 3}); !r.Canceled {
		t.Errorf("a cancelled restart: %+v", r)
	}
	n.clean(task)
	n.noLeaks()
}
