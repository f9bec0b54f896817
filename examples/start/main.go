// Command start runs a task definition on the Havn that the environment points at, with the stock AWS SDK
// and nothing of Havn's own, and prints the URL at which it answers. Run again, it finds its task.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

const startedBy = "make-up"

func main() {
	definition := flag.String("definition", "", "task definition file")
	havn := flag.String("havn", "havn", "how to call havn in the advice")
	flag.Parse()
	if err := start(context.Background(), *definition, *havn); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, file, havn string) error {
	sdk, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := ecs.NewFromConfig(sdk)
	task, err := running(ctx, client)
	if err != nil {
		return err
	}
	if task == "" {
		if task, err = run(ctx, client, file); err != nil {
			return err
		}
	}
	fmt.Println("waiting for the task to run")
	waiter := ecs.NewTasksRunningWaiter(client, func(o *ecs.TasksRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	described, err := waiter.WaitForOutput(ctx, &ecs.DescribeTasksInput{Tasks: []string{task}}, time.Minute)
	if err != nil {
		return fmt.Errorf("the task does not run; see: %s ps --all: %w", havn, err)
	}
	for _, c := range described.Tasks[0].Containers {
		for _, b := range c.NetworkBindings {
			url := fmt.Sprintf("http://127.0.0.1:%d", aws.ToInt32(b.HostPort))
			res, err := http.Get(url)
			if err != nil {
				return fmt.Errorf("the task runs but does not answer: %w", err)
			}
			res.Body.Close()
			fmt.Printf(`
The example answers at   %s
The AWS endpoint is      %s

Now type:
  export PATH="$(dirname "$(realpath %s)"):$PATH"
  eval "$(havn env)"
  aws ecs list-tasks
  aws ecs run-task --task-definition web --launch-type EC2 --count 2
  havn ps
  havn logs %s
`, url, os.Getenv("AWS_ENDPOINT_URL"), havn, task[len(task)-32:])
		}
	}
	return nil
}

// running finds the task of an earlier run.
func running(ctx context.Context, client *ecs.Client) (string, error) {
	list, err := client.ListTasks(ctx, &ecs.ListTasksInput{StartedBy: aws.String(startedBy)})
	if err != nil || len(list.TaskArns) == 0 {
		return "", err
	}
	return list.TaskArns[0], nil
}

func run(ctx context.Context, client *ecs.Client, file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var in ecs.RegisterTaskDefinitionInput
	if err := json.Unmarshal(content, &in); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", file, err)
	}
	registered, err := client.RegisterTaskDefinition(ctx, &in)
	if err != nil {
		return "", err
	}
	out, err := client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: registered.TaskDefinition.TaskDefinitionArn, StartedBy: aws.String(startedBy)})
	if err != nil {
		return "", err
	}
	for _, f := range out.Failures {
		return "", fmt.Errorf("no place for the task: %s %s", aws.ToString(f.Reason), aws.ToString(f.Detail))
	}
	return *out.Tasks[0].TaskArn, nil
}
