package agent

import (
	"context"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// housekeepEvery is how often the node's disk is looked at.
const housekeepEvery = time.Minute

// housekeep keeps the disk tidy until ctx ends. What it finds it tells the loop.
func (l *loop) housekeep(ctx context.Context, keeper Housekeeper) {
	tick := time.NewTicker(housekeepEvery)
	defer tick.Stop()
	was := false // full, when it was last told
	for {
		full, err := keeper.Housekeep(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			l.log.Warn("cannot keep the disk tidy", "error", err)
		}
		switch {
		case err != nil: // nobody knows
		case full && !was:
			l.log.Warn("the disk is full: what stopped tasks have left is discarded, and no new tasks are taken")
		case !full && was:
			l.log.Info("there is room on the disk again: new tasks are taken")
		}
		if err == nil {
			was = full
		}
		if full {
			l.post(ctx, func(time.Time) { l.core.MakeRoom() })
		}
		if err == nil {
			l.condition(conditionOf(full))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// conditionOf is what the server is told of the machine.
func conditionOf(full bool) protocol.Condition {
	c := protocol.Condition{Type: protocol.ContainerRuntime, Status: "OK"}
	if full {
		c.Status, c.Reason = "IMPAIRED", "the disk is full"
	}
	return c
}

// MakeRoom discards at once what is left of stopped tasks that the server knows to be stopped: their logs and folders.
func (c *Core) MakeRoom() {
	for _, arn := range c.stopped {
		if t := c.tasks[arn]; t.known.Status == lifecycle.Stopped {
			c.hurry(arn, t)
		}
	}
}
