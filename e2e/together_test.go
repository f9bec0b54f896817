package e2e

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A container that ends at once ends its task while the others of the task are still being made. All of them go.
func TestContainerEndsWhileOthersAreMade(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	quick := box("a", "exit 7")
	quick.Memory = aws.Int32(6)
	containers := []types.ContainerDefinition{quick}
	for _, name := range []string{"b", "c", "d"} {
		slow := box(name, "exec sleep 1000")
		slow.Memory, slow.StopTimeout = aws.Int32(6), aws.Int32(2)
		containers = append(containers, slow)
	}
	h.define("together", containers...)
	for range 2 {
		out, err := h.RunTask(within(t), &ecs.RunTaskInput{TaskDefinition: aws.String("together"), Count: aws.Int32(8)})
		if err != nil || len(out.Failures) > 0 {
			t.Fatalf("RunTask: %v, %v", out, err)
		}
		for _, task := range out.Tasks {
			stopped := h.stopped(*task.TaskArn)
			if code := aws.ToInt32(stopped.Containers[0].ExitCode); stopped.StopCode != types.TaskStopCodeEssentialContainerExited || code != 7 {
				t.Errorf("%s: %s, exit code %d, %s", *task.TaskArn, stopped.StopCode, code, aws.ToString(stopped.Containers[0].Reason))
			}
		}
	}
}
