package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// lan is a bridge of its own with machines on it: network namespaces, which nothing but its wires lead to.
type lan struct {
	t      *testing.T
	name   string // of the bridge
	subnet string // its first three numbers
}

func newLAN(t *testing.T) *lan {
	l := &lan{t, fmt.Sprintf("hvt%x", rand.IntN(1<<24)), fmt.Sprintf("10.%d.%d", 201+rand.IntN(50), rand.IntN(256))}
	t.Cleanup(func() { exec.Command("ip", "link", "delete", l.name).Run() })
	l.ip("link", "add", l.name, "type", "bridge")
	l.ip("addr", "add", l.subnet+".1/24", "dev", l.name)
	l.ip("link", "set", l.name, "up")
	return l
}

func (l *lan) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// machine is one network namespace. Its wire is the end of a veth pair that is on the bridge.
type machine struct {
	*lan
	namespace, wire, home string
	node                  *exec.Cmd
	says                  bytes.Buffer
}

func (l *lan) newMachine(number int, home string) *machine {
	m := &machine{lan: l, namespace: fmt.Sprintf("%s-%d", l.name, number), wire: fmt.Sprintf("%s.%d", l.name, number), home: home}
	l.t.Cleanup(func() { exec.Command("ip", "netns", "delete", m.namespace).Run() })
	l.ip("netns", "add", m.namespace)
	l.ip("link", "add", m.wire, "master", l.name, "up", "type", "veth", "peer", "name", "eth9", "netns", m.namespace)
	l.ip("-n", m.namespace, "addr", "add", fmt.Sprintf("%s.%d/24", l.subnet, number), "dev", "eth9")
	l.ip("-n", m.namespace, "link", "set", "eth9", "up")
	l.ip("-n", m.namespace, "link", "set", "lo", "up")
	return m
}

// join runs havn node on the machine. Its credentials are in a file.
func (m *machine) join(h *havnOf, credentials string) {
	// Not ip netns exec, which hides the cgroups.
	m.node = exec.Command("nsenter", "--net=/run/netns/"+m.namespace, filepath.Join(binaries, "havn"), "node", "--server", h.endpoint, "--data-dir", m.home)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			m.node.Env = append(m.node.Env, v)
		}
	}
	m.node.Env = append(m.node.Env, "AWS_SHARED_CREDENTIALS_FILE="+credentials, "AWS_EC2_METADATA_DISABLED=true")
	m.node.Stdout, m.node.Stderr = &m.says, &m.says
	if err := m.node.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		m.node.Process.Signal(syscall.SIGTERM)
		if err := m.node.Wait(); err != nil {
			m.t.Errorf("havn node: %v", err)
		}
		if m.t.Failed() {
			m.t.Logf("node %s says:\n%s", m.namespace, &m.says)
		}
	})
}

// eventually asks until the answer is yes. It is for what no waiter of AWS waits for, and the only loop.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx := within(t)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("still not: %s", what)
		}
	}
}

// instances are the container instances of the default cluster: are they connected? Empty where nobody can tell now.
func (h *havnOf) instances() map[string]bool {
	list, err := h.ListContainerInstances(within(h.t), &ecs.ListContainerInstancesInput{})
	if err != nil || len(list.ContainerInstanceArns) == 0 {
		return nil
	}
	out, err := h.DescribeContainerInstances(within(h.t), &ecs.DescribeContainerInstancesInput{ContainerInstances: list.ContainerInstanceArns})
	if err != nil {
		return nil // who asks asks again
	}
	connected := map[string]bool{}
	for _, i := range out.ContainerInstances {
		connected[*i.ContainerInstanceArn] = i.AgentConnected
	}
	return connected
}

func connected(all map[string]bool) int {
	return len(slices.DeleteFunc(slices.Collect(maps.Values(all)), func(is bool) bool { return !is }))
}

// Two nodes are machines of their own, with nothing but the node protocol between them and the control plane. One is cut
// off: its task goes on, nothing new is sent to it, and when it is back it does what it was told meanwhile.
func TestNodeIsCutOffAndComesBack(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("this test makes machines with ", tool, ", which is not installed")
		}
	}
	l := newLAN(t) // first, so that it is there until the site is cleared
	s := newSite(t)
	h := s.startAt(t, l.subnet+".1:"+freePort(), "--no-node")
	if _, err := h.CreateCluster(within(t), &ecs.CreateClusterInput{ClusterName: aws.String("default")}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "credentials")
	profile := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", h.key.AccessKeyID, h.key.SecretAccessKey)
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	machines := map[string]*machine{} // by the ARN that it is known as
	for number := 2; number <= 3; number++ {
		m := l.newMachine(number, filepath.Join(s.dir, fmt.Sprint("n", number)))
		m.join(h, file)
		eventually(t, "the node is connected", func() bool { return connected(h.instances()) == number-1 })
		for arn := range h.instances() {
			if !slices.Contains(slices.Collect(maps.Keys(machines)), arn) {
				machines[arn] = m
			}
		}
		if err := havn(m.home, "image", "load", filepath.Join(archives, "busybox.tar")); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // while the nodes can still hear it
		for _, m := range machines {
			l.ip("link", "set", m.wire, "up")
		}
		h.stopAll()
	})

	// One task on each.
	h.define("lasts", box("c", "echo begins; exec sleep 100000"))
	out, err := h.RunTask(within(t), &ecs.RunTaskInput{
		TaskDefinition: aws.String("lasts"), Count: aws.Int32(2),
		PlacementConstraints: []types.PlacementConstraint{{Type: types.PlacementConstraintTypeDistinctInstance}},
	})
	if err != nil || len(out.Tasks) != 2 {
		t.Fatalf("RunTask: %v, %v", out, err)
	}
	lost, kept := out.Tasks[0], out.Tasks[1]
	if *lost.ContainerInstanceArn == *kept.ContainerInstanceArn {
		t.Fatalf("both tasks are on %s", *lost.ContainerInstanceArn)
	}
	h.running(*lost.TaskArn, *kept.TaskArn)

	cut := machines[*lost.ContainerInstanceArn]
	l.ip("link", "set", cut.wire, "down")
	eventually(t, "agentConnected is false", func() bool {
		is, known := h.instances()[*lost.ContainerInstanceArn]
		return known && !is
	})
	if !h.instances()[*kept.ContainerInstanceArn] {
		t.Error("the other node is shown as disconnected, too")
	}
	if status := *h.running(*lost.TaskArn)[0].LastStatus; status != "RUNNING" {
		t.Errorf("the task on the lost node is %s; nobody can know that", status)
	}
	if said := string(h.why(*lost.TaskArn)); !strings.Contains(said, "is not connected: nobody knows how it gets on (node-lost).") {
		t.Errorf("havn why of a task on the lost node:\n%s", said)
	}
	for range 2 {
		described, err := h.DescribeTasks(within(t), &ecs.DescribeTasksInput{Tasks: []string{h.run("lasts")}})
		if err != nil {
			t.Fatal(err)
		}
		if at := *described.Tasks[0].ContainerInstanceArn; at != *kept.ContainerInstanceArn {
			t.Errorf("a task is placed on %s, which is lost", at)
		}
	}
	stop, err := h.StopTask(within(t), &ecs.StopTaskInput{Task: lost.TaskArn})
	if err != nil || *stop.Task.DesiredStatus != "STOPPED" || *stop.Task.LastStatus == "STOPPED" {
		t.Errorf("StopTask of a task on the lost node: %v, %v", stop, err)
	}

	l.ip("link", "set", cut.wire, "up")
	eventually(t, "the node is connected again", func() bool { return h.instances()[*lost.ContainerInstanceArn] })
	if task := h.stopped(*lost.TaskArn); aws.ToInt32(task.Containers[0].ExitCode) != 137 {
		t.Errorf("the task that was to stop ended with %v", task.Containers[0].ExitCode)
	}
	if len(h.instances()) != 2 {
		t.Errorf("the node came back as another: %v", h.instances())
	}
}

// stopAll stops all tasks of the default cluster, and waits until they are.
func (h *havnOf) stopAll() {
	list, err := h.ListTasks(within(h.t), &ecs.ListTasksInput{})
	if err != nil {
		h.t.Error(err)
		return
	}
	for _, task := range list.TaskArns {
		if _, err := h.StopTask(within(h.t), &ecs.StopTaskInput{Task: &task}); err != nil {
			h.t.Error(err)
		}
	}
	for _, task := range list.TaskArns {
		h.stopped(task)
	}
}
