package ecs

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
	"havn/state"
	"havn/wire"
)

// How long a task is protected, in minutes, and of how many tasks one request can be. Amazon ECS API Reference,
// "UpdateTaskProtection" and "GetTaskProtection".
const (
	defaultProtection = 2 * 60
	maxProtection     = 48 * 60
	maxProtected      = 10
)

// reasonNotValid is the failure of a task that can have no protection: it belongs to no service, or has ended.
const reasonNotValid = "TASK_NOT_VALID"

// GetTaskProtection tells which tasks of services are protected: those that are named, else all of the cluster's.
func (s *Server) GetTaskProtection(ctx context.Context, in *ecs.GetTaskProtectionInput) (*ecs.GetTaskProtectionOutput, error) {
	if len(in.Tasks) > maxPage {
		return nil, invalid("%s can have at most %d items.", "Tasks", maxPage)
	}
	out := &ecs.GetTaskProtectionOutput{ProtectedTasks: []types.ProtectedTask{}, Failures: []types.Failure{}}
	now := wire.Now(ctx)
	return out, s.view(func(r *state.Reader) error {
		c, err := s.cluster(r, in.Cluster)
		if err != nil {
			return err
		}
		if len(in.Tasks) == 0 {
			for t := range state.Tasks.By(r, "unstopped in cluster", c.ARN) {
				if protectable(t) {
					out.ProtectedTasks = append(out.ProtectedTasks, describeProtection(t, now))
				}
			}
			return nil
		}
		out.Failures, err = s.eachProtectable(r, c, in.Tasks, func(t state.Task) {
			out.ProtectedTasks = append(out.ProtectedTasks, describeProtection(t, now))
		})
		return err
	})
}

// UpdateTaskProtection protects tasks of services from being stopped when a service needs fewer, for a while, or ends
// that.
func (s *Server) UpdateTaskProtection(ctx context.Context, in *ecs.UpdateTaskProtectionInput) (*ecs.UpdateTaskProtectionOutput, error) {
	if err := atMost(maxProtected, len(in.Tasks), "Tasks"); err != nil {
		return nil, err
	}
	minutes := int32(defaultProtection)
	if in.ExpiresInMinutes != nil {
		minutes = *in.ExpiresInMinutes
	}
	if minutes < 1 || minutes > maxProtection {
		return nil, invalid("expiresInMinutes must be between 1 and %d.", maxProtection)
	}
	now := wire.Now(ctx)
	until := time.Time{}
	if in.ProtectionEnabled {
		until = now.Add(time.Duration(minutes) * time.Minute)
	}
	var out *ecs.UpdateTaskProtectionOutput
	err := s.Store.Update(ctx, func(tx *state.Tx) error {
		out = &ecs.UpdateTaskProtectionOutput{ProtectedTasks: []types.ProtectedTask{}}
		c, err := s.cluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		out.Failures, err = s.eachProtectable(tx, c, in.Tasks, func(t state.Task) {
			t.ProtectedUntil = until
			state.Tasks.Put(tx, t)
			out.ProtectedTasks = append(out.ProtectedTasks, describeProtection(t, now))
		})
		return err
	})
	return out, err
}

// eachProtectable calls do with each of the tasks that can be protected, and returns why the others cannot.
func (s *Server) eachProtectable(src state.Source, c state.Cluster, refs []string, do func(state.Task)) ([]types.Failure, error) {
	failures := []types.Failure{}
	for _, ref := range refs {
		arn, err := s.member(kindTask, c.Name, ref)
		if err != nil {
			return nil, err
		}
		t, ok := state.Tasks.Get(src, arn)
		switch {
		case !ok:
			failures = append(failures, missing(arn))
		case !protectable(t):
			failures = append(failures, types.Failure{Arn: ptr(arn), Reason: ptr(reasonNotValid)})
		default:
			do(t)
		}
	}
	return failures, nil
}

func protectable(t state.Task) bool {
	return t.ServiceARN != "" && t.Last != lifecycle.Stopped
}

func describeProtection(t state.Task, now time.Time) types.ProtectedTask {
	out := types.ProtectedTask{TaskArn: ptr(t.ARN)}
	if t.Protected(now) {
		out.ProtectionEnabled, out.ExpirationDate = true, &t.ProtectedUntil
	}
	return out
}
