package ecs_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
)

// BenchmarkRunTask is a task that is run and stopped, over HTTP, with the log in memory.
func BenchmarkRunTask(b *testing.B) {
	w := newTaskWorld(b)
	for b.Loop() {
		arn := *w.run(b, &sdk.RunTaskInput{}).Tasks[0].TaskArn
		if _, err := w.SubmitTaskStateChange(ctx, &sdk.SubmitTaskStateChangeInput{Task: &arn, Status: aws.String("STOPPED")}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDescribeTasks is one task described, over HTTP.
func BenchmarkDescribeTasks(b *testing.B) {
	w := newTaskWorld(b)
	arn := *w.run(b, &sdk.RunTaskInput{}).Tasks[0].TaskArn
	for b.Loop() {
		w.describe(b, arn)
	}
}
