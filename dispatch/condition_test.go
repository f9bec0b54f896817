package dispatch

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"havn/state"
)

func TestAMachinesConditionIsWrittenOnTheNode(t *testing.T) {
	w := newWorld(t)
	w.update(func(tx *state.Tx) { putNode(tx, "n1", false) })
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		what string
		at   time.Duration
		said string
		want string // status, reason, since, updated
	}{
		{"the first word", 0, `{"type":"ContainerRuntime","status":"OK"}`, "OK, 0s, 0s"},
		{"again, soon", time.Minute, `{"type":"ContainerRuntime","status":"OK"}`, "OK, 0s, 0s"},
		{"again, late", time.Hour, `{"type":"ContainerRuntime","status":"OK"}`, "OK, 0s, 1h0m0s"},
		{"a change, with a reason", 2 * time.Hour, `{"type":"ContainerRuntime","status":"IMPAIRED","statusReason":"the disk is full"}`,
			"IMPAIRED the disk is full, 2h0m0s, 2h0m0s"},
		{"in a word that is none", 3 * time.Hour, `{"type":"ContainerRuntime","status":"TIRED"}`, "IMPAIRED the disk is full, 2h0m0s, 2h0m0s"},
		{"of another check", 3 * time.Hour, `{"type":"Weather","status":"OK"}`, "IMPAIRED the disk is full, 2h0m0s, 2h0m0s"},
		{"after one of another", 4 * time.Hour, `{"type":"Weather","status":"IMPAIRED"},{"type":"ContainerRuntime","status":"OK"}`, "OK, 4h0m0s, 4h0m0s"},
	} {
		c, told, err := decodeCondition(json.RawMessage(`{"metadata":{"requestId":"r"},"timestamp":1.5,"statuses":[` + step.said + `]}`))
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if told {
			w.update(func(tx *state.Tx) {
				ObserveCondition(tx, "n1", c, begin.Add(step.at))
				ObserveCondition(tx, "unknown", c, begin.Add(step.at))
			})
		}
		w.store.View(func(r *state.Reader) {
			n, _ := state.Nodes.Get(r, "n1")
			got := string(n.Condition.Status)
			if n.Condition.Reason != "" {
				got += " " + n.Condition.Reason
			}
			got += fmt.Sprintf(", %v, %v", n.Condition.Since.Sub(begin), n.Condition.Updated.Sub(begin))
			if got != step.want {
				t.Errorf("%s: %s, want %s", step.what, got, step.want)
			}
			if n.Condition.Impaired() != (n.Condition.Status == "IMPAIRED") {
				t.Errorf("%s: impaired %v", step.what, n.Condition.Impaired())
			}
		})
	}
}

func FuzzDecodeCondition(f *testing.F) {
	f.Add([]byte(`{"statuses":[{"type":"ContainerRuntime","status":"IMPAIRED","statusReason":"x","lastUpdated":1.5}]}`))
	f.Add([]byte(`{"statuses":[{"type":7}]}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		c, told, err := decodeCondition(message)
		if told && (err != nil || c.Status == "") {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
