package gpu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const vendor = `{"cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "containerEdits": {"env": ["VISIBLE=void"]}, "devices": [
  {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}], "env": ["GPU=0"]}},
  {"name": "GPU-a", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}], "env": ["GPU=a"]}},
  {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}]}},
  {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}, {"path": "/dev/zero"}]}}]}`

func TestAGPUIsNamedOnceAndGiven(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"vendor.json":  vendor,
		"other.json":   `{"cdiVersion": "0.6.0", "kind": "other.com/nic", "devices": [{"name": "0", "containerEdits": {"env": ["NIC=0"]}}]}`,
		"damaged.json": `{"cdiVersion": `,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(filepath.Join(dir, "missing"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.List(), []string{"vendor.com/gpu=1", "vendor.com/gpu=GPU-a"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	s := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
	if err := d.Give(s, []string{"vendor.com/gpu=GPU-a"}); err != nil {
		t.Fatal(err)
	}
	if got := s.Process.Env; !slices.Equal(got, []string{"VISIBLE=void", "GPU=a"}) {
		t.Errorf("environment %v", got)
	}
	if len(s.Linux.Devices) != 1 || s.Linux.Devices[0].Path != "/dev/null" || len(s.Linux.Resources.Devices) != 1 {
		t.Errorf("devices %+v, %+v", s.Linux.Devices, s.Linux.Resources)
	}
	if err := os.Remove(filepath.Join(dir, "vendor.json")); err != nil {
		t.Fatal(err)
	}
	if err := d.Give(s, []string{"vendor.com/gpu=1"}); err == nil || !strings.Contains(err.Error(), "this node has no GPU vendor.com/gpu=1 any more") {
		t.Errorf("one that is gone: %v", err)
	}
}
