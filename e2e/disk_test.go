package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sys/unix"

	"havn/testimage"
)

// A pull that fills the disk fails, and says so. Nothing else does.
func TestPullOntoAFullDisk(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newSite(t)
	if err := os.Mkdir(s.home(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("hvn-small", s.home(), "tmpfs", 0, "size=224m"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	// One image has more than the disk holds. The other is small until it is unpacked.
	large, inflated := make([]byte, 160<<20), make([]byte, 400<<20)
	rand.Read(large)
	registry := startRegistry(t)
	for tag, content := range map[string][]byte{"large": large, "inflated": inflated} {
		file := filepath.Join(t.TempDir(), tag)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		spec := testimage.Busybox("true")
		spec.Files["/content"] = file
		if err := registry.push("huge", tag, spec); err != nil {
			t.Fatal(err)
		}
	}

	h := s.start(t)
	h.load("busybox.tar")
	h.define("beside", box("c", "echo begins; exec sleep 1000"))
	beside := h.run("beside")
	h.running(beside)
	for _, tag := range []string{"large", "inflated"} {
		container := box("c", "true")
		container.Image = aws.String(registry.address + "/huge:" + tag)
		h.define(tag, container)
		task := h.stopped(h.run(tag))
		if reason := aws.ToString(task.Containers[0].Reason); !strings.HasPrefix(reason, "CannotPullContainerError: ") || !strings.Contains(reason, "no space left on device") {
			t.Errorf("%s: stopped because %q; want no space left on device", tag, reason)
		}
		if said := string(h.why(*task.TaskArn)); !strings.Contains(said, "(disk-full).\nTry: ") {
			t.Errorf("%s: havn why does not name the cause:\n%s", tag, said)
		}
	}
	if status := aws.ToString(h.running(beside)[0].LastStatus); status != "RUNNING" {
		t.Errorf("the task beside it is %s", status)
	}
	h.define("after", box("c", "exit 4"))
	if task := h.stopped(h.run("after")); aws.ToInt32(task.Containers[0].ExitCode) != 4 {
		t.Errorf("the task after it: %+v", task.Containers[0])
	}
}
