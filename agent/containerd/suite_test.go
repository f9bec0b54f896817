package containerd

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"havn/agent"
	"havn/agent/runtimetest"
	"havn/lifecycle"
	"havn/protocol"
)

// Everything that every Runtime must do.
func TestRuntime(t *testing.T) {
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hangs.Close()
	program := func(script string) protocol.Container {
		return protocol.Container{Image: "suite", Command: []string{"sh", "-c", script}}
	}
	obedient := program("trap 'exit 0' TERM; echo >/ready/pipe; sleep 1000000 & wait")
	checked := func(test string) protocol.Container {
		c := obedient
		c.DockerConfig = &protocol.DockerConfig{Config: `{"Healthcheck":{"Test":` + test + `}}`}
		return c
	}
	n := newNode(t)
	n.load("suite:latest", busybox(t, nil))
	runtimetest.Test(t, runtimetest.Config{
		Open: func(t *testing.T) runtimetest.Node {
			dir := t.TempDir()
			return runtimetest.Node{Runtime: patient{n.Runtime, dir}, Reopen: func(t *testing.T) agent.Runtime {
				n.close()
				n.open()
				return patient{n.Runtime, dir}
			}}
		},
		NetworkMode:    "bridge",
		Obedient:       obedient,
		Stubborn:       program("trap '' TERM; echo >/ready/pipe; sleep 1000000"),
		ExitsThree:     program("exit 3"),
		MissingImage:   protocol.Container{Image: newRegistry(t).host + "/missing:1"},
		MissingCommand: protocol.Container{Image: "suite", Command: []string{"/nonexistent"}},
		Well:           checked(`["CMD-SHELL","echo well"]`),
		Sick:           checked(`["CMD","sh","-c","echo sick; exit 1"]`),
		Hanging:        checked(`["CMD-SHELL","echo begun; sleep 1000000"]`),
		SlowPull:       protocol.Container{Image: strings.TrimPrefix(hangs.URL, "http://") + "/slow:1"},
	})
	left, err := n.Tasks(context.Background())
	if err != nil || len(left) > 0 {
		t.Errorf("tasks are left: %v, %v", left, err)
	}
}

// patient is the Runtime, but Start waits until the program has said that it is ready. A process that is the first in
// its namespace does not get a signal that it has not yet asked for.
type patient struct {
	*Runtime
	dir string
}

func (p patient) Perform(ctx context.Context, task *protocol.Task, e lifecycle.Effect) lifecycle.Result {
	changed := *task
	changed.Containers = slices.Clone(task.Containers)
	pipe := ""
	for i := range changed.Containers {
		c := &changed.Containers[i]
		if len(c.Command) < 3 || !strings.Contains(c.Command[2], "/ready/pipe") {
			continue
		}
		dir := filepath.Join(p.dir, containerID(task.ARN, c.Name))
		changed.Volumes = append(changed.Volumes, protocol.Volume{Name: c.Name, Host: &protocol.HostVolume{SourcePath: dir}})
		c.MountPoints = []protocol.MountPoint{{SourceVolume: c.Name, ContainerPath: "/ready"}}
		if c.Name == e.Container {
			pipe = filepath.Join(dir, "pipe")
		}
	}
	if pipe != "" && (e.Verb == lifecycle.Create || e.Verb == lifecycle.Start && e.Round > 0) {
		if os.MkdirAll(filepath.Dir(pipe), 0o755); os.Mkdir(pipe+strconv.Itoa(e.Round), 0o755) == nil { // for the first time
			unix.Mkfifo(pipe, 0o600)
		}
	}
	r := p.Runtime.Perform(ctx, &changed, e)
	if pipe != "" && e.Verb == lifecycle.Start && r.Reason == "" && !r.Canceled {
		os.ReadFile(pipe)
		os.Remove(pipe)
	}
	return r
}
