package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// havnOf is one Havn of a site, for a test in Go.
type havnOf struct {
	t        *testing.T
	home     string
	listen   string
	endpoint string
	key      aws.Credentials
	*ecs.Client
}

func (s *site) start(t *testing.T, args ...string) *havnOf {
	t.Helper()
	return s.startAt(t, "127.0.0.1:"+freePort(), args...)
}

func (s *site) startAt(t *testing.T, listen string, args ...string) *havnOf {
	t.Helper()
	h := &havnOf{t: t, home: s.home(), listen: listen}
	h.endpoint = "http://" + h.listen
	h.up(args...)
	content, err := os.ReadFile(filepath.Join(h.home, "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	var key struct{ AccessKeyID, SecretAccessKey string }
	if err := json.Unmarshal(content, &key); err != nil {
		t.Fatal(err)
	}
	h.key = aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}
	h.Client = ecs.New(ecs.Options{
		BaseEndpoint: &h.endpoint, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.StaticCredentialsProvider{Value: h.key},
	})
	return h
}

func (h *havnOf) up(args ...string) {
	h.t.Helper()
	if err := havn(h.home, append([]string{"up", "--detach", "--listen", h.listen}, args...)...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *havnOf) load(archive string) {
	h.t.Helper()
	if err := havn(h.home, "image", "load", filepath.Join(archives, archive)); err != nil {
		h.t.Fatal(err)
	}
}

// within bounds a test's patience, not what is tested.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// define registers a definition with these containers.
func (h *havnOf) define(family string, containers ...types.ContainerDefinition) {
	h.t.Helper()
	_, err := h.RegisterTaskDefinition(within(h.t), &ecs.RegisterTaskDefinitionInput{Family: &family, ContainerDefinitions: containers})
	if err != nil {
		h.t.Fatal(err)
	}
}

// run starts one task, and returns its ARN.
func (h *havnOf) run(family string) string {
	h.t.Helper()
	out, err := h.RunTask(within(h.t), &ecs.RunTaskInput{TaskDefinition: &family})
	if err != nil {
		h.t.Fatal(err)
	}
	if len(out.Failures) > 0 {
		h.t.Fatalf("no place for %s: %s %s", family, aws.ToString(out.Failures[0].Reason), aws.ToString(out.Failures[0].Detail))
	}
	return *out.Tasks[0].TaskArn
}

// stopped waits until the task is STOPPED, and describes it.
func (h *havnOf) stopped(task string) types.Task {
	h.t.Helper()
	waiter := ecs.NewTasksStoppedWaiter(h, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second })
	out, err := waiter.WaitForOutput(within(h.t), &ecs.DescribeTasksInput{Tasks: []string{task}}, 3*time.Minute)
	if err != nil {
		h.t.Fatalf("%s does not stop: %v", task, err)
	}
	return out.Tasks[0]
}

func (h *havnOf) running(tasks ...string) []types.Task {
	h.t.Helper()
	waiter := ecs.NewTasksRunningWaiter(h, func(o *ecs.TasksRunningWaiterOptions) { o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second })
	out, err := waiter.WaitForOutput(within(h.t), &ecs.DescribeTasksInput{Tasks: tasks}, 3*time.Minute)
	if err != nil {
		h.t.Fatalf("%s do not run: %v", tasks, err)
	}
	return out.Tasks
}

// box is a container of busybox that runs a line of shell.
func box(name, line string) types.ContainerDefinition {
	return types.ContainerDefinition{
		Name: &name, Image: aws.String("havn/busybox"), Memory: aws.Int32(16), StopTimeout: aws.Int32(2),
		Command: []string{"sh", "-c", line},
	}
}
