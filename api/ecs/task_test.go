package ecs_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"pgregory.net/rapid"

	"havn/lifecycle"
	"havn/placement"
	"havn/state"
)

// newTaskWorld has a cluster, default, of one connected node, n, and the task definition web.
func newTaskWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, time.Now)
	if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{}); err != nil {
		t.Fatal(err)
	}
	w.connected(t, "n")
	if _, err := w.RegisterTaskDefinition(ctx, web()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connected(t testing.TB, node string) {
	t.Helper()
	docker := types.Attribute{Name: aws.String("com.amazonaws.ecs.capability.docker-remote-api.1.18")}
	if _, err := w.RegisterContainerInstance(ctx, machine(node, docker)); err != nil {
		t.Fatal(err)
	}
	w.put(t, func(tx *state.Tx) {
		n, _ := state.Nodes.Get(tx, node)
		n.Connected = true
		state.Nodes.Put(tx, n)
	})
}

func (w *world) run(t testing.TB, in *sdk.RunTaskInput) *sdk.RunTaskOutput {
	t.Helper()
	if in.TaskDefinition == nil {
		in.TaskDefinition = aws.String("web")
	}
	out, err := w.RunTask(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reported is what a node says of a task of web's.
func reported(task string, status lifecycle.Status, c types.ContainerStateChange) *sdk.SubmitTaskStateChangeInput {
	c.ContainerName, c.Status = aws.String("web"), aws.String(string(status))
	return &sdk.SubmitTaskStateChangeInput{Task: &task, Status: aws.String(string(status)), Containers: []types.ContainerStateChange{c}}
}

func (w *world) submit(t testing.TB, in *sdk.SubmitTaskStateChangeInput) {
	t.Helper()
	if _, err := w.SubmitTaskStateChange(ctx, in); err != nil {
		t.Fatal(err)
	}
}

func (w *world) describe(t testing.TB, refs ...string) *sdk.DescribeTasksOutput {
	t.Helper()
	out, err := w.DescribeTasks(ctx, &sdk.DescribeTasksInput{Tasks: refs})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Floci #889, MiniStack #2: a task that ends is STOPPED with its exit code, and the waiters see it.
func TestATaskThatEndsIsStoppedForItsWaiter(t *testing.T) {
	w := newTaskWorld(t)
	arn := *w.run(t, &sdk.RunTaskInput{}).Tasks[0].TaskArn
	in := &sdk.DescribeTasksInput{Tasks: []string{arn}}

	w.submit(t, reported(arn, lifecycle.Running, types.ContainerStateChange{RuntimeId: aws.String("r")}))
	if err := sdk.NewTasksRunningWaiter(w.Client).Wait(ctx, in, time.Minute); err != nil {
		t.Errorf("waiting for RUNNING: %v", err)
	}
	w.submit(t, reported(arn, lifecycle.Stopped, types.ContainerStateChange{RuntimeId: aws.String("r"), ExitCode: aws.Int32(0)}))
	out, err := sdk.NewTasksStoppedWaiter(w.Client).WaitForOutput(ctx, in, time.Minute)
	if err != nil {
		t.Fatalf("waiting for STOPPED: %v", err)
	}
	task := out.Tasks[0]
	if c := task.Containers[0]; c.ExitCode == nil || *c.ExitCode != 0 || *c.LastStatus != "STOPPED" || task.StartedAt == nil || task.StoppedAt == nil {
		t.Errorf("stopped as %s", text(t, task))
	}
	if err := sdk.NewTasksRunningWaiter(w.Client).Wait(ctx, in, time.Minute); err == nil {
		t.Error("who waits for RUNNING is not told that it has STOPPED")
	}
}

// LocalStack #4426: each container is described from the first moment on.
func TestContainersAreDescribedFromTheStart(t *testing.T) {
	w := newTaskWorld(t)
	task := w.run(t, &sdk.RunTaskInput{}).Tasks[0]
	for _, task := range []types.Task{task, w.describe(t, *task.TaskArn).Tasks[0]} {
		if len(task.Containers) != 1 || *task.Containers[0].Name != "web" || *task.Containers[0].LastStatus != "PENDING" ||
			*task.Containers[0].TaskArn != *task.TaskArn || *task.Containers[0].ContainerArn == "" {
			t.Errorf("containers %s", text(t, task.Containers))
		}
	}
}

// LocalStack #8493: an answer always has its list of failures.
func TestRunTaskAlwaysAnswersFailures(t *testing.T) {
	w := newTaskWorld(t)
	for operation, body := range map[string]string{
		"RunTask":   `{"taskDefinition": "web"}`,
		"StartTask": `{"taskDefinition": "web", "containerInstances": ["n"]}`,
	} {
		if got := w.call(t, time.Now(), operation, body, "failures"); got != "failures: []\n" {
			t.Errorf("%s answers %s", operation, got)
		}
	}
}

// moto #2898: a task that is not there is a failure, whichever way it is named; the others are described.
func TestAMissingTaskIsAFailure(t *testing.T) {
	w := newTaskWorld(t)
	arn := *w.run(t, &sdk.RunTaskInput{}).Tasks[0].TaskArn
	none := strings.Repeat("f", 32)
	full := "arn:aws:ecs:us-east-1:000000000000:task/default/" + none
	for _, ref := range []string{none, full, "arn:aws:ecs:us-east-1:000000000000:task/" + none} {
		out := w.describe(t, ref, arn)
		if len(out.Tasks) != 1 || len(out.Failures) != 1 || *out.Failures[0].Arn != full || *out.Failures[0].Reason != "MISSING" {
			t.Errorf("%s: %s", ref, text(t, out))
		}
	}
}

// Floci #2716: nobody can pass off a task as a service's.
func TestAGroupCannotBeSpoofed(t *testing.T) {
	w := newTaskWorld(t)
	group := aws.String("service:web")
	_, err1 := w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web"), Group: group})
	_, err2 := w.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("web"), Group: group, ContainerInstances: []string{"n"}})
	for _, err := range []error{err1, err2} {
		if bad := new(types.InvalidParameterException); !errors.As(err, &bad) {
			t.Errorf("taken: %v", err)
		}
	}
}

// fakecloud #2253, #2310: no cluster comes of a mistake, and no more tasks than ECS allows at a time.
func TestRunTaskMakesNoClusterAndNoCrowd(t *testing.T) {
	w := newTaskWorld(t)
	_, err := w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web"), Cluster: aws.String("nobody")})
	if none := new(types.ClusterNotFoundException); !errors.As(err, &none) {
		t.Errorf("in no cluster: %v", err)
	}
	for _, count := range []int32{-1, 0, 11} {
		_, err := w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web"), Count: &count})
		if bad := new(types.InvalidParameterException); !errors.As(err, &bad) {
			t.Errorf("count %d: %v", count, err)
		}
	}
	tasks, err := w.ListTasks(ctx, &sdk.ListTasksInput{})
	clusters, err2 := w.ListClusters(ctx, &sdk.ListClustersInput{})
	if err != nil || err2 != nil || len(tasks.TaskArns) != 0 || len(clusters.ClusterArns) != 1 {
		t.Errorf("tasks %v, clusters %v", tasks, clusters)
	}
}

// fakecloud #2034: what an answer calls a task is one: it has a machine, which has given it its share.
func TestWhatRunTaskAnswersIsPlaced(t *testing.T) {
	w := newTaskWorld(t)
	out := w.run(t, &sdk.RunTaskInput{Count: aws.Int32(3)})
	w.store.View(func(r *state.Reader) {
		for _, task := range out.Tasks {
			if got, ok := state.Tasks.Get(r, *task.TaskArn); !ok || got.NodeID != "n" || got.Reserved.Memory != 64 {
				t.Errorf("%s is %+v", *task.TaskArn, got)
			}
		}
		if n, _ := state.Nodes.Get(r, "n"); len(out.Tasks) != 3 || n.Remaining.Memory != 4096-3*64 {
			t.Errorf("%d tasks, left %+v", len(out.Tasks), n.Remaining)
		}
	})
}

// fakecloud #1268, #1271: without a status, those that should run are listed, whatever they do yet; one that
// is told to stop is listed with the STOPPED from then on.
func TestListTasksGoesByWhatIsDesired(t *testing.T) {
	w := newTaskWorld(t)
	arn := *w.run(t, &sdk.RunTaskInput{}).Tasks[0].TaskArn
	listed := func(status types.DesiredStatus) bool {
		out, err := w.ListTasks(ctx, &sdk.ListTasksInput{DesiredStatus: status})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(out.TaskArns, arn)
	}
	see := func(when string, want ...bool) {
		t.Helper()
		if got := []bool{listed(""), listed("RUNNING"), listed("PENDING"), listed("STOPPED")}; !slices.Equal(got, want) {
			t.Errorf("%s, listed as running, RUNNING, PENDING, STOPPED: %v", when, got)
		}
	}
	see("placed", true, true, false, false)
	w.submit(t, reported(arn, lifecycle.Running, types.ContainerStateChange{}))
	see("running", true, true, false, false)
	if _, err := w.StopTask(ctx, &sdk.StopTaskInput{Task: &arn}); err != nil {
		t.Fatal(err)
	}
	see("stopping", false, false, false, true)
	w.submit(t, reported(arn, lifecycle.Stopped, types.ContainerStateChange{}))
	see("stopped", false, false, false, true)
}

// LocalStack #7542: what cannot be told from a status can be told from the reasons.
func TestATaskThatCannotStartSaysWhy(t *testing.T) {
	w := newTaskWorld(t)
	arn := *w.run(t, &sdk.RunTaskInput{}).Tasks[0].TaskArn
	w.submit(t, reported(arn, lifecycle.Stopped, types.ContainerStateChange{Reason: aws.String("CannotPullContainerError: no such image")}))
	task := w.describe(t, arn).Tasks[0]
	if task.StopCode != types.TaskStopCodeTaskFailedToStart || *task.Containers[0].Reason != "CannotPullContainerError: no such image" || task.StartedAt != nil {
		t.Errorf("stopped as %s", text(t, task))
	}
}

// The overrides of a request have ECS's limit, counted as they are sent.
func TestOverridesHaveALimit(t *testing.T) {
	w := newTaskWorld(t)
	frame := len(`{"containerOverrides":[{"name":"web","command":[""]}]}`)
	for _, each := range []struct {
		length int
		ok     bool
	}{{8192, true}, {8193, false}} {
		_, err := w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web"), Overrides: &types.TaskOverride{
			ContainerOverrides: []types.ContainerOverride{{Name: aws.String("web"), Command: []string{strings.Repeat("&", each.length-frame)}}}}})
		bad := new(types.InvalidParameterException)
		if refused := errors.As(err, &bad); refused == each.ok || refused && *bad.Message != "Container Overrides length must be at most 8192" {
			t.Errorf("%d characters: %v", each.length, err)
		}
	}
}

func TestAConflictNamesTheTasksThatThereAre(t *testing.T) {
	w := newTaskWorld(t)
	token := aws.String("t")
	made := w.run(t, &sdk.RunTaskInput{ClientToken: token})
	_, err := w.RunTask(ctx, &sdk.RunTaskInput{ClientToken: token, TaskDefinition: aws.String("web"), Count: aws.Int32(2)})
	conflict := new(types.ConflictException)
	if !errors.As(err, &conflict) || !slices.Equal(conflict.ResourceIds, []string{*made.Tasks[0].TaskArn}) {
		t.Errorf("%v %v", err, conflict.ResourceIds)
	}
}

// A token stands for one request: however often it is sent, and whatever becomes of the answers, its tasks
// are started once.
func TestAClientTokenStartsItsTasksOnce(t *testing.T) {
	w := newTaskWorld(t)
	series := 0
	rapid.Check(t, func(t *rapid.T) {
		series++
		sent := map[string]int32{} // token: the count that it was first sent with
		made := map[string][]string{}
		before := w.count()
		for range rapid.IntRange(1, 8).Draw(t, "requests") {
			token := fmt.Sprintf("%d-%d", series, rapid.IntRange(1, 2).Draw(t, "token"))
			count := rapid.Int32Range(1, 2).Draw(t, "count")
			w.log.Script(rapid.SampledFrom([]state.Fault{state.NoFault, state.NoFault, state.FaultConflict, state.FaultLostAnswer, state.FaultLostProposal}).Draw(t, "fault"))
			out, err := w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web"), ClientToken: &token, Count: &count,
				Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("web"), Memory: aws.Int32(6)}}}})
			w.log.Script(state.NoFault)
			conflict := new(types.ConflictException)
			switch first, known := sent[token]; {
			case known && first != count:
				if !errors.As(err, &conflict) || !slices.Equal(conflict.ResourceIds, made[token]) {
					t.Fatalf("token %s with another request: %v", token, err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				var arns []string
				for _, task := range out.Tasks {
					arns = append(arns, *task.TaskArn)
				}
				if known && !slices.Equal(arns, made[token]) || len(arns) != int(count) {
					t.Fatalf("token %s made %v, now %v", token, made[token], arns)
				}
				sent[token], made[token] = count, arns
			}
		}
		want := before
		for _, arns := range made {
			want += len(arns)
		}
		if got := w.count(); got != want {
			t.Fatalf("%d tasks, want %d", got, want)
		}
		for _, arns := range made { // make room
			for _, arn := range arns {
				if _, err := w.SubmitTaskStateChange(ctx, &sdk.SubmitTaskStateChangeInput{Task: &arn, Status: aws.String("STOPPED")}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func (w *world) count() (n int) {
	w.store.View(func(r *state.Reader) { n = state.Tasks.Count(r) })
	return n
}

// Many at a time run, stop, report and register: in the end each node has left what its tasks do not hold.
func TestNoResourceIsLostInACrowd(t *testing.T) {
	w := newTaskWorld(t)
	w.connected(t, "m")
	var crowd sync.WaitGroup
	for worker := range 6 {
		crowd.Go(func() {
			for round := range 8 {
				out, err := w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web"), Count: aws.Int32(2)})
				if err != nil || len(out.Tasks) != 2 {
					t.Errorf("run: %v, %v", out, err)
					return
				}
				_, err1 := w.StopTask(ctx, &sdk.StopTaskInput{Task: out.Tasks[0].TaskArn})
				_, err2 := w.SubmitTaskStateChange(ctx, reported(*out.Tasks[round%2].TaskArn, lifecycle.Stopped, types.ContainerStateChange{}))
				var err3 error
				if worker == 0 {
					in := machine([]string{"n", "m"}[round%2], types.Attribute{Name: aws.String("com.amazonaws.ecs.capability.docker-remote-api.1.18")})
					in.TotalResources[0].IntegerValue += int32(round)
					_, err3 = w.RegisterContainerInstance(ctx, in)
				}
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Error(err)
				}
			}
		})
	}
	crowd.Wait()
	w.store.View(func(r *state.Reader) {
		held := 0
		for n := range state.Nodes.All(r) {
			if want := placement.Recount(r, n); !reflect.DeepEqual(n.Remaining, want.Remaining) {
				t.Errorf("node %s has left %+v, want %+v", n.ID, n.Remaining, want.Remaining)
			}
			held += int(n.Total.Memory-n.Remaining.Memory) / 64
		}
		if held != 6*8 {
			t.Errorf("%d tasks hold memory, want %d", held, 6*8)
		}
	})
}
