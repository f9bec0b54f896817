package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"havn/protocol"
)

// A made-up vendor's GPU: what its file says is what the container has.
func TestAContainerGetsTheGPUsOfItsAssociations(t *testing.T) {
	n := makeNode(t)
	dir := t.TempDir()
	node := filepath.Join(dir, "node")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		t.Fatal(err)
	}
	spec := fmt.Sprintf(`{"cdiVersion": "0.6.0", "kind": "havn.test/gpu", "devices": [{"name": "GPU-7", "containerEdits": {
		"env": ["FROM_CDI=seven"], "deviceNodes": [{"path": "/dev/gpu7", "hostPath": %q, "permissions": "rw"}],
		"mounts": [{"hostPath": %q, "containerPath": "/driver", "options": ["ro", "bind"]}]}}]}`, node, dir)
	if err := os.WriteFile(filepath.Join(dir, "test.json"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	n.config.CDIDirs = []string{dir}
	n.open()
	t.Cleanup(n.destroy)
	n.load("web:latest", busybox(t, nil))
	if got := n.GPUs(); !slices.Equal(got, []string{"havn.test/gpu=GPU-7"}) {
		t.Fatalf("GPUs %v", got)
	}
	task := oneTask("web", "sh", "-c", "echo $FROM_CDI; ls -l /dev/gpu7; /bin/busybox head -c 0 /dev/gpu7 && echo may use it; ls /driver")
	task.Associations = []protocol.Association{
		{Name: "havn.test/gpu=GPU-7", Type: "gpu", Containers: []string{"c"}},
		{Name: "havn.test/gpu=GPU-8", Type: "gpu", Containers: []string{"other"}},
	}
	out := n.said(task)
	for _, want := range []string{"seven\n", "10, 229", "may use it\n", "test.json\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	gone := oneTask("web")
	gone.Associations = []protocol.Association{{Name: "havn.test/gpu=GPU-9", Type: "gpu", Containers: []string{"c"}}}
	if why, want := n.refused(gone), "CannotCreateContainerError: Error response from daemon: CDI device injection failed: this node has no GPU havn.test/gpu=GPU-9 any more"; why != want {
		t.Errorf("%s", why)
	}
}
