package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"havn/agent/observe"
	"havn/lifecycle"
	"havn/protocol"
)

// machine is a Runtime in which taskA has two addresses on the bridge, and taskB none. Its counters go with time.
type machine struct{ begun time.Time }

func (machine) Facts(context.Context, *protocol.Task, string) (observe.Facts, error) {
	return observe.Facts{}, fs.ErrNotExist
}

func (m machine) Sample(_ context.Context, _ *protocol.Task, name string) (observe.Sample, error) {
	if name == "log" {
		return observe.Sample{}, fs.ErrNotExist
	}
	ran := time.Since(m.begun)
	return observe.Sample{At: time.Now(), CPU: observe.CPU{Total: uint64(ran) / 2}, SystemCPU: uint64(ran) * 2, Online: 2,
		Interfaces: map[string]observe.Interface{"eth0": {RxBytes: uint64(ran.Seconds() * 1000)}}}, nil
}

func (machine) Addresses(task *protocol.Task) []netip.Addr {
	if task.ARN == taskA {
		return []netip.Addr{netip.MustParseAddr("10.192.0.2"), netip.MustParseAddr("10.192.0.3")}
	}
	return nil
}

// cloud is a server that knows one tag, and refuses the rest.
type cloud struct{ API }

func (cloud) ListTagsForResource(_ context.Context, in *ecs.ListTagsForResourceInput, _ ...func(*ecs.Options)) (*ecs.ListTagsForResourceOutput, error) {
	if !strings.HasSuffix(*in.ResourceArn, "aa") {
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
	}
	return &ecs.ListTagsForResourceOutput{Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}}, nil
}

func (cloud) DescribeTasks(context.Context, *ecs.DescribeTasksInput, ...func(*ecs.Options)) (*ecs.DescribeTasksOutput, error) {
	return &ecs.DescribeTasksOutput{Tasks: []types.Task{{ContainerInstanceArn: aws.String("arn:instance")}}}, nil
}

func (cloud) GetTaskProtection(ctx context.Context, _ *ecs.GetTaskProtectionInput, _ ...func(*ecs.Options)) (*ecs.GetTaskProtectionOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (cloud) UpdateTaskProtection(_ context.Context, in *ecs.UpdateTaskProtectionInput, _ ...func(*ecs.Options)) (*ecs.UpdateTaskProtectionOutput, error) {
	until := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC).Add(time.Duration(aws.ToInt32(in.ExpiresInMinutes)) * time.Minute)
	return &ecs.UpdateTaskProtectionOutput{ProtectedTasks: []types.ProtectedTask{
		{TaskArn: aws.String(in.Tasks[0]), ProtectionEnabled: in.ProtectionEnabled, ExpirationDate: &until}}}, nil
}

type bench struct {
	*Server
	node node
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ids, err := OpenIDs(filepath.Join(t.TempDir(), "secret"), "01234567")
	if err != nil {
		t.Fatal(err)
	}
	n := newNode()
	return &bench{New(Config{IDs: ids, Tasks: n, Runtime: machine{time.Now()}, API: cloud{}, RuntimeDir: t.TempDir(),
		Log: slog.New(slog.DiscardHandler)}), n}
}

// run lets the containers of a task be created and started.
func (b *bench) run(arn string) {
	for _, name := range []string{"web", "log"} {
		for _, verb := range []lifecycle.Verb{lifecycle.Pull, lifecycle.Create, lifecycle.Start} {
			b.node.Observe(arn, lifecycle.Result{Effect: lifecycle.Effect{Verb: verb, Container: name}, RuntimeID: "id-of-" + name}, time.Now())
		}
	}
}

// ask sends a request that comes from an address on the bridge, or from the host's network if that is empty.
func (b *bench) ask(from, method, path, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1"
	v := &visit{place: place{door: onHost}}
	if from != "" {
		r.RemoteAddr, v.place = from+":1", place{onBridge, netip.MustParseAddr(from)}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	return w.Code, w.Body.String()
}

func TestOnlyWhereATaskIsCanItBeAskedAbout(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		from, task string
		want       int
	}{
		{"10.192.0.2", taskA, http.StatusOK},
		{"10.192.0.3", taskA, http.StatusOK}, // another container of it
		{"10.192.0.9", taskA, http.StatusNotFound},
		{"", taskA, http.StatusNotFound},
		{"", taskB, http.StatusOK},
		{"10.192.0.2", taskB, http.StatusNotFound},
	} {
		for _, path := range []string{"/v3/", "/v4/"} {
			if got, body := b.ask(c.from, "GET", path+b.IDs.Of(c.task, "web"), ""); got != c.want {
				t.Errorf("from %q about %s: %d %s", c.from, c.task, got, body)
			}
		}
	}
}

func TestWhatIsAnsweredToWhatIsWrong(t *testing.T) {
	b := newBench(t)
	id := b.IDs.Of(taskB, "web")
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v4/x", "", 404, `"V4 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: x"`},
		{"GET", "/v3/x/task", "", 404, `"V3 task metadata handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: x"`},
		{"GET", "/v4/x/taskWithTags", "", 404, `"V4 task metadata handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: x"`},
		{"GET", "/v4/x/stats", "", 404, `"V4 container stats handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: x"`},
		{"GET", "/v4/x/task/stats", "", 404, `"V4 task stats handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: x"`},
		{"GET", "/v4/89abcdef-0000-4000-8000-000000000000", "", 404, `"V4 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: 89abcdef-0000-4000-8000-000000000000"`},
		{"GET", "/v2/stats", "", 400, `"Unable to get task arn from request: unable to associate '127.0.0.1' with task"`},
		{"GET", "/v4/" + id + "/stats", "", 500, `"Unable to get container stats for: "`},
		{"GET", "/v4/" + id + "/task/stats", "", 200, `{}`},
		{"GET", "/v4/" + id + "/associations/gpu", "", 200, `{"Associations":[]}`},
		{"GET", "/v4/" + id + "/associations/gpu/1", "", 400, `"V4 container association handler: no content of association 1 of type gpu"`},
		{"POST", "/v4/" + id, "", 405, "Method Not Allowed\n"},
		{"GET", "/latest/meta-data", "", 404, "404 page not found\n"},
		{"PUT", "/api/" + id + "/task-protection/v1/state", "{", 400, `{"error":{"Arn":"","Code":"InvalidParameterException","Message":"UpdateTaskProtection: failed to decode request"}}`},
		{"PUT", "/api/x/task-protection/v1/state", "{}", 404, `{"error":{"Arn":"","Code":"ResourceNotFoundException","Message":"Failed to find a task for the request"}}`},
		{"PUT", "/api/" + id + "/task-protection/v1/state", "{}", 400, `{"error":{"Arn":"` + taskB + `","Code":"InvalidParameterException","Message":"Invalid request: does not contain 'ProtectionEnabled' field"}}`},
		{"PUT", "/api/" + id + "/task-protection/v1/state", `{"ProtectionEnabled":true,"ExpiresInMinutes":5}`, 200, `{"protection":{"ExpirationDate":"2026-11-25T02:05:00Z","ProtectionEnabled":true,"TaskArn":"` + taskB + `"}}`},
		{"POST", "/api/" + id + "/fault/v1/network-latency/start", `{"DelayMilliseconds":1,"JitterMilliseconds":1,"Sources":["1.2.3.4"]}`, 400, `{"Error":"enableFaultInjection is not enabled for task: ` + taskB + `"}`},
		{"POST", "/api/x/fault/v1/network-latency/status", ``, 404, `{"Error":"unable to lookup container: x"}`},
		{"POST", "/api/" + id + "/fault/v1/network-packet-loss/start", `{}`, 400, `{"Error":"required parameter LossPercent is missing"}`},
		{"GET", "/api/" + id + "/fault/v1/network-packet-loss/status", ``, 405, "Method Not Allowed\n"},
		{"POST", "/api/" + id + "/fault/v1/earthquake/start", ``, 404, "404 page not found\n"},
	} {
		if status, body := b.ask("", c.method, c.path, c.body); status != c.status || body != c.want {
			t.Errorf("%s %s\n\tis   %d %s\n\twant %d %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
}

func TestWhatTheServerRefusesIsToldInTheDocument(t *testing.T) {
	b := newBench(t)
	_, body := b.ask("10.192.0.2", "GET", "/v4/"+b.IDs.Of(taskA, "web")+"/taskWithTags", "")
	var d Task
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	if d.TaskTags["team"] != "blue" || len(d.Errors) != 1 {
		t.Fatalf("%+v", d)
	}
	want := TaskError{ErrorField: "ContainerInstanceTags", ErrorCode: "AccessDeniedException", ErrorMessage: "no", StatusCode: 500, ResourceARN: "arn:instance"}
	if d.Errors[0] != want {
		t.Errorf("%+v, want %+v", d.Errors[0], want)
	}
}

// The first answer takes two samples; who asks again is compared with then.
func TestStatisticsAreOfTwoMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.run(taskA)
		url := "/v4/" + b.IDs.Of(taskA, "web") + "/stats"
		stats := func() (s Stats) {
			if status, body := b.ask("10.192.0.2", "GET", url, ""); status != http.StatusOK {
				t.Fatal(status, body)
			} else if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		for _, c := range []struct{ wait, since, apart time.Duration }{
			{0, apart, apart},                                     // nothing to compare with: it waits a little
			{10 * time.Second, 0, 10 * time.Second},               // with the answer before
			{100 * time.Millisecond, 0, 10100 * time.Millisecond}, // with the one before that: the last is too young
			{2 * time.Minute, apart, apart},                       // all are too old
		} {
			time.Sleep(c.wait)
			begun := time.Now()
			s := stats()
			if took := time.Since(begun); took != c.since {
				t.Errorf("after %v an answer took %v, want %v", c.wait, took, c.since)
			}
			if got := s.Read.Sub(s.Preread); got != c.apart {
				t.Errorf("after %v the samples are %v apart, want %v", c.wait, got, c.apart)
			}
			if used := s.CPU.Usage.Total - s.PreCPU.Usage.Total; used != uint64(c.apart)/2 {
				t.Errorf("%d ns in %v", used, c.apart)
			}
			if r := s.NetworkRates.Rx; r < 990 || r > 1010 || s.Networks["eth0"].RxBytes == 0 {
				t.Errorf("%v bytes a second of 1000, %+v", r, s.Networks)
			}
		}
		// Of what does not run there is nothing to tell.
		_, body := b.ask("10.192.0.2", "GET", "/v4/"+b.IDs.Of(taskA, "web")+"/task/stats", "")
		var all map[string]*Stats
		if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 2 || all["id-of-web"] == nil || all["id-of-log"] != nil {
			t.Errorf("%s, %v", body, err)
		}
	})
}

func TestWhoAsksTooOftenWaitsAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		count := func(from, task, name string) (ok int) {
			for range 100 {
				if status, _ := b.ask(from, "GET", "/v4/"+b.IDs.Of(task, name), ""); status == http.StatusOK {
					ok++
				}
			}
			return ok
		}
		if got := count("10.192.0.2", taskA, "web"); got != burst {
			t.Errorf("%d at once, want %d", got, burst)
		}
		if got := count("10.192.0.3", taskA, "web"); got != burst {
			t.Errorf("another: %d, want %d", got, burst)
		}
		for _, name := range []string{"web", "log"} {
			if got := count("", taskB, name); got != burst {
				t.Errorf("%s on the host: %d, want %d", name, got, burst)
			}
		}
		time.Sleep(time.Second)
		if got := count("10.192.0.2", taskA, "web"); got != steadyRate {
			t.Errorf("a second later %d, want %d", got, steadyRate)
		}
	})
}

func TestACallThatTakesTooLongIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		begun := time.Now()
		status, body := b.ask("", "GET", "/api/"+b.IDs.Of(taskB, "web")+"/task-protection/v1/state", "")
		if status != http.StatusGatewayTimeout || !strings.Contains(body, "Timed out calling ECS Task Protection API") || time.Since(begun) != callTimeout {
			t.Errorf("%d %s after %v", status, body, time.Since(begun))
		}
	})
}

// Two Havns in one runtime folder: whoever hears a question passes it on to the one whose id it is.
func TestOneHavnHearsForAnother(t *testing.T) {
	mine, other := newBench(t), newBench(t)
	other.IDs.name, other.RuntimeDir = "89abcdef", mine.RuntimeDir
	if err := errors.Join(os.Mkdir(filepath.Join(mine.RuntimeDir, "89abcdef"), 0o700), os.Mkdir(filepath.Join(mine.RuntimeDir, "01234567"), 0o700)); err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	doors := map[*bench]net.Listener{mine: listen(), other: listen()}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for b, host := range doors {
		bridge := listen()
		go func() { ended <- b.Serve(ctx, bridge, host) }()
	}
	about := func(at, whose *bench, name string) (int, string) {
		resp, err := http.Get("http://" + doors[at].Addr().String() + "/v4/" + whose.IDs.Of(taskB, name))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if limits := resp.Header.Values("X-Rate-Limit-Limit"); len(limits) != 1 {
			t.Errorf("the limit is told %d times", len(limits))
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	ask := func(at, whose *bench) (int, string) { return about(at, whose, "web") }
	for b := range doors { // who answers for itself listens for others, too
		ask(b, b)
	}
	for at := range doors {
		for whose := range doors {
			if status, body := ask(at, whose); status != http.StatusOK || !strings.Contains(body, `"Name":"web"`) {
				t.Errorf("%d %s", status, body)
			}
		}
	}
	// A container that asks too often by way of another Havn is told so, and its neighbours are not.
	other.crowd.rate(asker{id: other.IDs.Of(taskB, "web")}).SetBurst(0)
	if status, body := ask(mine, other); status != http.StatusTooManyRequests {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask(mine, mine); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	other.crowd.rate(asker{}).SetBurst(0)
	if status, body := about(mine, other, "log"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
