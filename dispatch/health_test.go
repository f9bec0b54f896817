package dispatch

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"havn/lifecycle"
	"havn/state"
)

// said is a report as the stock agent sends it.
func said(task, status string, since float64, message string) string {
	return fmt.Sprintf(`{"taskArn":%q,"clusterArn":"demo","taskDefinitionFamily":"web","taskDefinitionVersion":"1","containers":[`+
		`{"containerName":"web","healthStatus":%q,"statusSince":%v,"statusMessage":%q}]}`, taskARN(task), status, since, message)
}

func TestHealthIsWrittenOnTheTask(t *testing.T) {
	w := newWorld(t)
	w.update(func(tx *state.Tx) {
		putNode(tx, "n1", false)
		putInstance(tx, "i1", "n1", "ACTIVE")
		for id, last := range map[string]lifecycle.Status{"t1": lifecycle.Running, "over": lifecycle.Stopped} {
			w.putTask(tx, id, "i1", lifecycle.Running, last)
			task, _ := state.Tasks.Get(tx, taskARN(id))
			task.Containers = []state.Container{{Name: "web"}}
			state.Tasks.Put(tx, task)
		}
	})
	for _, step := range []struct {
		what, node, tasks string
		want              string // health and version
	}{
		{"nothing is known of what is UNKNOWN", "n1", said("t1", "UNKNOWN", 1, ""), "[] 0"},
		{"the first word", "n1", said("t1", "HEALTHY", 1767225600.5, "fine"), "[{web HEALTHY 2026-01-01 00:00:00.5 +0000 UTC fine}] 1"},
		{"said again, with another output", "n1", said("t1", "HEALTHY", 1767225600.5, "still"), "[{web HEALTHY 2026-01-01 00:00:00.5 +0000 UTC fine}] 1"},
		{"by a node whose task it is not", "n2", said("t1", "UNHEALTHY", 2, ""), "[{web HEALTHY 2026-01-01 00:00:00.5 +0000 UTC fine}] 1"},
		{"in a word that is none", "n1", said("t1", "POORLY", 2, ""), "[{web HEALTHY 2026-01-01 00:00:00.5 +0000 UTC fine}] 1"},
		{"of a container that is not", "n1", strings.Replace(said("t1", "UNHEALTHY", 2, ""), `"web","health`, `"other","health`, 1),
			"[{web HEALTHY 2026-01-01 00:00:00.5 +0000 UTC fine}] 1"},
		{"of one task that is not, and one that is nonsense, and one that is over", "n1", `{"taskArn":"x"},7,{"taskArn":7},` + said("over", "HEALTHY", 2, ""),
			"[{web HEALTHY 2026-01-01 00:00:00.5 +0000 UTC fine}] 1"},
		{"a change, with a time as text", "n1", strings.Replace(said("t1", "UNHEALTHY", 777, "no"), "777", `"2026-01-02T00:00:00Z"`, 1),
			"[{web UNHEALTHY 2026-01-02 00:00:00 +0000 UTC no}] 2"},
		{"without a time", "n1", strings.Replace(said("t1", "UNKNOWN", 777, ""), `"statusSince":777,`, "", 1), "[{web UNKNOWN 0001-01-01 00:00:00 +0000 UTC }] 3"},
	} {
		tasks, _ := decodeHealth(json.RawMessage(`{"metadata":{"fin":true},"timestamp":1.5,"tasks":[` + step.tasks + `]}`))
		w.update(func(tx *state.Tx) { ObserveHealth(tx, step.node, tasks) })
		w.store.View(func(r *state.Reader) {
			task, _ := state.Tasks.Get(r, taskARN("t1"))
			if got := fmt.Sprint(task.Health, task.Version); got != step.want {
				t.Errorf("%s: %s, want %s", step.what, got, step.want)
			}
			if over, _ := state.Tasks.Get(r, taskARN("over")); over.Health != nil {
				t.Errorf("%s: a task that is over got %v", step.what, over.Health)
			}
		})
	}
}

// On its own websocket, from the frame to the record.
func TestTelemetryTellsOfHealth(t *testing.T) {
	r := runOnLoopback(t, nil)
	r.update(func(tx *state.Tx) {
		r.putTask(tx, "t1", "i1", lifecycle.Running, lifecycle.Running)
		task, _ := state.Tasks.Get(tx, taskARN("t1"))
		task.Containers = []state.Container{{Name: "web"}}
		state.Tasks.Put(tx, task)
	})
	conn, _, err := r.dial("/tcs/ws", url.Values{"containerInstance": {instanceARN("i1")}, "cluster": {"demo"}})
	if err != nil {
		t.Fatal(err)
	}
	frame := "Authorization: x\r\n\r\n" + `{"type":"PublishHealthRequest","message":{"tasks":[` + said("t1", "UNHEALTHY", 1767225600, "ill") + `]}}`
	if err := conn.Write(r.ctx, websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := conn.Read(r.ctx); err != nil || !strings.Contains(string(answer), "AckPublishHealth") {
		t.Fatalf("answered by %s, %v", answer, err)
	}
	r.store.View(func(r *state.Reader) { // it is acknowledged when it is written
		task, _ := state.Tasks.Get(r, taskARN("t1"))
		if got := fmt.Sprint(task.Health); got != "[{web UNHEALTHY "+time.Unix(1767225600, 0).UTC().String()+" ill}]" {
			t.Errorf("the record says %s", got)
		}
	})
}

// FuzzHealth: whatever an agent sends, nothing panics, and what is read can be written in a record.
func FuzzHealth(f *testing.F) {
	f.Add([]byte(`{"type":"PublishHealthRequest","message":{"tasks":[` + said("t1", "HEALTHY", 1, "x") + `]}}`))
	f.Add([]byte("A: b\r\n\r\n" + `{"type":"PublishHealthRequest","message":{"tasks":[7,{"containers":[{"statusSince":1e300}]}]}}`))
	f.Add([]byte(`{"message":{"tasks":{}}}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := decodeReport(frame)
		if err != nil {
			return
		}
		receipt(r)
		tasks, _ := decodeHealth(r.Message)
		w := newWorld(t)
		w.update(func(tx *state.Tx) {
			putNode(tx, "n1", false)
			putInstance(tx, "i1", "n1", "ACTIVE")
			w.putTask(tx, "t1", "i1", lifecycle.Running, lifecycle.Running)
			task, _ := state.Tasks.Get(tx, taskARN("t1"))
			task.Containers = []state.Container{{Name: "web"}}
			state.Tasks.Put(tx, task)
			ObserveHealth(tx, "n1", tasks)
		})
	})
}
