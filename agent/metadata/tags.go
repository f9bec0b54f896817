package metadata

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/smithy-go"
)

// addTags asks the server for the tags of a task and of its container instance. What cannot be had is told in the
// document, which is then without it.
func (s *Server) addTags(ctx context.Context, d *Task, cluster string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	if d.TaskTags, err = s.tags(ctx, d.TaskARN); err != nil {
		d.Errors = append(d.Errors, taskError("TaskTags", d.TaskARN, err))
	}
	instance, err := s.instance(ctx, cluster, d.TaskARN)
	if err == nil {
		d.ContainerInstanceTags, err = s.tags(ctx, instance)
	}
	if err != nil {
		d.Errors = append(d.Errors, taskError("ContainerInstanceTags", instance, err))
	}
}

func (s *Server) tags(ctx context.Context, arn string) (map[string]string, error) {
	out, err := s.API.ListTagsForResource(ctx, &ecs.ListTagsForResourceInput{ResourceArn: aws.String(arn)})
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, t := range out.Tags {
		all[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return all, nil
}

// instance is the container instance that a task is on: a node can be one of several clusters.
func (s *Server) instance(ctx context.Context, cluster, task string) (string, error) {
	out, err := s.API.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String(cluster), Tasks: []string{task}})
	if err != nil {
		return "", err
	}
	if len(out.Tasks) != 1 {
		return "", fmt.Errorf("the server does not know the task %s", task)
	}
	return aws.ToString(out.Tasks[0].ContainerInstanceArn), nil
}

func taskError(field, arn string, err error) TaskError {
	f := failureOf(err)
	return TaskError{ErrorField: field, ErrorCode: f.code, ErrorMessage: f.message, StatusCode: f.status, RequestID: f.requestID, ResourceARN: arn}
}

// callFailure is why a call of the server's API failed.
type callFailure struct {
	code, message, requestID string
	status                   int
}

func failureOf(err error) callFailure {
	f := callFailure{code: "ServerException", message: err.Error(), status: http.StatusInternalServerError}
	var coded smithy.APIError
	if errors.As(err, &coded) {
		f.code, f.message = coded.ErrorCode(), coded.ErrorMessage()
	}
	var answered *awshttp.ResponseError
	if errors.As(err, &answered) && answered.Response != nil {
		f.requestID, f.status = answered.ServiceRequestID(), answered.HTTPStatusCode()
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		f = callFailure{code: "RequestCanceled", message: "the server did not answer in time", status: http.StatusGatewayTimeout}
	}
	return f
}
