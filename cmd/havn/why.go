package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"havn/agent/containerd"
	"havn/agent/logging/jsonfile"
	"havn/cause"
	"havn/lifecycle"
	"havn/state"
	"havn/state/etcd"
	"havn/story"
)

// Of what failed lately, and of what a container wrote last, so much is printed.
const (
	maxLately    = 20
	maxLastWords = 5       // lines
	maxLastBytes = 4 << 10 // of them together
)

func whyCommand(open opener) *cobra.Command {
	var cluster string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why [TASK|SERVICE...]",
		Short: "Tell why a task did not run, why a service is not steady, or what failed lately",
		Long: `Tell what became of a task, in order, and what it comes down to. TASK is an id, the beginning of one, or an
ARN. A task is described for an hour after it stopped; its story is kept for a week (havn up --keep-stories).

Tell what keeps a service from being steady. SERVICE is a name, CLUSTER/NAME, or an ARN.

Without either: what found no place lately, and what failed. On the machine that serves the API.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			store, done, err := h.readState(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			asked := whyAsked{home: h, tasks: args, cluster: cluster, now: time.Now()}
			var answer whyAnswer
			store.View(func(r *state.Reader) { answer, err = asked.answer(r) })
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
			}
			return answer.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "of this cluster only; not with TASK")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// readState follows the running server's state, and only reads. The records are for people and tools to read
// (architecture.md, "State"); the AWS API has no words for much of what a story needs. RFD 0012.
func (h home) readState(ctx context.Context) (_ *state.Store, done func(), err error) {
	info, err := h.server()
	if err != nil {
		return nil, nil, err
	}
	endpoints := []string{"unix://" + filepath.Join(h.runtimeDir(), "etcd.sock")}
	for _, flag := range info.Flags {
		if list, ok := strings.CutPrefix(flag, "--etcd="); ok {
			endpoints = strings.Split(strings.Trim(list, "[]"), ",")
		}
	}
	dialing, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	log, err := etcd.Dial(dialing, etcd.DialConfig{Endpoints: endpoints})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the state: %w", err)
	}
	following, stop := context.WithCancel(ctx)
	done = func() { stop(); log.Close() } //nolint:errcheck // nothing was written
	store, err := state.Open(following, log)
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("cannot read the state: %w", err)
	}
	return store, done, nil
}

// whyAsked is what somebody wants to know.
type whyAsked struct {
	home    home
	tasks   []string
	cluster string
	now     time.Time
}

// whyAnswer is what `havn why --json` prints. Refusals are told where no task was named.
type whyAnswer struct {
	Stories  []whyStory           `json:"stories"`
	Services []story.ServiceStory `json:"services,omitempty"`
	Refusals []whyRefusal         `json:"refusals,omitempty"`

	lately bool
}

type whyStory struct {
	Task       string    `json:"task"`
	Cluster    string    `json:"cluster"`
	Definition string    `json:"definition"`
	Status     string    `json:"status"`
	StoppedAt  time.Time `json:"stoppedAt,omitzero"`
	Steps      []whyStep `json:"steps"`
	Code       string    `json:"code,omitempty"`
	Because    string    `json:"because"`
	Try        string    `json:"try,omitempty"`
	Container  string    `json:"container,omitempty"`
	LastWords  []string  `json:"lastWords,omitempty"`

	story state.Story
}

type whyStep struct {
	What      string    `json:"what"`
	At        time.Time `json:"at,omitzero"`
	Seconds   float64   `json:"seconds,omitempty"` // that it took
	Container string    `json:"container,omitempty"`
	Text      string    `json:"text"`
}

type whyRefusal struct {
	Cluster    string         `json:"cluster"`
	Definition string         `json:"definition"`
	FirstAt    time.Time      `json:"firstAt"`
	LastAt     time.Time      `json:"lastAt"`
	Times      int            `json:"times"`
	By         string         `json:"by,omitempty"`
	StartedBy  string         `json:"startedBy,omitempty"`
	Asked      int            `json:"asked"`
	Placed     int            `json:"placed"`
	Reasons    map[string]int `json:"reasons"` // how many container instances said so
	Detail     string         `json:"detail"`
	Code       string         `json:"code"`
	Try        string         `json:"try"`

	refusal state.Refusal
}

func (a whyAsked) answer(r *state.Reader) (whyAnswer, error) {
	answer := whyAnswer{Stories: []whyStory{}}
	for _, ref := range a.tasks {
		if service, ok, err := a.findService(r, ref); err != nil {
			return answer, err
		} else if ok {
			answer.Services = append(answer.Services, a.tellService(r, service))
			continue
		}
		if a.cluster != "" {
			return answer, errors.New("--cluster is for what failed lately, and for services; a task's id says which it is")
		}
		s, err := a.find(r, ref)
		if err != nil {
			return answer, err
		}
		answer.Stories = append(answer.Stories, a.told(s))
	}
	if len(a.tasks) == 0 {
		answer.lately = true
		return answer, a.answerLately(r, &answer)
	}
	return answer, nil
}

// find tells the story of a task that is there, or finds the one that was kept.
func (a whyAsked) find(r *state.Reader, ref string) (state.Story, error) {
	prefix := lastPart(ref)
	found := map[string]func() state.Story{}
	for s := range state.Stories.All(r) {
		if strings.HasPrefix(lastPart(s.TaskARN), prefix) {
			found[s.TaskARN] = func() state.Story { return s }
		}
	}
	for t := range state.Tasks.All(r) {
		if strings.HasPrefix(lastPart(t.ARN), prefix) {
			found[t.ARN] = func() state.Story { return a.tell(r, t) }
		}
	}
	switch {
	case prefix == "" || len(found) == 0:
		return state.Story{}, fmt.Errorf("nothing is known of a task or a service %s; see: havn ps --all, or havn why without a task", ref)
	case len(found) > 1:
		return state.Story{}, fmt.Errorf("%d tasks begin with %s; give more of the id", len(found), prefix)
	}
	for _, tell := range found {
		return tell(), nil
	}
	return state.Story{}, nil
}

func (a whyAsked) tell(r *state.Reader, t state.Task) state.Story {
	d, _ := state.TaskDefinitions.Get(r, t.DefinitionARN)
	n, _ := state.Nodes.Get(r, t.NodeID)
	return story.Tell(story.Facts{Task: t, Definition: d, Node: n, Now: a.now})
}

// nothingFailed are the causes of tasks of which nothing went wrong.
var nothingFailed = []cause.Code{"", cause.Finished, cause.StoppedByUser, cause.StoppedByService}

// answerLately collects what found no place and what failed, the latest first.
func (a whyAsked) answerLately(r *state.Reader, answer *whyAnswer) error {
	in := func(clusterARN string) bool {
		return a.cluster == "" || a.cluster == clusterARN || a.cluster == lastPart(clusterARN)
	}
	for one := range state.Refusals.All(r) {
		if in(one.ClusterARN) {
			answer.Refusals = append(answer.Refusals, refusalRow(one))
		}
	}
	var failed []state.Story
	keep := func(s state.Story) {
		if in(s.ClusterARN) && !slices.Contains(nothingFailed, cause.Code(s.Code)) {
			failed = append(failed, s)
		}
	}
	for s := range state.Stories.All(r) {
		keep(s)
	}
	for t := range state.Tasks.All(r) {
		if t.Last == lifecycle.Stopped {
			keep(a.tell(r, t))
		}
	}
	slices.SortFunc(failed, func(x, y state.Story) int { return y.StoppedAt.Compare(x.StoppedAt) })
	slices.SortFunc(answer.Refusals, func(x, y whyRefusal) int {
		return cmp.Or(y.LastAt.Compare(x.LastAt), cmp.Compare(x.Definition, y.Definition))
	})
	answer.Refusals = answer.Refusals[:min(len(answer.Refusals), maxLately)]
	for _, s := range failed[:min(len(failed), maxLately)] {
		answer.Stories = append(answer.Stories, a.told(s))
	}
	return nil
}

func (a whyAsked) told(s state.Story) whyStory {
	row := whyStory{
		Task: lastPart(s.TaskARN), Cluster: lastPart(s.ClusterARN), Definition: lastPart(s.DefinitionARN), Status: s.Status,
		StoppedAt: s.StoppedAt, Code: s.Code, Because: s.Because, Try: s.Try, Container: s.Suspect, story: s, Steps: []whyStep{},
	}
	for _, step := range s.Steps {
		row.Steps = append(row.Steps, whyStep{What: step.What, At: step.At, Seconds: step.Took.Seconds(), Container: step.Container, Text: step.Text})
	}
	if s.Suspect != "" && len(a.tasks) > 0 {
		row.LastWords = lastWords(containerd.LogPath(a.home.dir, s.TaskARN, s.Suspect))
	}
	return row
}

// lastWords are the last lines of a container's log, where it is on this machine and still there.
func lastWords(file string) []string {
	log := jsonfile.NewReader(file, jsonfile.Position{})
	defer log.Close()
	last, err := lastOf(log, maxLastWords)
	if err != nil || len(last) == 0 {
		return nil
	}
	var text []byte
	for _, line := range last {
		text = append(text, line.Log...)
	}
	text = text[max(0, len(text)-maxLastBytes):]
	return strings.Split(strings.TrimRight(strings.Map(printable, string(text)), "\n"), "\n")
}

// printable takes from a program's output what a terminal could take for a command.
func printable(r rune) rune {
	if r == '\n' || r == '\t' || unicode.IsPrint(r) {
		return r
	}
	return '?'
}

func refusalRow(r state.Refusal) whyRefusal {
	code := story.RefusalCode(r)
	row := whyRefusal{
		Code: string(code), Try: code.Try(),
		Cluster: lastPart(r.ClusterARN), Definition: lastPart(r.DefinitionARN), FirstAt: r.FirstAt, LastAt: r.LastAt, Times: r.Times,
		By: r.By, StartedBy: r.StartedBy, Asked: r.Asked, Placed: r.Placed, Detail: r.Detail, Reasons: map[string]int{}, refusal: r,
	}
	for _, one := range r.Reasons {
		row.Reasons[one.Reason] = one.Instances
	}
	return row
}

func (a whyAnswer) print(w io.Writer) error {
	if a.lately {
		return a.printLately(w)
	}
	for n, s := range a.Services {
		if n > 0 {
			fmt.Fprintln(w)
		}
		if err := story.PrintService(w, s, time.Local); err != nil {
			return err
		}
	}
	for n, s := range a.Stories {
		if n+len(a.Services) > 0 {
			fmt.Fprintln(w)
		}
		if err := story.Print(w, s.story, time.Local); err != nil {
			return err
		}
		if len(s.LastWords) > 0 {
			fmt.Fprintf(w, "\nThe last that container %s wrote:\n  %s\n", s.Container, strings.Join(s.LastWords, "\n  "))
		}
	}
	return nil
}

func (a whyAnswer) printLately(w io.Writer) error {
	if len(a.Refusals)+len(a.Stories) == 0 {
		_, err := fmt.Fprintln(w, "Nothing failed lately.")
		return err
	}
	for _, r := range a.Refusals {
		if err := story.PrintRefusal(w, r.refusal, time.Local); err != nil {
			return err
		}
	}
	for _, s := range a.Stories {
		_, err := fmt.Fprintf(w, "%s  task %s of %s in cluster %s\n  %s (%s)\n", s.StoppedAt.Local().Format(time.DateTime), s.Task, s.Definition, s.Cluster, s.Because, s.Code)
		if err != nil {
			return err
		}
	}
	return nil
}
