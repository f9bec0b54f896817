package ecs_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
)

var ctx = context.Background()

// A tool that registers what it has described must get the same revision again, and nothing that it sent
// may be missing.
func TestADescribedDefinitionRegistersAsItself(t *testing.T) {
	w := newWorld(t, time.Now)
	in := web()
	in.RuntimePlatform = &types.RuntimePlatform{CpuArchitecture: types.CPUArchitectureX8664, OperatingSystemFamily: types.OSFamilyLinux}
	c := &in.ContainerDefinitions[0]
	c.Command, c.EntryPoint = []string{"serve", "-v"}, []string{"/bin/sh", "-c"}
	c.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs,
		Options: map[string]string{"awslogs-group": "g", "awslogs-region": region}}
	c.ResourceRequirements = []types.ResourceRequirement{{Type: types.ResourceTypeGpu,
		SharingStrategy: &types.SharingStrategyMemberNvidiaMps{Value: types.NvidiaMpsAllocation{Memory: aws.Int32(1024)}}}}
	first, err := w.RegisterTaskDefinition(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{TaskDefinition: first.TaskDefinition.TaskDefinitionArn})
	if err != nil {
		t.Fatal(err)
	}
	d := out.TaskDefinition
	if got := d.ContainerDefinitions[0]; !slices.Equal(got.Command, c.Command) || !slices.Equal(got.EntryPoint, c.EntryPoint) ||
		got.LogConfiguration.Options["awslogs-group"] != "g" || d.RuntimePlatform.CpuArchitecture != types.CPUArchitectureX8664 {
		t.Errorf("something that was sent is missing: %+v", got)
	}
	mps, ok := d.ContainerDefinitions[0].ResourceRequirements[0].SharingStrategy.(*types.SharingStrategyMemberNvidiaMps)
	if !ok || *mps.Value.Memory != 1024 {
		t.Errorf("the GPU's sharing strategy is missing: %+v", d.ContainerDefinitions[0].ResourceRequirements)
	}
	again, err := w.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: d.Family, ContainerDefinitions: d.ContainerDefinitions, RuntimePlatform: d.RuntimePlatform, Volumes: d.Volumes,
		PlacementConstraints: d.PlacementConstraints, RequiresCompatibilities: d.RequiresCompatibilities, NetworkMode: d.NetworkMode,
		EnableFaultInjection: d.EnableFaultInjection,
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b := *d, *again.TaskDefinition
	if a.Revision != 1 || b.Revision != 2 {
		t.Errorf("revisions %d and %d", a.Revision, b.Revision)
	}
	a.Revision, b.Revision, a.TaskDefinitionArn, b.TaskDefinitionArn, a.RegisteredAt, b.RegisteredAt = 0, 0, nil, nil, nil, nil
	if x, y := text(t, a), text(t, b); x != y {
		t.Errorf("the definition drifts:\n%s\n%s", x, y)
	}
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// moto #2898: what is not there is a failure, not an empty answer.
func TestMissingIsAFailure(t *testing.T) {
	w := newWorld(t, time.Now)
	out, err := w.DescribeClusters(ctx, &sdk.DescribeClustersInput{Clusters: []string{"nobody"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" || *out.Failures[0].Arn != "arn:aws:ecs:us-east-1:000000000000:cluster/nobody" {
		t.Errorf("failures %s", text(t, out.Failures))
	}
}

// fakecloud #2253: a cluster that nobody made is nowhere.
func TestNoPhantomClusters(t *testing.T) {
	w := newWorld(t, time.Now)
	_, err := w.ListContainerInstances(ctx, &sdk.ListContainerInstancesInput{})
	if none := new(types.ClusterNotFoundException); !errors.As(err, &none) {
		t.Errorf("listing in a cluster that nobody made: %v", err)
	}
	out, err := w.ListClusters(ctx, &sdk.ListClustersInput{})
	if err != nil || len(out.ClusterArns) != 0 {
		t.Errorf("clusters %v, %v", out.ClusterArns, err)
	}
}

// LocalStack #2987: counts are those of the tasks there are.
func TestAClustersCountsAreThoseOfItsTasks(t *testing.T) {
	w := newWorld(t, time.Now)
	if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{}); err != nil {
		t.Fatal(err)
	}
	registered, err := w.RegisterContainerInstance(ctx, machine("n", everyCluster()))
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, func(tx *state.Tx) {
		i, _ := state.Instances.Get(tx, *registered.ContainerInstance.ContainerInstanceArn)
		for n, last := range []string{"PENDING", "RUNNING", "RUNNING", "STOPPED"} {
			state.Tasks.Put(tx, state.Task{ARN: fmt.Sprint("t", n), ClusterARN: i.ClusterARN, InstanceARN: i.ARN, NodeID: "n",
				LaunchType: types.LaunchTypeEc2, Desired: "RUNNING", Last: lifecycle.Status(last)})
		}
	})
	out, err := w.DescribeClusters(ctx, &sdk.DescribeClustersInput{Include: []types.ClusterField{types.ClusterFieldStatistics}})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Clusters[0]
	if c.RunningTasksCount != 2 || c.PendingTasksCount != 1 || c.RegisteredContainerInstancesCount != 1 {
		t.Errorf("running %d, pending %d, instances %d", c.RunningTasksCount, c.PendingTasksCount, c.RegisteredContainerInstancesCount)
	}
	if !slices.ContainsFunc(c.Statistics, func(p types.KeyValuePair) bool { return *p.Name == "runningEC2TasksCount" && *p.Value == "2" }) {
		t.Errorf("statistics %s", text(t, c.Statistics))
	}
}

// A node that serves every cluster is in those that were there and those that come, and stands in the way of
// no DeleteCluster; a machine that joined one cluster does.
func TestANodeServesEveryCluster(t *testing.T) {
	w := newWorld(t, time.Now)
	for _, name := range []string{"default", "before"} {
		if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: aws.String(name)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.RegisterContainerInstance(ctx, machine("n", everyCluster())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: aws.String("after")}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"default", "before", "after"} {
		out, err := w.ListContainerInstances(ctx, &sdk.ListContainerInstancesInput{Cluster: aws.String(name)})
		if err != nil || len(out.ContainerInstanceArns) != 1 || !strings.Contains(out.ContainerInstanceArns[0], "/"+name+"/") {
			t.Errorf("container instances of %s: %v, %v", name, out, err)
		}
		if name == "default" {
			continue
		}
		if _, err := w.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: aws.String(name)}); err != nil {
			t.Errorf("cannot delete %s: %v", name, err)
		}
	}
	if _, err := w.RegisterContainerInstance(ctx, machine("m")); err != nil {
		t.Fatal(err)
	}
	_, err := w.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: aws.String("default")})
	if full := new(types.ClusterContainsContainerInstancesException); !errors.As(err, &full) {
		t.Errorf("deleting a cluster with a machine of its own: %v", err)
	}
}

// Revisions are numbered 1, 2, 3, whatever happens to the ones before.
func TestRevisionNumbersAreNeverUsedTwice(t *testing.T) {
	w := newWorld(t, time.Now)
	for want := int32(1); want <= 4; want++ {
		out, err := w.RegisterTaskDefinition(ctx, web())
		if err != nil {
			t.Fatal(err)
		}
		if got := out.TaskDefinition.Revision; got != want {
			t.Fatalf("revision %d, want %d", got, want)
		}
		name := aws.String(fmt.Sprintf("web:%d", want))
		if _, err := w.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: name}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{TaskDefinitions: []string{*name}}); err != nil {
			t.Fatal(err)
		}
		w.put(t, func(tx *state.Tx) { state.TaskDefinitions.Delete(tx, *out.TaskDefinition.TaskDefinitionArn) })
	}
}

// The SDK's paginators see every item once, also when others come and go between two pages.
func TestPaginationSeesEveryItemOnce(t *testing.T) {
	w := newWorld(t, time.Now)
	want := map[string]bool{}
	for n := range 23 {
		name := fmt.Sprintf("c%02d", n)
		if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: &name}); err != nil {
			t.Fatal(err)
		}
		want["arn:aws:ecs:us-east-1:000000000000:cluster/"+name] = true
	}
	pages := sdk.NewListClustersPaginator(w.Client, &sdk.ListClustersInput{MaxResults: aws.Int32(5)})
	count := 0
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		count++
		for _, arn := range out.ClusterArns {
			if !want[arn] {
				t.Errorf("%s is listed twice, or is none", arn)
			}
			delete(want, arn)
		}
		if count == 1 { // the cursor's own item goes away
			last := out.ClusterArns[len(out.ClusterArns)-1]
			if _, err := w.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: &last}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count != 5 || len(want) != 0 {
		t.Errorf("%d pages, not listed: %v", count, want)
	}
}

func TestABadPageRequestIsAnInvalidParameter(t *testing.T) {
	w := newWorld(t, time.Now)
	for _, in := range []*sdk.ListClustersInput{
		{MaxResults: aws.Int32(0)}, {MaxResults: aws.Int32(101)}, {MaxResults: aws.Int32(-1)},
		{NextToken: aws.String("nonsense")}, {NextToken: aws.String("e30=")},
	} {
		_, err := w.ListClusters(ctx, in)
		if bad := new(types.InvalidParameterException); !errors.As(err, &bad) {
			t.Errorf("%s: %v", text(t, in), err)
		}
	}
}

// However many register at once, each gets a number of its own and none is left out.
func TestRevisionsRegisteredAtOnceAreNumberedOneByOne(t *testing.T) {
	w := newWorld(t, time.Now)
	const many = 24
	revisions := make(chan int32, many)
	for range many {
		go func() {
			out, err := w.RegisterTaskDefinition(ctx, web())
			if err != nil {
				t.Error(err)
				revisions <- 0
				return
			}
			revisions <- out.TaskDefinition.Revision
		}()
	}
	got := make([]int32, many)
	for i := range got {
		got[i] = <-revisions
	}
	slices.Sort(got)
	for i, n := range got {
		if n != int32(i+1) {
			t.Fatalf("revisions %v", got)
		}
	}
}

// A task that is placed while its cluster is being deleted is not left behind in a cluster that is gone.
func TestNoTaskIsPlacedInAClusterThatGoesAway(t *testing.T) {
	w := newWorld(t, time.Now)
	if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{}); err != nil {
		t.Fatal(err)
	}
	registered, err := w.RegisterContainerInstance(ctx, machine("n", everyCluster()))
	if err != nil {
		t.Fatal(err)
	}
	instance := *registered.ContainerInstance.ContainerInstanceArn
	runs := 0
	err = w.store.Update(ctx, func(tx *state.Tx) error { // as placement does: the cluster, the node, a task
		runs++
		c, _ := state.Clusters.Get(tx, "arn:aws:ecs:us-east-1:000000000000:cluster/default")
		if c.Status != "ACTIVE" {
			return errGone
		}
		n, _ := state.Nodes.Get(tx, "n")
		n.Remaining.CPU -= 256
		state.Nodes.Put(tx, n)
		state.Tasks.Put(tx, state.Task{ARN: "t", ClusterARN: c.ARN, InstanceARN: instance, NodeID: "n", Last: "PENDING"})
		if runs == 1 {
			if _, err := w.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: aws.String("default")}); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if !errors.Is(err, errGone) || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
}

var errGone = errors.New("the cluster is gone")

// A node that is started for one cluster, after it has served every one, takes no tasks of the others.
func TestANodeLeavesTheClustersThatItServesNoMore(t *testing.T) {
	w := newWorld(t, time.Now)
	for _, name := range []string{"default", "other"} {
		if _, err := w.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: aws.String(name)}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := w.RegisterContainerInstance(ctx, machine("n", everyCluster()))
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.RegisterContainerInstance(ctx, machine("n"))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := *first.ContainerInstance.ContainerInstanceArn, *second.ContainerInstance.ContainerInstanceArn; a != b {
		t.Errorf("the container instance changes from %s to %s", a, b)
	}
	out, err := w.ListContainerInstances(ctx, &sdk.ListContainerInstancesInput{Cluster: aws.String("other")})
	if err != nil || len(out.ContainerInstanceArns) != 0 {
		t.Errorf("container instances of the other cluster: %v, %v", out.ContainerInstanceArns, err)
	}
}

//go:embed testdata/everything.json
var everything string

// Floci #2443, #2445, #2446: whatever is sent comes back. The file sets every member of the vocabulary that
// can stand beside the others.
func TestWhateverIsRegisteredIsDescribed(t *testing.T) {
	now := start
	w := newWorld(t, func() time.Time { return now })
	if answer := w.call(t, now, "RegisterTaskDefinition", everything); !strings.HasPrefix(answer, "{") {
		t.Fatal(answer)
	}
	var sent map[string]any
	var got struct{ TaskDefinition map[string]any }
	if err := json.Unmarshal([]byte(everything), &sent); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(w.call(t, now, "DescribeTaskDefinition", `{"taskDefinition": "everything"}`)), &got); err != nil {
		t.Fatal(err)
	}
	echoed(t, "", sent, got.TaskDefinition)

	container := sent["containerDefinitions"].([]any)[0].(map[string]any)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[types.ContainerDefinition]()) {
		name := strings.ToLower(f.Name[:1]) + f.Name[1:]
		// Windows and FireLens stand beside nothing else here.
		if _, ok := container[name]; f.IsExported() && !ok && name != "credentialSpecs" && name != "firelensConfiguration" {
			t.Errorf("testdata/everything.json does not set %s", name)
		}
	}
}

// echoed checks that got has all that sent has.
func echoed(t *testing.T, path string, sent, got any) {
	switch sent := sent.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is missing", path)
			return
		}
		for key, v := range sent {
			echoed(t, path+"."+key, v, got[key])
		}
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(sent) {
			t.Errorf("%s has %d of %d elements", path, len(got), len(sent))
			return
		}
		for i, v := range sent {
			echoed(t, fmt.Sprintf("%s[%d]", path, i), v, got[i])
		}
	default:
		if sent != got {
			t.Errorf("%s was sent as %v and comes back as %v", path, sent, got)
		}
	}
}
