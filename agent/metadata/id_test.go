package metadata

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"havn/agent"
	"havn/protocol"
)

// node is an agent's Core, asked without a loop.
type node struct{ *agent.Core }

func (n node) Task(_ context.Context, arn string) (agent.Record, bool, error) {
	r, ok := n.Core.Task(arn)
	return r, ok, nil
}

func (n node) Tasks(context.Context) (all []agent.Record, err error) {
	for _, arn := range n.ARNs() {
		r, _ := n.Core.Task(arn)
		all = append(all, r)
	}
	return all, nil
}

const (
	taskA = "arn:aws:ecs:us-east-1:000000000000:task/demo/000000000000000000000000000000aa"
	taskB = "arn:aws:ecs:us-east-1:000000000000:task/demo/000000000000000000000000000000bb"
)

// newNode has two tasks, with the containers web and log each.
func newNode(change ...func(*protocol.Task)) node {
	core := agent.NewCore(agent.CoreConfig{}, time.Now())
	for _, arn := range []string{taskA, taskB} {
		doc := protocol.Task{ARN: arn, ClusterARN: "arn:aws:ecs:us-east-1:000000000000:cluster/demo", Family: "f", Version: "1", DesiredStatus: "RUNNING"}
		for _, name := range []string{"web", "log"} {
			doc.Containers = append(doc.Containers, protocol.Container{Name: name, Image: "i", Essential: true})
		}
		for _, f := range change {
			f(&doc)
		}
		core.Receive(&protocol.Payload{Tasks: []protocol.Task{doc}}, time.Now())
	}
	return node{core}
}

func TestAnIDIsAlwaysTheSameAndNobodyElses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	first, err := OpenIDs(file, "01234567")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret can be read: %v, %v", info.Mode(), err)
	}
	again, err := OpenIDs(file, "01234567")
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenIDs(filepath.Join(t.TempDir(), "secret"), "01234567")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, ids := range []*IDs{first, other} {
		for _, c := range []container{{taskA, "web"}, {taskA, "log"}, {taskB, "web"}} {
			id := ids.Of(c.task, c.name)
			if !idForm.MatchString(id) || seen[id] {
				t.Errorf("%s is no id, or given twice", id)
			}
			seen[id] = true
		}
	}
	if first.Of(taskA, "web") != again.Of(taskA, "web") {
		t.Error("the id changed with a restart")
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenIDs(file, "01234567"); err == nil {
		t.Error("a secret of five bytes is taken")
	}
	if _, err := OpenIDs(file, "../elsewhere"); err == nil {
		t.Error("a name that is none is taken")
	}
}

func TestAnIDIsFoundAsLongAsItsTaskIsKnown(t *testing.T) {
	ids, err := OpenIDs(filepath.Join(t.TempDir(), "secret"), "01234567")
	if err != nil {
		t.Fatal(err)
	}
	find := func(n node, id string) string {
		r, name, err := ids.find(t.Context(), n, id)
		if err != nil {
			return err.Error()
		}
		return r.Task.ARN + " " + name
	}
	n := newNode()
	for range 2 {
		if got := find(n, ids.Of(taskA, "log")); got != taskA+" log" {
			t.Error(got)
		}
	}
	gone := node{agent.NewCore(agent.CoreConfig{}, time.Now())}
	for _, id := range []string{ids.Of(taskA, "other"), "", "01234567", "89abcdef" + ids.Of(taskA, "log")[8:]} {
		if got := find(n, id); got != errUnknown.Error() {
			t.Errorf("%q is %s", id, got)
		}
	}
	if got := find(gone, ids.Of(taskA, "log")); got != errUnknown.Error() {
		t.Errorf("of a task that is gone: %s", got)
	}
	if name, another := ids.sibling("89abcdef" + ids.Of(taskA, "log")[8:]); !another || name != "89abcdef" {
		t.Errorf("%q, %v", name, another)
	}
	for _, id := range []string{ids.Of(taskA, "log"), "../../x", "89abcdef"} {
		if name, another := ids.sibling(id); another {
			t.Errorf("%q is said to be of %q", id, name)
		}
	}
}

func TestAContainersEnvironment(t *testing.T) {
	ids, err := OpenIDs(filepath.Join(t.TempDir(), "secret"), "01234567")
	if err != nil {
		t.Fatal(err)
	}
	id, task := ids.Of(taskA, "web"), &protocol.Task{ARN: taskA}
	where := []string{"ECS_CONTAINER_METADATA_URI=http://169.254.170.2/v3/" + id,
		"ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/" + id, "ECS_AGENT_URI=http://169.254.170.2/api/" + id}
	region := []string{"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1"}
	for _, c := range []struct {
		name      string
		env, want []string
	}{
		{"nothing is said of a region", []string{"PATH=/bin"}, slices.Concat([]string{"PATH=/bin"}, where, region)},
		{"one of the two is enough", []string{"AWS_DEFAULT_REGION=x"}, slices.Concat([]string{"AWS_DEFAULT_REGION=x"}, where)},
		{"even an empty one", []string{"AWS_REGION="}, slices.Concat([]string{"AWS_REGION="}, where)},
		{"nobody else says where", []string{"ECS_AGENT_URI=http://elsewhere", "A=b"}, slices.Concat([]string{"A=b"}, where, region)},
	} {
		if got := ids.Environment("eu-west-1")(task, "web", c.env); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
