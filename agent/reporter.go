package agent

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/lifecycle"
)

// A report that the server does not answer is sent again after a delay that grows from the first to the
// last, and at once when a session begins: a server that is back is told without delay.
const (
	firstReportRetry = 50 * time.Millisecond
	lastReportRetry  = 30 * time.Second
	reportTimeout    = 30 * time.Second
)

// submit sends a report until the server has accepted it or said that it never will. Core keeps reports
// on one task in order by giving out one at a time.
func (s *session) submit(ctx context.Context, change StateChange) {
	in := change.Input()
	for delay := firstReportRetry; ; delay = min(2*delay, lastReportRetry) {
		connected := s.connected.wait()
		attempt, cancel := context.WithTimeout(ctx, reportTimeout)
		_, err := s.api.SubmitTaskStateChange(attempt, in)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		switch code(err) {
		case "InvalidParameterException", "ClusterNotFoundException":
			// What it is about is gone for good. To go on would hold up the reports on other tasks.
			s.log.Warn("the server drops a report", "task", change.Task, "status", change.Report.Status, "error", err)
			return
		}
		s.log.Warn("cannot report, and will again", "task", change.Task, "status", change.Report.Status, "error", err, "again", delay)
		select {
		case <-connected:
			delay = firstReportRetry
		case <-time.After(delay):
		case <-ctx.Done():
			return
		}
	}
}

// Input is the request that submits the report.
func (s StateChange) Input() *ecs.SubmitTaskStateChangeInput {
	r := s.Report
	in := &ecs.SubmitTaskStateChangeInput{
		Cluster:            aws.String(s.Cluster),
		Task:               aws.String(s.Task),
		Status:             aws.String(string(r.Status)),
		Reason:             aws.String(r.Reason),
		PullStartedAt:      timeOrNil(r.PullStartedAt),
		PullStoppedAt:      timeOrNil(r.PullStoppedAt),
		ExecutionStoppedAt: timeOrNil(r.ExecutionStoppedAt),
	}
	for _, c := range r.Containers {
		in.Containers = append(in.Containers, containerChange(c))
	}
	return in
}

func containerChange(c lifecycle.ContainerReport) types.ContainerStateChange {
	out := types.ContainerStateChange{ContainerName: aws.String(c.Name), Status: aws.String(string(c.Status)),
		Reason: stringOrNil(c.Reason), RuntimeId: stringOrNil(c.RuntimeID), ImageDigest: stringOrNil(c.Digest)}
	if c.Exited {
		out.ExitCode = aws.Int32(int32(c.ExitCode))
	}
	for _, b := range c.Bindings {
		binding := types.NetworkBinding{BindIP: stringOrNil(b.BindIP), Protocol: types.TransportProtocol(b.Protocol),
			ContainerPortRange: stringOrNil(b.ContainerPortRange), HostPortRange: stringOrNil(b.HostPortRange)}
		if b.ContainerPortRange == "" {
			binding.ContainerPort, binding.HostPort = aws.Int32(int32(b.ContainerPort)), aws.Int32(int32(b.HostPort))
		}
		out.NetworkBindings = append(out.NetworkBindings, binding)
	}
	return out
}

func stringOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
