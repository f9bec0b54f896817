package ecs

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"pgregory.net/rapid"

	"havn/lifecycle"
	"havn/state"
)

// life is all that a node ever says of a task with a main container and a helper, which ends first.
func life(begun time.Time) []*ecs.SubmitTaskStateChangeInput {
	at := func(seconds int) *time.Time { return ptr(begun.Add(time.Duration(seconds) * time.Second)) }
	change := func(name, status string, c types.ContainerStateChange) types.ContainerStateChange {
		c.ContainerName, c.Status = &name, &status
		return c
	}
	ports := []types.NetworkBinding{{BindIP: ptr("0.0.0.0"), ContainerPort: ptr[int32](80), HostPort: ptr[int32](32768), Protocol: "tcp"}}
	return []*ecs.SubmitTaskStateChangeInput{
		{Status: ptr("PENDING"), PullStartedAt: at(1), PullStoppedAt: at(2), Containers: []types.ContainerStateChange{
			change("main", "PENDING", types.ContainerStateChange{ImageDigest: ptr("sha256:1")})}},
		{Status: ptr("RUNNING"), PullStartedAt: at(1), PullStoppedAt: at(4), Containers: []types.ContainerStateChange{
			change("main", "RUNNING", types.ContainerStateChange{ImageDigest: ptr("sha256:1"), RuntimeId: ptr("r1"), NetworkBindings: ports}),
			change("helper", "RUNNING", types.ContainerStateChange{RuntimeId: ptr("r2"), Reason: ptr("an old image is used")})}},
		{Status: ptr("RUNNING"), PullStartedAt: at(1), PullStoppedAt: at(4), Containers: []types.ContainerStateChange{
			change("main", "RUNNING", types.ContainerStateChange{ImageDigest: ptr("sha256:1"), RuntimeId: ptr("r1"), NetworkBindings: ports}),
			change("helper", "STOPPED", types.ContainerStateChange{RuntimeId: ptr("r2"), ExitCode: ptr[int32](0), Reason: ptr("it is done")})}},
		{Status: ptr("STOPPED"), PullStartedAt: at(1), PullStoppedAt: at(4), ExecutionStoppedAt: at(9), Containers: []types.ContainerStateChange{
			change("main", "RUNNING", types.ContainerStateChange{RuntimeId: ptr("r1"), ExitCode: ptr[int32](99)}),
			change("main", "STOPPED", types.ContainerStateChange{RuntimeId: ptr("r1"), ExitCode: ptr[int32](3), NetworkBindings: ports}),
			change("helper", "STOPPED", types.ContainerStateChange{RuntimeId: ptr("r2"), ExitCode: ptr[int32](0), Reason: ptr("it is done")})}},
	}
}

func fold(t *rapid.T, task state.Task, in *ecs.SubmitTaskStateChangeInput, now time.Time) state.Task {
	if task.Last == lifecycle.Stopped {
		return task
	}
	task.Containers = append([]state.Container(nil), task.Containers...)
	for _, c := range in.Containers {
		status, err := reportedStatus(*c.Status)
		if err != nil {
			t.Fatal(err)
		}
		at := containerAt(task, *c.ContainerName)
		task.Containers[at] = observeContainer(task.Containers[at], status, c, now)
	}
	return observeTask(task, lifecycle.Status(*in.Status), in, now)
}

// However often reports come and in whatever order: no status goes back, and once the last has come, the
// record is the one that it would be had each come once and in its turn.
func TestReportsMayComeTwiceAndOutOfOrder(t *testing.T) {
	begun := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	fresh := state.Task{CreatedAt: begun, Desired: lifecycle.Running, Last: lifecycle.Pending,
		Containers: []state.Container{{Name: "main", Last: lifecycle.Pending}, {Name: "helper", Last: lifecycle.Pending}}}
	reports := life(begun)
	last := len(reports) - 1
	rapid.Check(t, func(t *rapid.T) {
		end := begun.Add(time.Minute)
		want := fresh
		for _, r := range reports {
			want = fold(t, want, r, end)
		}
		want.StartedAt = time.Time{} // when RUNNING came
		got := fresh
		heard := map[int]bool{}
		for n, r := range rapid.SliceOfN(rapid.IntRange(0, last-1), 0, 8).Draw(t, "order") {
			heard[r] = true
			before := got
			got = fold(t, got, reports[r], begun.Add(time.Duration(n)*time.Second))
			for c := range got.Containers {
				if got.Containers[c].Last.Before(before.Containers[c].Last) {
					t.Fatalf("container %s goes back", got.Containers[c].Name)
				}
			}
			if got.Last.Before(before.Last) || !before.StartedAt.IsZero() && !before.StartedAt.Equal(got.StartedAt) {
				t.Fatalf("the task goes back: %+v, then %+v", before, got)
			}
		}
		if ran := heard[1] || heard[2]; ran == got.StartedAt.IsZero() {
			t.Fatalf("RUNNING was told: %v; started at %v", ran, got.StartedAt)
		}
		got = fold(t, got, reports[last], end)
		after := fold(t, got, reports[1], end)
		if !reflect.DeepEqual(after, got) {
			t.Fatal("STOPPED is not final")
		}
		got.StartedAt = time.Time{}
		for c := range got.Containers { // when it was first told
			if got.Containers[c].StoppedAt.After(end) || got.Containers[c].StoppedAt.Before(begun) {
				t.Fatalf("container %s stopped at %v", got.Containers[c].Name, got.Containers[c].StoppedAt)
			}
			got.Containers[c].StoppedAt = want.Containers[c].StoppedAt
		}
		if len(heard) == 0 { // then nobody told the digest
			got.Containers[0].ImageDigest = want.Containers[0].ImageDigest
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("after %v\n%+v, want\n%+v", heard, got, want)
		}
	})
}

// A stop that somebody asked for keeps its code and reason, whatever the node reports.
func TestWhoStoppedATaskIsKept(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.SampledFrom(types.TaskStopCode("").Values()).Draw(t, "code")
		task := state.Task{CreatedAt: now, Desired: lifecycle.Stopped, Last: lifecycle.Running, StartedAt: now, StoppingAt: now,
			StopCode: code, StoppedReason: "said before"}
		got := stopped(task, rapid.SampledFrom([]string{"", "TaskStateError: slow"}).Draw(t, "reason"), now.Add(time.Second))
		if got.StopCode != code || got.StoppedReason != "said before" || !got.StoppingAt.Equal(now) || got.Last != lifecycle.Running {
			t.Fatalf("stopped as %+v", got)
		}
	})
}

// The table of stop codes: what was seen of the containers, and what it means for the task.
func TestStopCodes(t *testing.T) {
	ran := state.Container{RuntimeID: "r", ExitCode: ptr[int32](137)}
	failed := state.Container{Reason: "CannotPullContainerError: no"}
	created := state.Container{RuntimeID: "r", Reason: "CannotStartContainerError: no"}
	left := state.Container{Reason: "TaskStoppedBeforePullBeginError: stopped"}
	for _, each := range []struct {
		name       string
		started    bool
		containers []state.Container
		want       types.TaskStopCode
	}{
		{"ran", true, []state.Container{ran}, types.TaskStopCodeEssentialContainerExited},
		{"ran, nothing known of the end", true, []state.Container{{}}, types.TaskStopCodeEssentialContainerExited},
		{"ran too briefly to be told", false, []state.Container{ran}, types.TaskStopCodeEssentialContainerExited},
		{"one ended before the other began", false, []state.Container{ran, {}}, types.TaskStopCodeEssentialContainerExited},
		{"the same, in the stock agent's words", false, []state.Container{ran, left}, types.TaskStopCodeEssentialContainerExited},
		{"no image", false, []state.Container{failed}, types.TaskStopCodeTaskFailedToStart},
		{"no image for one, so the other was stopped", false, []state.Container{ran, failed}, types.TaskStopCodeTaskFailedToStart},
		{"made, and would not start", false, []state.Container{created}, types.TaskStopCodeTaskFailedToStart},
		{"refused by the node", false, nil, types.TaskStopCodeTaskFailedToStart},
	} {
		task := state.Task{Containers: each.containers}
		if each.started {
			task.StartedAt = time.Unix(1, 0)
		}
		if got := stopped(task, "", time.Unix(2, 0)); got.StopCode != each.want {
			t.Errorf("%s: %s, want %s", each.name, got.StopCode, each.want)
		}
		if got := stopped(task, "the cause", time.Unix(2, 0)); got.StoppedReason != "the cause" {
			t.Errorf("%s: the node's reason is lost: %s", each.name, got.StoppedReason)
		}
	}
}

// A report may be as long as a request, and a record is not: of a reason, what ECS keeps is kept.
func TestReasonsAreClipped(t *testing.T) {
	long := strings.Repeat("é", 1<<18)
	kept := strings.Repeat("é", lifecycle.MaxReason)
	task := state.Task{Last: lifecycle.Running, Containers: []state.Container{{Name: "main", Last: lifecycle.Running}}}
	if got := stopped(task, long, time.Unix(2, 0)); got.StoppedReason != kept {
		t.Errorf("the task keeps %d bytes", len(got.StoppedReason))
	}
	if got := observeContainer(task.Containers[0], lifecycle.Stopped, types.ContainerStateChange{Reason: &long}, time.Unix(2, 0)); got.Reason != kept {
		t.Errorf("the container keeps %d bytes", len(got.Reason))
	}
	if got := lifecycle.Clip(kept); got != kept {
		t.Errorf("of %d bytes that may be kept, %d are", len(kept), len(got))
	}
}
