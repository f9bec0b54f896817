package state

import "time"

// LogGroup is a group of log streams of CloudWatch Logs. What it holds is not state: package logstore has the events,
// under the group's ID. Writer: api/logs, which deletes it too; expire then forgets its events, and control's reaper
// its streams.
type LogGroup struct {
	Name string
	// ID is never used again, so a group that is made again under its old name begins empty.
	ID string
	// RetentionDays is how long events are kept; zero is for ever.
	RetentionDays int32             `json:",omitempty"`
	Protected     bool              `json:",omitempty"` // DeleteLogGroup is refused
	Tags          map[string]string `json:",omitempty"`
	CreatedAt     time.Time
}

// Floor is the earliest time of an event that the group keeps.
func (g LogGroup) Floor(now time.Time) time.Time {
	if g.RetentionDays == 0 {
		return time.UnixMilli(0)
	}
	return now.Add(-time.Duration(g.RetentionDays) * 24 * time.Hour)
}

// LogStream is a stream of a log group: what one container writes, mostly. Writer: api/logs, which deletes it too;
// control's reaper deletes those of a group that is gone.
type LogStream struct {
	Name      string
	ID        string
	GroupID   string
	CreatedAt time.Time
}

// LogStreamKey is the key of a stream: the streams of a group stand together, in the order of their names.
func LogStreamKey(groupID, name string) string { return groupID + "|" + name }
