package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
)

const (
	deploymentARN = "arn:aws:ecs:us-east-1:000000000000:service-deployment/c/s/1"
	runID         = "ecs-http-1"
)

// opened is a state with one deployment that waits for one hook.
func opened(t *testing.T, url string, edit func(*state.ServiceDeployment)) *state.Store {
	t.Helper()
	store, err := state.Open(t.Context(), &state.Memory{}, state.Config{Synchronous: true})
	if err != nil {
		t.Fatal(err)
	}
	d := state.ServiceDeployment{
		ARN: deploymentARN, ServiceARN: "service", RevisionARN: "green", BlueARN: "blue", ProductionTraffic: 30, TestTraffic: 100,
		Status:        types.ServiceDeploymentStatusInProgress,
		Configuration: types.DeploymentConfiguration{LifecycleHooks: []types.DeploymentLifecycleHook{{HookTargetArn: aws.String(url)}}},
		HookDetails:   []string{`{"bucket":"b","turn":0}`},
		Hooks: []state.HookRun{{ID: runID, Stage: types.DeploymentLifecycleHookStageProductionTrafficShift,
			Status: types.DeploymentLifecycleHookStatusInProgress, CallAt: time.Unix(1, 0), EndsAt: time.Now().Add(time.Hour)}},
	}
	if edit != nil {
		edit(&d)
	}
	if err := store.Update(t.Context(), func(tx *state.Tx) error { state.ServiceDeployments.Put(tx, d); return nil }); err != nil {
		t.Fatal(err)
	}
	return store
}

func runOf(store *state.Store) (run state.HookRun) {
	store.View(func(r *state.Reader) {
		d, _ := state.ServiceDeployments.Get(r, deploymentARN)
		run = d.Hooks[0]
	})
	return run
}

// serve answers hooks one after the other, and sends what it was asked.
func serve(t *testing.T, answers ...string) (url string, asked <-chan string) {
	t.Helper()
	events := make(chan string, len(answers)+1)
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		events <- r.Method + " " + r.Header.Get("Content-Type") + " " + string(body)
		if n >= len(answers) {
			t.Error("called once too often")
			return
		}
		fmt.Fprint(w, answers[n])
		n++
	}))
	t.Cleanup(s.Close)
	return s.URL, events
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestAHookIsToldWhatECSTellsALambdaFunction(t *testing.T) {
	url, asked := serve(t, `{"hookStatus":"IN_PROGRESS","callBackDelay":60,"hookDetails":{"turn":1}}`, `{"hookStatus":"SUCCEEDED"}`)
	store := opened(t, url, nil)
	c := New(store, quiet())
	before := time.Now()
	c.Call(t.Context(), deploymentARN, runID)
	const event = `POST application/json {"executionId":"ecs-http-1","lifecycleStage":"PRODUCTION_TRAFFIC_SHIFT","resourceArn":"` + deploymentARN +
		`","executionDetails":{"serviceArn":"service","targetServiceRevisionArn":"green","testTrafficWeights":{},"productionTrafficWeights":{"blue":70,"green":30}},"hookDetails":{"bucket":"b","turn":%d}}`
	if got, want := <-asked, fmt.Sprintf(event, 0); got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	run := runOf(store)
	if run.Status != "IN_PROGRESS" || run.CallAt.Before(before.Add(time.Minute)) || run.CallAt.After(time.Now().Add(time.Minute)) {
		t.Errorf("after IN_PROGRESS: %+v", run)
	}
	c.Call(t.Context(), deploymentARN, runID)
	if got, want := <-asked, fmt.Sprintf(event, 1); got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	if run := runOf(store); run.Status != "SUCCEEDED" || run.Details != "" || !run.CallAt.IsZero() {
		t.Errorf("after SUCCEEDED: %+v", run)
	}
}

func TestWhatAnAnswerMeans(t *testing.T) {
	const url = "http://h"
	now := time.Unix(1000, 0)
	started := state.HookRun{Status: types.DeploymentLifecycleHookStatusInProgress}
	for body, want := range map[string]state.HookRun{
		`{"hookStatus":"SUCCEEDED"}`:                      {Status: "SUCCEEDED"},
		`{"hookStatus":"FAILED"}`:                         {Status: "FAILED", Reason: "Lifecycle hook target http://h returned FAILED status."},
		`{"hookStatus":"FAILED","reason":"too slow"}`:     {Status: "FAILED", Reason: "Lifecycle hook target http://h returned FAILED status. Reason: too slow"},
		`{"hookStatus":"IN_PROGRESS"}`:                    {Status: "IN_PROGRESS", CallAt: now.Add(30 * time.Second)},
		`{"hookStatus":"IN_PROGRESS","callBackDelay":-5}`: {Status: "IN_PROGRESS", CallAt: now.Add(time.Second)},
		`{"hookStatus":"IN_PROGRESS","hookDetails":null}`: {Status: "IN_PROGRESS", CallAt: now.Add(30 * time.Second)},
		`{"hookStatus":"DONE"}`:                           {Status: "FAILED", Reason: `ECS was unable to parse the response from http://h due to HookStatus must be SUCCEEDED, FAILED or IN_PROGRESS, and not "DONE"`},
		`{}`:                                              {Status: "FAILED", Reason: "ECS was unable to parse the response from http://h due to HookStatus must not be null"},
		`ok`:                                              {Status: "FAILED", Reason: `ECS was unable to parse the response from http://h due to its answer is not JSON: "ok"`},
	} {
		said, err := parse([]byte(body))
		if got := after(started, url, said, err, now); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
}

func TestNobodyThereIsAskedAFewTimes(t *testing.T) {
	run := state.HookRun{Status: types.DeploymentLifecycleHookStatusInProgress}
	now := time.Unix(1000, 0)
	for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		run = after(run, "http://h", answer{}, fmt.Errorf("%w: refused", errUnreachable), now)
		if run.Status != "IN_PROGRESS" || !run.CallAt.Equal(now.Add(wait)) {
			t.Fatalf("%+v, want a call after %v", run, wait)
		}
	}
	run = after(run, "http://h", answer{}, fmt.Errorf("%w: refused", errUnreachable), now)
	if run.Status != "FAILED" || run.Reason != "ECS was unable to invoke hook target http://h due to cannot be reached: refused" {
		t.Fatalf("%+v", run)
	}
}

func TestACallIsBounded(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for name, test := range map[string]struct {
		handler     http.HandlerFunc
		unreachable bool
		says        string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, false, "307"},
		"large":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(" ", maxAnswer+1)) }, false, "more than"},
		"not found":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, false, "404"},
		"unavailable": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, true, "503"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "{")
		}, true, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(test.handler)
			defer s.Close()
			_, err := call(t.Context(), newClient(), s.URL, []byte("{}"))
			if err == nil || errors.Is(err, errUnreachable) != test.unreachable || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want one that says %q, and unreachable %t", err, test.says, test.unreachable)
			}
		})
	}
}

func TestOnlyWhatADeploymentWaitsForIsCalled(t *testing.T) {
	url, _ := serve(t)
	for name, edit := range map[string]func(*state.ServiceDeployment){
		"ended":    func(d *state.ServiceDeployment) { d.Status = types.ServiceDeploymentStatusStopped },
		"answered": func(d *state.ServiceDeployment) { d.Hooks[0].Status = types.DeploymentLifecycleHookStatusSucceeded },
		"for a user": func(d *state.ServiceDeployment) {
			d.Hooks[0].Status = types.DeploymentLifecycleHookStatusAwaitingAction
		},
	} {
		c := New(opened(t, url, edit), quiet())
		if all, wake := c.due(time.Now(), nil); len(all) > 0 || !wake.IsZero() {
			t.Errorf("%s: due %v, at %v", name, all, wake)
		}
		c.Call(t.Context(), deploymentARN, runID)
	}
	later := time.Now().Add(time.Hour)
	c := New(opened(t, url, func(d *state.ServiceDeployment) { d.Hooks[0].CallAt = later }), quiet())
	if all, wake := c.due(time.Now(), nil); len(all) > 0 || !wake.Equal(later) {
		t.Errorf("due %v, at %v", all, wake)
	}
}

// TestRunCallsWhatIsStarted: what stands there at the start, and what a commit brings; and it ends with its context,
// whatever hangs.
func TestRunCallsWhatIsStarted(t *testing.T) {
	hang := make(chan struct{})
	asked := make(chan string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e event
		json.NewDecoder(r.Body).Decode(&e)
		select {
		case asked <- e.ExecutionID:
		case <-r.Context().Done():
			return
		}
		if e.ExecutionID == "ecs-http-2" {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		fmt.Fprint(w, `{"hookStatus":"SUCCEEDED"}`)
	}))
	defer s.Close()
	defer close(hang)
	store := opened(t, s.URL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- New(store, quiet()).Run(ctx) }()
	if id := <-asked; id != runID {
		t.Fatal(id)
	}
	for range store.Watch(t.Context(), 0) {
		if runOf(store).Status == "SUCCEEDED" {
			break
		}
	}
	err := store.Update(t.Context(), func(tx *state.Tx) error {
		d, _ := state.ServiceDeployments.Get(tx, deploymentARN)
		d.Hooks = append([]state.HookRun(nil), d.Hooks...)
		d.Hooks = append(d.Hooks, state.HookRun{ID: "ecs-http-2", Status: types.DeploymentLifecycleHookStatusInProgress, CallAt: time.Unix(1, 0)})
		state.ServiceDeployments.Put(tx, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if id := <-asked; id != "ecs-http-2" {
		t.Fatal(id)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	store.View(func(r *state.Reader) {
		if d, _ := state.ServiceDeployments.Get(r, deploymentARN); d.Hooks[1].Status != "IN_PROGRESS" {
			t.Errorf("a call that was cut short has ended its run: %+v", d.Hooks[1])
		}
	})
}
