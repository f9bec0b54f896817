package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// protectionAnswer is one of the three, with the id of the call if there was one. Amazon ECS developer guide, "Amazon
// ECS task scale-in protection endpoint".
type protectionAnswer struct {
	RequestID  string             `json:"requestID,omitempty"`
	Protection *protection        `json:"protection,omitempty"`
	Failure    *protectionFailure `json:"failure,omitempty"`
	Error      *protectionError   `json:"error,omitempty"`
}

type protection struct {
	ExpirationDate    *time.Time
	ProtectionEnabled bool
	TaskArn           string //nolint:staticcheck // the wire's name
}

type protectionFailure struct {
	Arn            string
	Detail, Reason *string
}

type protectionError struct{ Arn, Code, Message string }

// protectionWish is the body of a PUT.
type protectionWish struct {
	ProtectionEnabled *bool
	ExpiresInMinutes  *int64
}

func decodeWish(body io.Reader) (wish protectionWish, err error) {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err = d.Decode(&wish)
	return wish, err
}

// protection shows, and sets, whether a service may stop the task when it needs fewer. ECS has the call signed by the
// task's role; until there are roles, the node signs it, for the caller's own task and nothing else.
func (s *Server) protection(w http.ResponseWriter, r *http.Request, q request) {
	refuse := func(status int, arn, code, message string) {
		answer(w, status, protectionAnswer{Error: &protectionError{arn, code, message}})
	}
	var wish protectionWish
	switch r.Method {
	case http.MethodGet:
	case http.MethodPut:
		var err error
		if wish, err = decodeWish(r.Body); err != nil {
			refuse(http.StatusBadRequest, "", "InvalidParameterException", "UpdateTaskProtection: failed to decode request")
			return
		}
	default:
		w.Header().Set("Allow", "GET, PUT")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	record, _, err := s.caller(r, q.id)
	switch {
	case errors.Is(err, errUnknown):
		refuse(http.StatusNotFound, "", "ResourceNotFoundException", "Failed to find a task for the request")
		return
	case err != nil:
		refuse(http.StatusInternalServerError, "", "ServerException", "Failed to find a task for the request")
		return
	case r.Method == http.MethodPut && wish.ProtectionEnabled == nil:
		refuse(http.StatusBadRequest, record.Task.ARN, "InvalidParameterException", "Invalid request: does not contain 'ProtectionEnabled' field")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	tasks, failures, err := s.callProtection(ctx, record.Task.ClusterARN, record.Task.ARN, wish)
	switch {
	case err != nil:
		f := failureOf(err)
		if f.status == http.StatusGatewayTimeout {
			f.message = "Timed out calling ECS Task Protection API"
		}
		answer(w, f.status, protectionAnswer{RequestID: f.requestID, Error: &protectionError{record.Task.ARN, f.code, f.message}})
	case len(failures) == 1:
		answer(w, http.StatusOK, protectionAnswer{Failure: &protectionFailure{aws.ToString(failures[0].Arn), failures[0].Detail, failures[0].Reason}})
	case len(tasks) == 1 && len(failures) == 0:
		t := tasks[0]
		answer(w, http.StatusOK, protectionAnswer{Protection: &protection{t.ExpirationDate, t.ProtectionEnabled, aws.ToString(t.TaskArn)}})
	default:
		refuse(http.StatusInternalServerError, record.Task.ARN, "ServerException", "Unexpected error occurred")
	}
}

// callProtection asks, or wishes if there is a wish.
func (s *Server) callProtection(ctx context.Context, cluster, task string, wish protectionWish) ([]types.ProtectedTask, []types.Failure, error) {
	if wish.ProtectionEnabled == nil {
		out, err := s.API.GetTaskProtection(ctx, &ecs.GetTaskProtectionInput{Cluster: aws.String(cluster), Tasks: []string{task}})
		if err != nil {
			return nil, nil, err
		}
		return out.ProtectedTasks, out.Failures, nil
	}
	in := &ecs.UpdateTaskProtectionInput{Cluster: aws.String(cluster), Tasks: []string{task}, ProtectionEnabled: *wish.ProtectionEnabled}
	if wish.ExpiresInMinutes != nil {
		// What does not fit is for the server to refuse, and it refuses what is closest to it.
		in.ExpiresInMinutes = aws.Int32(int32(min(max(*wish.ExpiresInMinutes, -1), 1<<31-1)))
	}
	out, err := s.API.UpdateTaskProtection(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	return out.ProtectedTasks, out.Failures, nil
}
