package containerd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"havn/agent/network"
	"havn/agent/volume"
	"havn/lifecycle"
	"havn/protocol"
)

// The test binary, started again with this in its environment, is a node that performs what it is told to, says what it
// has done, and waits to be killed.
const childOrder = "HAVN_TEST_CHILD"

type order struct {
	DataDir, RuntimeDir, Name, ShimPath, RuncPath, InitPath string
	FileSystems                                             volume.FileSystems
	Task                                                    *protocol.Task
	Verbs                                                   []lifecycle.Verb
}

func obey(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	ctx := context.Background()
	net, err := network.Open(ctx, network.Config{StateDir: filepath.Join(o.RuntimeDir, "n"), Name: o.Name})
	if err != nil {
		panic(err)
	}
	r, err := Open(ctx, Config{DataDir: o.DataDir, RuntimeDir: o.RuntimeDir, Name: o.Name, ShimPath: o.ShimPath, RuncPath: o.RuncPath, InitPath: o.InitPath, FileSystems: o.FileSystems, Network: net})
	if err != nil {
		panic(err)
	}
	fmt.Println("open")
	for _, v := range o.Verbs {
		e := lifecycle.Effect{Verb: v, Grace: time.Second / 10}
		if v != lifecycle.Connect && v != lifecycle.Disconnect && v != lifecycle.Discard {
			e.Container = "c"
		}
		if res := r.Perform(ctx, o.Task, e); res.Reason != "" {
			fmt.Println("failed:", v, res.Reason)
		}
		fmt.Println(v)
	}
	select {}
}

// killed lets another process perform the verbs and kills it when the moment says so: it is given each line that the
// process prints.
func (n *node) killed(task *protocol.Task, verbs []lifecycle.Verb, moment func(line string) bool) {
	n.tb.Helper()
	text, err := json.Marshal(order{n.config.DataDir, n.config.RuntimeDir, n.config.Name, n.config.ShimPath, n.config.RuncPath, n.config.InitPath, n.config.FileSystems, task, verbs})
	if err != nil {
		n.tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOrder+"="+string(text))
	cmd.Stderr = n.logs
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.tb.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "failed:") {
			n.tb.Error(lines.Text())
		}
		if moment(lines.Text()) {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
}

func after(v lifecycle.Verb) func(string) bool {
	return func(line string) bool { return line == string(v) }
}

var toRunning = []lifecycle.Verb{lifecycle.Connect, lifecycle.Pull, lifecycle.Create, lifecycle.Start}

// counted is a task whose container leaves a line in a file each time that it is started, then does something. ready
// returns when a container that says so with "echo >/count/ready" has said it.
func counted(t *testing.T, then string) (task *protocol.Task, starts func() int, ready func()) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "ready"), 0o600); err != nil {
		t.Fatal(err)
	}
	task = oneTask("web", "sh", "-c", "echo started >>/count/starts; "+then)
	task.Volumes = []protocol.Volume{{Name: "count", Host: &protocol.HostVolume{SourcePath: dir}}}
	task.Containers[0].MountPoints = []protocol.MountPoint{{SourceVolume: "count", ContainerPath: "/count"}}
	starts = func() int {
		data, _ := os.ReadFile(filepath.Join(dir, "starts"))
		return strings.Count(string(data), "\n")
	}
	return task, starts, func() {
		done := make(chan bool)
		go func() { os.ReadFile(filepath.Join(dir, "ready")); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("it never says that it is ready")
		}
	}
}

const obedient = "trap 'exit 6' TERM; echo >/count/ready; sleep 1000000 & wait"

func TestContainersSurviveAKill(t *testing.T) {
	n := makeNode(t)
	n.open()
	n.load("web:latest", busybox(t, nil))
	n.close()

	runs, starts, ready := counted(t, obedient)
	n.killed(runs, toRunning, after(lifecycle.Start))
	ends, _, _ := counted(t, "exit 9")
	n.killed(ends, toRunning, after(lifecycle.Start))
	awaited, _, _ := counted(t, "exit 8")
	n.killed(awaited, append(toRunning, lifecycle.Wait), after(lifecycle.Wait))

	n.open()
	t.Cleanup(n.destroy)
	if arns, err := n.Tasks(within(t)); err != nil || len(arns) != 3 {
		t.Errorf("tasks: %v, %v", arns, err)
	}
	for task, code := range map[*protocol.Task]int{ends: 9, awaited: 8} {
		n.must(task, lifecycle.Start, "c")
		if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != code || r.FinishedAt.IsZero() {
			t.Errorf("%+v; want exit code %d", r, code)
		}
	}
	n.must(runs, lifecycle.Start, "c")
	ready()
	n.must(runs, lifecycle.Stop, "c")
	if r := n.must(runs, lifecycle.Wait, "c"); r.ExitCode != 6 {
		t.Errorf("%+v", r)
	}
	if starts() != 1 {
		t.Errorf("it was started %d times", starts())
	}
	for _, task := range []*protocol.Task{runs, ends, awaited} {
		n.clean(task)
	}
	n.noLeaks()
}

// Wherever the process is killed, the next one ends up with the container running, started once, and nothing else.
func TestAKillAtAnyMoment(t *testing.T) {
	const rounds = 15
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	n := makeNode(t)
	n.open()
	n.load("web:latest", declaring(t))
	n.close()
	whole := append(append([]lifecycle.Verb{}, toRunning...), lifecycle.Stop, lifecycle.Wait, lifecycle.Remove, lifecycle.Disconnect, lifecycle.Discard)
	for range rounds {
		task, starts, ready := counted(t, obedient)
		if random.IntN(2) == 0 {
			task.PIDMode, task.IPCMode = "task", "task"
		}
		// A mount that is filled from the image, and the image's own volumes.
		task.Volumes = append(task.Volumes, dockerVolume("v", "task", map[string]string{"type": "tmpfs", "device": "tmpfs"}))
		task.Containers[0].MountPoints = append(task.Containers[0].MountPoints, mountAt("/data"))
		upTo := len(toRunning)
		if random.IntN(3) == 0 {
			upTo = len(whole) // it may also be killed while it removes
		}
		delay := time.Duration(random.IntN(300)) * time.Millisecond
		removing := false
		n.killed(task, whole[:upTo], func(line string) bool {
			removing = removing || line == string(lifecycle.Stop)
			switch line {
			case "open":
				// The moment is anywhere in what follows.
				kill := make(chan bool)
				time.AfterFunc(delay, func() { close(kill) })
				if upTo == len(toRunning) {
					<-kill
					return true
				}
				return false
			case string(lifecycle.Stop):
				return random.IntN(4) == 0
			case string(lifecycle.Wait), string(lifecycle.Remove), string(lifecycle.Disconnect):
				return random.IntN(2) == 0
			}
			return line == string(whole[len(whole)-1])
		})
		n.open()
		if !removing {
			for _, v := range toRunning {
				name := "c"
				if v == lifecycle.Connect {
					name = ""
				}
				n.must(task, v, name)
			}
			ready()
			n.must(task, lifecycle.Stop, "c")
			if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != 6 {
				t.Errorf("killed after %v: %+v", delay, r)
			}
			if starts() != 1 {
				t.Errorf("killed after %v: it was started %d times", delay, starts())
			}
		}
		n.clean(task)
		n.noLeaks()
		n.close()
	}
	n.open()
	n.destroy()
}

func TestTwoEnginesNeverShareAFolder(t *testing.T) {
	n := newNode(t)
	config := n.config
	if r, err := Open(context.Background(), config); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("%v, %v", r, err)
	}
	n.load("web:latest", busybox(t, nil)) // and the first works on
}

func TestMissingProgramsAreNamed(t *testing.T) {
	n := newNode(t)
	for _, change := range []func(*Config){
		func(c *Config) { c.ShimPath = "/nonexistent/havn-shim" },
		func(c *Config) { c.RuncPath = t.TempDir() },
	} {
		config := n.config
		config.DataDir = t.TempDir()
		change(&config)
		if _, err := Open(context.Background(), config); err == nil || !strings.Contains(err.Error(), "cannot use ") {
			t.Errorf("%v", err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := findBinary(shimName, ""); err == nil || !strings.Contains(err.Error(), `build it with "go build ./cmd/havn-shim"`) {
		t.Errorf("%v", err)
	}
}

// As a kill between the making of a layer's folder and its record leaves it.
func TestALayersFolderWithoutARecord(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	n.close()
	layers := filepath.Join(engineRoot(n.config.DataDir), "io.containerd.snapshotter.v1.overlayfs", "snapshots")
	for number := range 20 {
		if err := os.Mkdir(filepath.Join(layers, fmt.Sprint(number)), 0o700); err == nil {
			os.WriteFile(filepath.Join(layers, fmt.Sprint(number), "file"), []byte("old"), 0o600)
		}
	}
	n.open()
	task := oneTask("web", "true")
	n.run(task)
	n.must(task, lifecycle.Wait, "c")
	n.clean(task)
}
