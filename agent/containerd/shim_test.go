package containerd

import (
	"slices"
	"sync"
	"testing"

	"havn/lifecycle"
	"havn/protocol"
)

// shimsOfNode are the processes of this node's shims.
func (n *node) shimsOfNode() []int {
	n.tb.Helper()
	pids, err := n.shimsOf(func(string) bool { return true })
	if err != nil {
		n.tb.Fatal(err)
	}
	return pids
}

// The shim bears the ID of the container that came first. Whatever becomes of that one, the others stay.
func TestOneShimServesAllContainersOfATask(t *testing.T) {
	n := makeNode(t)
	n.open()
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web", "true")
	task.Containers = append(task.Containers, protocol.Container{Name: "stays", Image: "web",
		Command: []string{"sh", "-c", "trap 'exit 6' TERM; sleep 1000000 & wait"}})
	other := oneTask("web")
	n.run(task)
	n.run(other)
	if pids := n.shimsOfNode(); len(pids) != 2 {
		t.Fatalf("two tasks, three containers: shims %v", pids)
	}
	shim := n.shimOf(task)
	if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != 0 {
		t.Errorf("%+v", r)
	}
	n.must(task, lifecycle.Remove, "c")
	n.close()

	n.open()
	t.Cleanup(n.destroy)
	if pids := n.shimsOfNode(); len(pids) != 2 || !slices.Contains(pids, shim) {
		t.Errorf("after a restart the shims are %v, and were %d and another", pids, shim)
	}
	n.must(task, lifecycle.Start, "stays")
	n.must(task, lifecycle.Stop, "stays")
	if r := n.must(task, lifecycle.Wait, "stays"); r.ExitCode != 6 && r.ExitCode != 143 { // before or after its trap
		t.Errorf("%+v", r)
	}
	n.clean(task)
	n.clean(other)
	n.noLeaks()
}

// A container that cannot be made takes the task's shim with it if no other is made yet. The others do not notice.
func TestAContainerIsMadeBesideOneThatCannotBe(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for range 10 {
		task := oneTask("web", "/none")
		task.Containers = append(task.Containers, protocol.Container{Name: "stays", Image: "web"})
		n.must(task, lifecycle.Connect, "")
		n.must(task, lifecycle.Pull, "c")
		n.must(task, lifecycle.Pull, "stays")
		var both sync.WaitGroup
		both.Go(func() { n.do(task, lifecycle.Create, "c") })
		both.Go(func() { n.do(task, lifecycle.Create, "stays") })
		both.Wait()
		if _, err := n.status(within(t), containerID(task.ARN, "stays")); err != nil { // without the second attempt that Start makes
			t.Errorf("it was not created: %v", err)
		}
		n.clean(task)
	}
	n.noLeaks()
}

// A container may come while the last one goes, with which the shim goes, too.
func TestAContainerComesWhileTheLastOneGoes(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for range 6 {
		task := oneTask("web", "true")
		task.Containers = append(task.Containers, protocol.Container{Name: "next", Image: "web"})
		n.must(task, lifecycle.Connect, "")
		for _, v := range []lifecycle.Verb{lifecycle.Pull, lifecycle.Create, lifecycle.Start, lifecycle.Wait} {
			n.must(task, v, "c")
		}
		n.must(task, lifecycle.Pull, "next")
		var both sync.WaitGroup
		both.Go(func() { n.do(task, lifecycle.Remove, "c") })
		both.Go(func() { n.do(task, lifecycle.Create, "next") })
		both.Wait()
		id := containerID(task.ARN, "next")
		if _, err := n.status(within(t), id); err != nil { // without the second attempt that Start makes
			t.Errorf("it was not created: %v", err)
		}
		n.must(task, lifecycle.Start, "next")
		n.clean(task)
	}
	n.noLeaks()
}
