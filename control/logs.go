package control

import (
	"time"

	"havn/state"
)

// reapedStreams is how many log streams one transaction forgets.
const reapedStreams = 500

// reapLogStreams forgets the streams of a log group that was deleted, of which there may be many.
func reapLogStreams() Controller {
	return Controller{
		Name: "reap log streams",
		Concerns: func(c state.Change) []string {
			if g, ok := gone[state.LogGroup](c); ok {
				return []string{g.ID}
			}
			if s, ok := c.New.(state.LogStream); ok {
				return []string{s.GroupID}
			}
			return nil
		},
		Reconcile: func(tx *state.Tx, key string, _ time.Time) (time.Duration, error) {
			for range state.LogGroups.By(tx, "id", key) {
				return 0, nil
			}
			n := 0
			for s := range state.LogStreams.By(tx, "group", key) {
				if n == reapedStreams {
					return time.Millisecond, nil
				}
				state.LogStreams.Delete(tx, state.LogStreamKey(s.GroupID, s.Name))
				n++
			}
			return 0, nil
		},
	}
}
