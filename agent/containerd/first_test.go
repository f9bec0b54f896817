package containerd

import (
	"bytes"
	"sync"
	"testing"

	"havn/lifecycle"
)

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func child(string) int { return 1 }

func TestARunningContainer(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web", "/bin/busybox", "sh", "-c", "echo hello; exit 7")
	n.run(task)
	r := n.must(task, lifecycle.Wait, "c")
	t.Logf("%+v", r)
	if r.ExitCode != 7 {
		t.Errorf("exit code %d", r.ExitCode)
	}
	if got := n.output(task, "c"); got != "hello\n" {
		t.Errorf("output %q", got)
	}
	n.clean(task)
}
