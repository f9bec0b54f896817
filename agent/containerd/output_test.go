package containerd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"havn/agent/logging/jsonfile"
	"havn/lifecycle"
	"havn/protocol"
)

// logLines is what a container wrote, line by line.
func (n *node) logLines(task *protocol.Task, container string) (lines []jsonfile.Line) {
	n.tb.Helper()
	r := jsonfile.NewReader(LogPath(n.config.DataDir, task.ARN, container), jsonfile.Position{})
	defer r.Close()
	for {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			n.tb.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func withLog(task *protocol.Task, hostConfig string) *protocol.Task {
	for i := range task.Containers {
		task.Containers[i].DockerConfig = &protocol.DockerConfig{HostConfig: hostConfig, Config: `{"Labels":{"app":"shop"}}`}
	}
	return task
}

// TestWhatContainersPrint: the two containers of a task, which share a shim, have a log each, with stream and time.
func TestWhatContainersPrint(t *testing.T) {
	n := newNode(t)
	n.load("busybox:latest", busybox(t, nil))
	began := time.Now()
	task := withLog(oneTask("busybox:latest", "sh", "-c", "echo out; echo err >&2; echo -n half"),
		`{"LogConfig":{"Type":"json-file","Config":{"labels":"app","tag":"{{.Name}} {{.ImageID}} {{.ImageFullID}}"}}}`)
	other := task.Containers[0]
	other.Name, other.Command = "other", []string{"sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"}
	other.DockerConfig = &protocol.DockerConfig{HostConfig: `{"LogConfig":{"Type":"json-file","Config":{"max-size":"100k","max-file":"3","compress":"true"}}}`}
	task.Containers = append(task.Containers, other)
	n.run(task)
	facts, err := n.Facts(within(t), task, "c")
	if err != nil {
		t.Fatal(err)
	}
	digits := strings.TrimPrefix(facts.ImageID, "sha256:")
	attrs := fmt.Sprintf(`{"app":"shop","tag":"c %.12s %s"}`, digits, facts.ImageID)
	for _, c := range task.Containers {
		if r := n.must(task, lifecycle.Wait, c.Name); r.ExitCode != 0 {
			t.Fatalf("%s: exit code %d", c.Name, r.ExitCode)
		}
		n.must(task, lifecycle.Remove, c.Name)
	}
	got := map[string]string{}
	for _, l := range n.logLines(task, "c") {
		got[l.Stream] += string(l.Log)
		if l.Time.Before(began) || l.Time.After(time.Now()) || string(l.Attrs) != attrs || len(digits) != 64 {
			t.Errorf("line %+v", l)
		}
	}
	if got["stdout"] != "out\nhalf\n" || got["stderr"] != "err\n" {
		t.Errorf("it wrote %q", got)
	}
	lines := n.logLines(task, "other")
	if last := string(lines[len(lines)-1].Log); last != "line 19999\n" {
		t.Errorf("the last line is %q", last)
	}
	files, err := filepath.Glob(LogPath(n.config.DataDir, task.ARN, "other") + "*")
	if err != nil || len(files) != 3 || !strings.HasSuffix(files[1], ".1.gz") {
		t.Errorf("its files are %q, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 100<<10 {
			t.Errorf("%s has %d bytes, %v", f, info.Size(), err)
		}
	}
	n.must(task, lifecycle.Disconnect, "")
	n.must(task, lifecycle.Discard, "")
}

// TestOutputGoesOnWithoutHavn: what a container prints while nobody is there is in its log.
func TestOutputGoesOnWithoutHavn(t *testing.T) {
	n := newNode(t)
	n.load("busybox:latest", busybox(t, nil))
	task := oneTask("busybox:latest", "sh", "-c", "echo one; cat /tmp/gate/fifo; echo two")
	gate := t.TempDir()
	task.Volumes = []protocol.Volume{{Name: "gate", Host: &protocol.HostVolume{SourcePath: gate}}}
	task.Containers[0].MountPoints = []protocol.MountPoint{{SourceVolume: "gate", ContainerPath: "/tmp/gate"}}
	if err := unix.Mkfifo(filepath.Join(gate, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.run(task)
	n.close()
	if err := os.WriteFile(filepath.Join(gate, "fifo"), []byte("gate\n"), 0); err != nil { // returns once it is read
		t.Fatal(err)
	}
	n.open()
	n.must(task, lifecycle.Wait, "c")
	n.must(task, lifecycle.Remove, "c")
	if got := n.output(task, "c"); got != "one\ngate\ntwo\n" {
		t.Errorf("it wrote %q", got)
	}
	n.must(task, lifecycle.Disconnect, "")
	n.must(task, lifecycle.Discard, "")
}
