package state

import (
	"slices"
	"strings"
	"time"
)

// What is remembered of why something did not run, after the task is forgotten or where there never was one. Both
// tables are bounded: in the size of a record, in their number, and by control's reaper in time.

// The limits of what is remembered.
const (
	MaxStories  = 10_000 // the oldest goes first
	MaxSteps    = 64     // of a story: a task has at most ten containers
	MaxStepText = 1500   // bytes; a reason in full and what goes around it
	MaxRefusals = 1_000  // the one that is oldest when another is made goes first
)

// Stories are told of tasks that are forgotten, in the order in which those stopped.
var Stories = NewTable("story", 1, func(s Story) string { return storyKey(s) },
	Index[Story]{"task", func(s Story) []string { return []string{s.TaskARN} }})

// storyKey sorts stories by time.
func storyKey(s Story) string {
	return s.StoppedAt.UTC().Format("2006-01-02T15:04:05.000000000Z") + "/" + s.TaskARN[strings.LastIndexByte(s.TaskARN, '/')+1:]
}

// Refusals are of the tasks that found no place lately: one record for each task definition in each cluster.
var Refusals = NewTable("refusal", 1, func(r Refusal) string { return r.ClusterARN + "|" + r.DefinitionARN },
	Index[Refusal]{"cluster", func(r Refusal) []string { return []string{r.ClusterARN} }})

// Story is what became of a task, and why. Package story tells it. Writer: control's reaper, in the transaction that
// forgets the task; it deletes it too.
type Story struct {
	TaskARN       string
	ClusterARN    string
	DefinitionARN string
	Status        string    // the task's last
	StoppedAt     time.Time `json:",omitzero"` // zero for one that has not stopped, which is told but never stored
	Steps         []Step
	Code          string `json:",omitempty"` // of the cause: one of package cause
	Because       string // what it comes down to, in one line
	Try           string `json:",omitempty"` // what to do about it
	Suspect       string `json:",omitempty"` // the container that the cause is about
}

// Step is one thing that happened to a task.
type Step struct {
	What      string        // asked, placed, pulled, started, health, exited, failed, stopping, stopped
	At        time.Time     `json:",omitzero"` // zero if nobody knows
	Took      time.Duration `json:",omitempty"`
	Container string        `json:",omitempty"`
	Text      string
}

// Refusal is that tasks of a definition found no place in a cluster. Asking again and again adds to Times; the rest is
// of the last time. Writer: placement, in the transaction of whoever asks; control's reaper deletes it.
type Refusal struct {
	ClusterARN    string
	DefinitionARN string
	FirstAt       time.Time
	LastAt        time.Time
	Times         int

	By        string `json:",omitempty"` // who asked: the ARN of a principal
	StartedBy string `json:",omitempty"`
	Asked     int    // tasks
	Placed    int    // of them
	Reasons   []RefusalReason
	Detail    string // the reasons in words
}

// RefusalReason is how many container instances said no for a reason, in the words of RunTask's failures.
type RefusalReason struct {
	Reason    string
	Instances int
}

// AddTo puts the story in its table, in the place of the oldest ones where there are too many.
func (s Story) AddTo(tx *Tx) {
	over := Stories.Count(tx) + 1 - MaxStories
	for old := range Stories.All(tx) {
		if over--; over < 0 {
			break
		}
		Stories.Delete(tx, storyKey(old))
	}
	s.Steps = slices.Clone(s.Steps[:min(len(s.Steps), MaxSteps)])
	for i := range s.Steps {
		if text := s.Steps[i].Text; len(text) > MaxStepText {
			s.Steps[i].Text = strings.ToValidUTF8(text[:MaxStepText], "")
		}
	}
	Stories.Put(tx, s)
}
