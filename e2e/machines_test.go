package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// TestALoadBalancerReachesOtherMachines: the tasks of a service are on two other machines, where the load balancer finds them
// under the addresses that their agents have. When one is drained, its tasks go to the other, and no request is lost.
func TestALoadBalancerReachesOtherMachines(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("this test makes machines with ", tool, ", which is not installed")
		}
	}
	lan := newLAN(t) // first, so that it is there until the site is cleared
	s := newSite(t)
	h := s.startAt(t, lan.subnet+".1:"+freePort(), "--no-node", "--steady-after", "1s")
	if _, err := h.CreateCluster(within(t), &ecs.CreateClusterInput{ClusterName: aws.String("default")}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "credentials")
	profile := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", h.key.AccessKeyID, h.key.SecretAccessKey)
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	for number := 2; number <= 3; number++ {
		m := lan.newMachine(number, filepath.Join(s.dir, fmt.Sprint("n", number)))
		m.join(h, file)
		eventually(t, "the node is connected", func() bool { return connected(h.instances()) == number-1 })
		if err := havn(m.home, "image", "load", filepath.Join(archives, "origin.tar")); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(h.stopAll)
	b := h.balanced("far", 4)
	t.Cleanup(func() { // before the tasks are stopped, of which the service would start others
		if _, err := h.DeleteService(within(t), &ecs.DeleteServiceInput{Service: &b.name, Force: aws.Bool(true)}); err != nil {
			t.Error(err)
		}
		eventually(t, "the service is gone, and its tasks have stopped", func() bool {
			d, err := h.DescribeServices(within(t), &ecs.DescribeServicesInput{Services: []string{b.name}})
			return err == nil && len(d.Services) == 1 && aws.ToString(d.Services[0].Status) == "INACTIVE"
		})
	})
	tasks := func(instance string) int {
		list, err := h.ListTasks(within(t), &ecs.ListTasksInput{ContainerInstance: &instance, ServiceName: &b.name})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.TaskArns)
	}
	l := b.load(t)
	for instance := range h.instances() {
		if tasks(instance) != 2 {
			t.Errorf("%d of 4 tasks are on %s", tasks(instance), instance)
		}
	}
	for instance := range h.instances() {
		_, err := h.UpdateContainerInstancesState(within(t), &ecs.UpdateContainerInstancesStateInput{
			ContainerInstances: []string{instance}, Status: types.ContainerInstanceStatusDraining})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the drained machine has no task", func() bool { return tasks(instance) == 0 })
		b.steady()
		break
	}
	l.end(t)
}
