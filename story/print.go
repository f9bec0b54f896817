package story

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"havn/cause"
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
	return fmt.Sprintf("Because: %s (%s).\nTry: %s\n", strings.TrimSuffix(oneLine(s.Because), "."), s.Code, s.Try)
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
	code := RefusalCode(r)
	_, err := fmt.Fprintf(w, "%s  no place for %s in cluster %s, %s: %s\n  %s: %s (%s)\n  Try: %s\n", r.LastAt.In(loc).Format(time.DateTime),
		last(r.DefinitionARN), last(r.ClusterARN), times, asked, strings.Join(reasons, ", "), oneLine(r.Detail), code, code.Try())
	return err
}

// RefusalCode is the cause of tasks finding no place: that there is none, if nothing is wrong with the nodes.
func RefusalCode(r state.Refusal) cause.Code {
	if c := cause.Of(r.Detail); c.Code == cause.DiskFull && len(r.Reasons) == 1 {
		return c.Code
	}
	return cause.NoRoom
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

// oneLine makes a line of a text, without what a terminal could take for a command: programs wrote some of it.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.Join(strings.Fields(text), " "))
}
