package story

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"havn/state"
)

// TestStories runs the transcripts. Commands, with the records as they are stored:
//
//	tell [now=TIME]      {"Task": ..., "Definition": ..., "Node": ...}    the story, as it is printed
//	refusal              {...}                                           as it is printed
//	service now=TIME     {"Service": ..., "Deployment": ..., "Tasks": ...}  the service's story, as it is printed
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			switch d.Cmd {
			case "tell":
				var f Facts
				if err := json.Unmarshal([]byte(d.Input), &f); err != nil {
					d.Fatalf(t, "%v", err)
				}
				if d.HasArg("now") {
					var now string
					d.ScanArgs(t, "now", &now)
					var err error
					if f.Now, err = time.Parse(time.RFC3339, now); err != nil {
						d.Fatalf(t, "%v", err)
					}
				}
				if err := Print(&b, Tell(f), time.UTC); err != nil {
					d.Fatalf(t, "%v", err)
				}
			case "service":
				var f ServiceFacts
				if err := json.Unmarshal([]byte(d.Input), &f); err != nil {
					d.Fatalf(t, "%v", err)
				}
				var now string
				d.ScanArgs(t, "now", &now)
				var err error
				if f.Now, err = time.Parse(time.RFC3339, now); err != nil {
					d.Fatalf(t, "%v", err)
				}
				f.Story = func(t state.Task) state.Story { return Tell(Facts{Task: t, Now: f.Now}) }
				if err := PrintService(&b, TellService(f), time.UTC); err != nil {
					d.Fatalf(t, "%v", err)
				}
			case "refusal":
				var r state.Refusal
				if err := json.Unmarshal([]byte(d.Input), &r); err != nil {
					d.Fatalf(t, "%v", err)
				}
				if err := PrintRefusal(&b, r, time.UTC); err != nil {
					d.Fatalf(t, "%v", err)
				}
			default:
				d.Fatalf(t, "no command %s", d.Cmd)
			}
			return b.String()
		})
	})
}
