package observe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// Files as kernels write them, and what is read in them: sample unified=true|false takes lines FILE: CONTENT, with \n
// in the content for a new line.
func TestCounters(t *testing.T) {
	datadriven.Walk(t, "testdata/counters", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "sample":
				g := Group{Root: t.TempDir(), Path: "/havn/task/c", Unified: d.HasArg("unified")}
				for line := range strings.Lines(d.Input) {
					name, content, _ := strings.Cut(strings.TrimSpace(line), ": ")
					file := filepath.Join(g.dir(filepath.Dir(name)), filepath.Base(name))
					if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, `\n`, "\n")+"\n"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				s, err := g.Read(time.Time{})
				if err != nil {
					return strings.ReplaceAll(err.Error(), g.Root, "ROOT") + "\n"
				}
				s.SystemCPU, s.Online = 0, 0 // this machine's
				if d.HasArg("no-limit") {
					s.Memory.Limit = 0
				}
				return text(t, s)
			case "machine":
				nanoseconds, processors := parseMachine([]byte(d.Input))
				return text(t, []any{nanoseconds, processors})
			case "interfaces":
				return text(t, parseInterfaces([]byte(d.Input)))
			}
			return "unknown command " + d.Cmd
		})
	})
}

func text(t *testing.T, v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}
