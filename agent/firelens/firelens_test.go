package firelens

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The transcripts: a router by its arguments, and a line "CONTAINER OPTION VALUE" for each log option; its configuration.
func TestConfig(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			r := Router{Kind: d.Cmd, Network: d.HasArg("network"), Record: map[string]string{}}
			if d.HasArg("memory") {
				d.ScanArgs(t, "memory", &r.Memory)
			}
			if d.HasArg("include") {
				d.ScanArgs(t, "include", &r.Include)
			}
			if d.HasArg("metadata") {
				r.Record = map[string]string{"ecs_cluster": "default", "ecs_task_arn": "arn:t1", "ecs_task_definition": "web:3"}
			}
			for line := range strings.Lines(d.Input) {
				words := strings.SplitN(strings.TrimSpace(line), " ", 3)
				if len(r.Sources) == 0 || r.Sources[len(r.Sources)-1].Container != words[0] {
					r.Sources = append(r.Sources, Source{words[0], map[string]string{}})
				}
				if len(words) == 3 {
					value, err := strconv.Unquote(words[2])
					if err != nil {
						value = words[2]
					}
					r.Sources[len(r.Sources)-1].Options[words[1]] = value
				}
			}
			text, err := r.Config()
			if err != nil {
				return fmt.Sprintln("error:", err)
			}
			return text
		})
	})
}
