package story

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"havn/state"
)

// Print writes a story for a person, with times of the given location.
func Print(w io.Writer, s state.Story, loc *time.Location) error {
	head := s.Status
	if !s.StoppedAt.IsZero() {
		head += " since " + s.StoppedAt.In(loc).Format(time.DateTime)
	}
	if _, err := fmt.Fprintf(w, "Task %s of %s in cluster %s: %s\n\n", last(s.TaskARN), last(s.DefinitionARN), last(s.ClusterARN), head); err != nil {
		return err
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, step := range s.Steps {
		at, took, what := "?", "", step.What
		if !step.At.IsZero() {
			at = step.At.In(loc).Format("15:04:05.000")
		}
		if step.Took > 0 {
			took = "after " + span(step.Took)
		}
		if step.Container != "" {
			what += " " + step.Container
		}
		fmt.Fprintf(columns, "  %s\t%s\t%s\t%s\n", at, took, what, oneLine(step.Text))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s", Ending(s))
	return err
}

// Ending is the last lines of a story: what it comes down to, and what to do.
func Ending(s state.Story) string {
	if s.Code == "" {
		return "So far: " + s.Because + ".\n"
	}
	return fmt.Sprintf("Because: %s (%s).\nTry: %s\n", strings.TrimSuffix(s.Because, "."), s.Code, s.Try)
}

// PrintRefusal writes why tasks of a definition found no place.
func PrintRefusal(w io.Writer, r state.Refusal, loc *time.Location) error {
	times := "once"
	if r.Times > 1 {
		times = fmt.Sprintf("%d times since %s", r.Times, r.FirstAt.In(loc).Format(time.DateTime))
	}
	asked := fmt.Sprintf("%d of %d asked for were placed", r.Placed, r.Asked)
	if r.By != "" {
		asked += ", by " + r.By
	}
	if r.StartedBy != "" {
		asked += ", startedBy " + r.StartedBy
	}
	var reasons []string
	for _, one := range r.Reasons {
		text := one.Reason
		if one.Instances > 0 {
			text = fmt.Sprintf("%s (%d)", one.Reason, one.Instances)
		}
		reasons = append(reasons, text)
	}
	_, err := fmt.Fprintf(w, "%s  no place for %s in cluster %s, %s: %s\n  %s: %s\n", r.LastAt.In(loc).Format(time.DateTime),
		last(r.DefinitionARN), last(r.ClusterARN), times, asked, strings.Join(reasons, ", "), r.Detail)
	return err
}

// span is a duration with as much precision as a person wants.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
