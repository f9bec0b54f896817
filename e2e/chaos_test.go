package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"golang.org/x/sys/unix"
)

// What a container of these tests says when it begins; it is never said twice.
const begins = "echo begins; "

// endless runs until SIGTERM, and then exits with 0.
const endless = begins + `trap "exit 0" TERM; while true; do sleep 1; done`

// begun checks that the task's only container began as often as it should have.
func (h *havnOf) begun(arn string, times int) {
	h.t.Helper()
	if got := strings.Count(logOf(h.home, arn), "begins"); got != times {
		h.t.Errorf("%s began %d times, not %d", arn, got, times)
	}
}

// healthy checks that new tasks run as ever.
func (h *havnOf) healthy() {
	h.t.Helper()
	h.define("healthy", box("c", begins+"exit 4"))
	arn := h.run("healthy")
	if task := h.stopped(arn); aws.ToInt32(task.Containers[0].ExitCode) != 4 {
		h.t.Errorf("a new task: %s %s %+v", task.StopCode, aws.ToString(task.StoppedReason), task.Containers[0])
	}
	h.begun(arn, 1)
}

// kill kills each process of this Havn's that runs the program and has bad luck.
func (h *havnOf) kill(program string, unlucky func(pid int) bool) (killed int) {
	for pid, command := range processes("/run/havn/" + nameOf(h.home)) {
		name, _, _ := strings.Cut(command, " ")
		if filepath.Base(name) == program && unlucky(pid) && unix.Kill(pid, unix.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

func TestAShimsDeathEndsItsTaskAndNoOther(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	h.define("two", box("first", endless), box("second", endless))
	arn := h.run("two")
	h.running(arn)
	if killed := h.kill("havn-shim", func(int) bool { return true }); killed != 1 {
		t.Errorf("a task of two containers had %d shims", killed)
	}
	task := h.stopped(arn)
	if task.StopCode != types.TaskStopCodeEssentialContainerExited {
		t.Errorf("%s: %s", task.StopCode, aws.ToString(task.StoppedReason))
	}
	for _, c := range task.Containers {
		if code := aws.ToInt32(c.ExitCode); code != 137 {
			t.Errorf("%s: exit code %d, %s", *c.Name, code, aws.ToString(c.Reason))
		}
		if why := aws.ToString(c.Reason); !strings.Contains(why, "(havn-shim) was killed, and the container with it (shim-killed)") {
			t.Errorf("%s: the reason is %q", *c.Name, why)
		}
	}
	h.healthy()
}

// Whatever runc was doing when it was killed: no container runs twice, and every task comes to a true end.
func TestRuncIsKilledWhileItMakesContainers(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	h.define("brief", box("c", begins+"exit 3"))
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killed := 0
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				killed += h.kill("runc", func(pid int) bool { return pid%3 == 0 })
			}
		}
	})
	const tasks = 12
	var arns []string
	for range tasks {
		arns = append(arns, h.run("brief"))
	}
	outcomes := map[string]int{}
	for _, arn := range arns {
		task := h.stopped(arn)
		container := task.Containers[0]
		switch reason := aws.ToString(container.Reason); {
		case container.ExitCode != nil && *container.ExitCode == 3:
			h.begun(arn, 1)
			outcomes["ran"]++
		case container.ExitCode != nil && *container.ExitCode == 137: // killed after its start, which runc had made
			outcomes["killed"]++
		case strings.HasPrefix(reason, "CannotStartContainerError: ") || strings.HasPrefix(reason, "CannotCreateContainerError: "):
			h.begun(arn, 0)
			outcomes["never ran"]++
		default:
			t.Errorf("%s: %s, %s, %v", arn, task.StopCode, reason, container.ExitCode)
		}
	}
	close(stop)
	killer.Wait()
	t.Logf("runc was killed %d times; of %d tasks %v", killed, tasks, outcomes)
	h.healthy()
}

// A reboot takes all processes and what is in memory; the disk stays as it was.
func TestAReboot(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	h.define("endless", box("c", endless))
	runs, stops := h.run("endless"), h.run("endless")
	h.running(runs, stops)
	if _, err := h.StopTask(within(t), &ecs.StopTaskInput{Task: &stops, Reason: aws.String("enough")}); err != nil {
		t.Fatal(err)
	}
	if err := crash(h.home); err != nil {
		t.Fatal(err)
	}
	sweep(h.home)
	h.up()
	task := h.stopped(runs)
	if reason := aws.ToString(task.Containers[0].Reason); !strings.HasPrefix(reason, "ContainerVanishedError: ") {
		t.Errorf("a task that ran: %s, %s, %q", task.StopCode, aws.ToString(task.StoppedReason), reason)
	}
	if task := h.stopped(stops); task.StopCode != types.TaskStopCodeUserInitiated || aws.ToString(task.StoppedReason) != "enough" {
		t.Errorf("a task that was told to stop: %s, %s", task.StopCode, aws.ToString(task.StoppedReason))
	}
	h.begun(runs, 1)
	h.begun(stops, 1)
	h.healthy()
}

// The engine's database is lost with all that it knew: images, layers, containers.
func TestContainerdsMetadataIsLost(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	h.define("endless", box("c", endless))
	arn := h.run("endless")
	h.running(arn)
	if err := crash(h.home); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(h.home, "containerd", "io.containerd.metadata.v1.bolt")); err != nil {
		t.Fatal(err)
	}
	h.up()
	task := h.stopped(arn)
	if reason := aws.ToString(task.Containers[0].Reason); !strings.HasPrefix(reason, "ContainerVanishedError: ") {
		t.Errorf("%s, %s, %q", task.StopCode, aws.ToString(task.StoppedReason), reason)
	}
	h.begun(arn, 1)
	h.load("busybox.tar")
	h.healthy()
}

// A container fills the disk that everything is on. Havn goes on, comes back after a kill, and can stop it.
func TestAContainerFillsTheDisk(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newSite(t)
	if err := os.Mkdir(s.home(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("hvn-small", s.home(), "tmpfs", 0, "size=224m"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	h := s.start(t)
	h.load("busybox.tar")
	h.define("beside", box("c", endless))
	beside := h.run("beside")
	h.running(beside)

	outside := t.TempDir()
	full := filepath.Join(outside, "full")
	if err := unix.Mkfifo(full, 0o600); err != nil {
		t.Fatal(err)
	}
	fills := box("c", "dd if=/dev/zero of=/big bs=64k; dd if=/dev/zero of=/more bs=4k; echo >/outside/full; "+endless)
	fills.Memory = aws.Int32(512) // what is on this disk is in memory
	fills.MountPoints = []types.MountPoint{{SourceVolume: aws.String("outside"), ContainerPath: aws.String("/outside")}}
	if _, err := h.RegisterTaskDefinition(within(t), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("fills"), ContainerDefinitions: []types.ContainerDefinition{fills},
		Volumes: []types.Volume{{Name: aws.String("outside"), Host: &types.HostVolumeProperties{SourcePath: &outside}}},
	}); err != nil {
		t.Fatal(err)
	}
	culprit := h.run("fills")
	if _, err := os.ReadFile(full); err != nil { // returns when it is
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(h.home, &fs); err != nil || fs.Bavail > 0 {
		t.Fatalf("the disk is not full: %d blocks, %v", fs.Bavail, err)
	}

	// What is acknowledged now holds, too.
	if _, err := h.CreateCluster(within(t), &ecs.CreateClusterInput{ClusterName: aws.String("made-on-a-full-disk")}); err != nil {
		t.Error(err)
	}
	if err := crash(h.home); err != nil {
		t.Fatal(err)
	}
	h.up()
	if out, err := h.DescribeClusters(within(t), &ecs.DescribeClustersInput{Clusters: []string{"made-on-a-full-disk"}}); err != nil || len(out.Clusters) != 1 {
		t.Errorf("the cluster: %v, %v", out, err)
	}
	h.running(beside, culprit)
	h.condition(types.InstanceHealthCheckStateImpaired)
	out, err := h.RunTask(within(t), &ecs.RunTaskInput{TaskDefinition: aws.String("beside")})
	if err != nil || len(out.Failures) != 1 || aws.ToString(out.Failures[0].Reason) != "AGENT" ||
		aws.ToString(out.Failures[0].Detail) != "the container instance does not take the task: it is impaired (the disk is full)" {
		t.Errorf("a new task on a node without room: %+v, %v", out, err)
	}
	if said := string(h.why()); !strings.Contains(said, "it is impaired (the disk is full) (disk-full)\n  Try: ") {
		t.Errorf("havn why does not say that the disk is full:\n%s", said)
	}
	if _, err := h.StopTask(within(t), &ecs.StopTaskInput{Task: &culprit}); err != nil {
		t.Fatal(err)
	}
	if task := h.stopped(culprit); task.StopCode != types.TaskStopCodeUserInitiated {
		t.Errorf("the culprit: %s, %s", task.StopCode, aws.ToString(task.StoppedReason))
	}
	h.begun(beside, 1)
	if err := crash(h.home); err != nil { // it looks at its disk when it starts, and then every minute
		t.Fatal(err)
	}
	h.up()
	h.condition(types.InstanceHealthCheckStateOk)
	h.healthy()
}

// condition waits until the only node says that of itself.
func (h *havnOf) condition(want types.InstanceHealthCheckState) {
	h.t.Helper()
	ctx := within(h.t)
	list, err := h.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{})
	if err != nil {
		h.t.Fatal(err)
	}
	for ctx.Err() == nil {
		out, err := h.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{ContainerInstances: list.ContainerInstanceArns,
			Include: []types.ContainerInstanceField{types.ContainerInstanceFieldContainerInstanceHealth}})
		if err == nil && out.ContainerInstances[0].HealthStatus.OverallStatus == want {
			return
		}
	}
	h.t.Fatalf("the node never says that it is %s", want)
}
