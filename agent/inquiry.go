package agent

import (
	"context"
	"fmt"
)

// Inquiry lets others on the node ask what the agent knows of its tasks. A question is answered between two turns of
// the loop, so that the answer is of one moment.
type Inquiry struct{ questions chan func(*Core) }

// NewInquiry returns an inquiry for Config. Who asks waits until the agent runs.
func NewInquiry() *Inquiry { return &Inquiry{make(chan func(*Core))} }

// Task returns the record of a task. It must not be changed. The error is that of ctx.
func (q *Inquiry) Task(ctx context.Context, arn string) (r Record, known bool, err error) {
	err = q.ask(ctx, func(c *Core) { r, known = c.Task(arn) })
	return r, known, err
}

// Tasks returns the records of all tasks, by ARN.
func (q *Inquiry) Tasks(ctx context.Context) (all []Record, err error) {
	err = q.ask(ctx, func(c *Core) {
		for _, arn := range c.ARNs() {
			r, _ := c.Task(arn)
			all = append(all, r)
		}
	})
	return all, err
}

func (q *Inquiry) ask(ctx context.Context, question func(*Core)) error {
	answered := make(chan struct{})
	select {
	case q.questions <- func(c *Core) { question(c); close(answered) }:
		<-answered // the loop has it, and does nothing else before
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent does not answer: %w", ctx.Err())
	}
}
