package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"havn/wire"
)

// overNetwork is the config of a client that calls the server through TCP.
func overNetwork(t testing.TB, h http.Handler) aws.Config {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c := config(nil)
	c.HTTPClient = server.Client()
	c.BaseEndpoint = aws.String(server.URL)
	return c
}

func TestAClientGetsAnswersAndExceptions(t *testing.T) {
	c := overNetwork(t, newServer(apis()...))
	ctx := context.Background()
	client := ecs.NewFromConfig(c)
	out, err := client.RunTask(ctx, &ecs.RunTaskInput{
		TaskDefinition: aws.String("web"), LaunchType: types.LaunchTypeEc2,
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("é")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	task := out.Tasks[0]
	if *task.TaskDefinitionArn != "web" || task.LaunchType != types.LaunchTypeEc2 || *task.Tags[0].Value != "é" {
		t.Errorf("got %+v", task)
	}
	if out.Failures == nil || len(out.Failures) != 0 {
		t.Errorf("failures are %v, want an empty list", out.Failures)
	}
	_, err = client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), Cluster: aws.String("missing")})
	if gone, ok := errors.AsType[*types.ClusterNotFoundException](err); !ok || gone.ErrorMessage() != "Cluster not found." {
		t.Errorf("got %v, want ClusterNotFoundException", err)
	}
	_, err = client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), Cluster: aws.String("conflict")})
	if conflict, ok := errors.AsType[*types.ConflictException](err); !ok || !reflect.DeepEqual(conflict.ResourceIds, []string{"a", "b"}) {
		t.Errorf("got %v, want ConflictException with its resources", err)
	}
	_, err = client.CreateCluster(ctx, &ecs.CreateClusterInput{})
	if coded, ok := errors.AsType[smithy.APIError](err); !ok || coded.ErrorCode() != "UnknownOperationException" {
		t.Errorf("got %v, want UnknownOperationException", err)
	}
	who, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *who.Arn != root.ARN || *who.Account != root.Account {
		t.Errorf("got %+v, want %+v", who, root)
	}
}

// Bodies are read into memory that is used again: nothing may keep a piece of it.
func TestCallsDoNotDisturbEachOther(t *testing.T) {
	client := ecs.NewFromConfig(config(into(newServer(apis()...))))
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			var want, got []string
			for i := range 40 {
				name := strings.Repeat(string(rune('a'+caller)), 1+i*caller)
				in := &ecs.RunTaskInput{TaskDefinition: &name}
				if i%4 == 3 {
					in.Cluster = aws.String("conflict")
				}
				out, err := client.RunTask(context.Background(), in)
				if in.Cluster != nil {
					if _, ok := errors.AsType[*types.ConflictException](err); !ok {
						t.Errorf("got %v, want ConflictException", err)
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				want, got = append(want, name), append(got, *out.Tasks[0].TaskDefinitionArn)
			}
			if !slices.Equal(got, want) {
				t.Errorf("caller %d got %v, want %v", caller, got, want)
			}
		})
	}
	wg.Wait()
}

// A presigned GetCallerIdentity is how many systems have a caller prove who it is.
func TestAPresignedURLCanBeCalledByAnybody(t *testing.T) {
	c := overNetwork(t, newServer(apis()...))
	presigned, err := sts.NewPresignClient(sts.NewFromConfig(c)).PresignGetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(presigned.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), root.ARN) {
		t.Errorf("got %d %s %v", resp.StatusCode, body, err)
	}
}

func TestABodyOfUnknownLengthIsBounded(t *testing.T) {
	server := newServer(apis()...)
	endless := io.LimitReader(neverEnding('x'), 1<<30)
	r := httptest.NewRequest("POST", "http://havn.test/", endless)
	r.ContentLength = -1
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.RunTask")
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if left := endless.(*io.LimitedReader).N; left < 1<<29 {
		t.Errorf("read %d bytes of a body over the limit", 1<<30-left)
	}
}

// Three bytes of input make a container definition of a thousand.
func TestAShortBodyCannotFillTheMemory(t *testing.T) {
	api := newECS()
	wire.HandleType(api, reflect.TypeFor[ecs.RegisterTaskDefinitionInput](), reflect.TypeFor[ecs.RegisterTaskDefinitionOutput](), nil)
	body := `{"containerDefinitions":[` + strings.Repeat("{},", 1<<20/3) + `{}]}`
	_, err := wire.Decode(api, "RegisterTaskDefinition", []byte(body))
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Fault != wire.BadBody {
		t.Errorf("got %v, want a refusal", err)
	}
	if _, err := wire.Decode(api, "RegisterTaskDefinition", []byte(`{"containerDefinitions":[`+strings.Repeat("{},", 999)+`{}]}`)); err != nil {
		t.Errorf("a thousand containers: %v", err)
	}
}

func TestParametersAreFewAndShallow(t *testing.T) {
	api := newSTS()
	wire.Handle(api, assumeRole)
	for body, legal := range map[string]bool{
		strings.Repeat("a=&", 9_999):              true,
		strings.Repeat("a=&", 10_000):             false,
		strings.Repeat("a.", 32) + "a=":           true,
		strings.Repeat("a.", 33) + "a=":           false,
		strings.Repeat("Tags.member.1.Key=&", 99): true,
	} {
		if _, err := wire.Decode(api, "AssumeRole", []byte(body)); (err == nil) != legal {
			t.Errorf("%.20s... of %d bytes: got %v", body, len(body), err)
		}
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestASimulationCallsHandlersWithoutHTTP(t *testing.T) {
	ctx := wire.WithRequest(context.Background(), wire.Request{Caller: root, ID: "1", Now: noon})
	out, err := runTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	if err != nil {
		t.Fatal(err)
	}
	if !out.Tasks[0].CreatedAt.Equal(noon) || *out.Tasks[0].StartedBy != root.ARN || wire.RequestID(ctx) != "1" {
		t.Errorf("got %+v", out.Tasks[0])
	}
	if ctx := context.Background(); !wire.Now(ctx).IsZero() || wire.RequestID(ctx) != "" || wire.Caller(ctx) != (wire.Principal{}) {
		t.Error("a context without a request has one")
	}
}

func TestADocumentKeepsItsShape(t *testing.T) {
	for _, want := range []string{`{"a":[1,2.5,"x",true,null],"b":{"c":{}}}`, `"text"`, `12345678901234567890`, `[]`} {
		api := newECS()
		wire.HandleType(api, reflect.TypeFor[ecs.CreateServiceInput](), reflect.TypeFor[ecs.CreateServiceOutput](), nil)
		body := `{"serviceName":"web","deploymentConfiguration":{"lifecycleHooks":[{"hookDetails":` + want + `}]}}`
		in, err := wire.Decode(api, "CreateService", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := in.(*ecs.CreateServiceInput).DeploymentConfiguration.LifecycleHooks[0].HookDetails.MarshalSmithyDocument()
		if err != nil || !sameJSON(t, string(got), want) {
			t.Errorf("document %s was read as %s (%v)", want, got, err)
		}
		again, err := wire.EncodeInput(api, "CreateService", in)
		if err != nil || !strings.Contains(string(again), `"hookDetails":`) {
			t.Errorf("document %s was written as %s (%v)", want, again, err)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	var x, y any
	if err := errors.Join(json.Unmarshal([]byte(a), &x), json.Unmarshal([]byte(b), &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// The standard library's writer is the dumb twin of ours.
func TestTextsAreWrittenAsAnyReaderReadsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "unicode") {
			text = rapid.String().Draw(t, "text")
		}
		written := wire.AppendJSONString(nil, text)
		var got, want string
		twin, err := json.Marshal(text)
		if err := errors.Join(err, json.Unmarshal(twin, &want), json.Unmarshal(written, &got)); err != nil {
			t.Fatalf("%q was written as %s: %v", text, written, err)
		}
		if got != want {
			t.Fatalf("%q was written as %s, want what %s spells", text, written, twin)
		}
	})
}

func TestTimesAreReadToTheNanosecondAndWrittenInMilliseconds(t *testing.T) {
	api := newECS()
	wire.HandleType(api, reflect.TypeFor[ecs.SubmitTaskStateChangeInput](), reflect.TypeFor[ecs.SubmitTaskStateChangeOutput](), nil)
	for text, want := range map[string]struct {
		at      time.Time
		written string
	}{
		"1795348800":          {noon, "1795348800"},
		"1795348800.123456":   {noon.Add(123456 * time.Microsecond), "1795348800.123"},
		"1795348800.5":        {noon.Add(500 * time.Millisecond), "1795348800.5"},
		"1.7953488E9":         {noon, "1795348800"},
		"1.7953488005E9":      {noon.Add(500 * time.Millisecond), "1795348800.5"},
		"-1.5":                {time.Unix(-2, 500e6).UTC(), "-1.5"},
		"0":                   {time.Unix(0, 0).UTC(), "0"},
		"1795348800.10000000": {noon.Add(100 * time.Millisecond), "1795348800.1"},
	} {
		in, err := wire.Decode(api, "SubmitTaskStateChange", []byte(`{"executionStoppedAt":`+text+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := *in.(*ecs.SubmitTaskStateChangeInput).ExecutionStoppedAt; !got.Equal(want.at) {
			t.Errorf("%s was read as %v, want %v", text, got, want.at)
		}
		written, err := wire.EncodeInput(api, "SubmitTaskStateChange", in)
		if err != nil || string(written) != `{"executionStoppedAt":`+want.written+`}` {
			t.Errorf("%s was written as %s (%v)", text, written, err)
		}
	}
}

func TestAMistakeInTheProgramIsFoundAtStart(t *testing.T) {
	for name, mistake := range map[string]func(a *wire.API){
		"twice":   func(a *wire.API) { wire.Handle(a, runTask); wire.Handle(a, runTask) },
		"unknown": func(a *wire.API) { wire.Handle(a, getCallerIdentity) },
		"no input": func(a *wire.API) {
			wire.Handle(a, func(context.Context, *types.Task) (*ecs.RunTaskOutput, error) { return nil, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("not noticed")
				}
			}()
			mistake(newECS())
		})
	}
}

func FuzzAWSJSON(f *testing.F) {
	api := newECS()
	for _, op := range []string{"RegisterTaskDefinition", "CreateService"} {
		in, out := services[0].types(op)
		wire.HandleType(api, in, out, nil)
		v := reflect.New(in)
		fill(v.Elem(), op, 0)
		body, err := wire.EncodeInput(api, op, v.Interface())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(op, body)
	}
	f.Add("CreateService", []byte(`{"deploymentConfiguration":{"lifecycleHooks":[{"hookDetails":{"a":[1e9,null]}}]}}`))
	f.Fuzz(func(t *testing.T, op string, body []byte) {
		if op != "CreateService" {
			op = "RegisterTaskDefinition"
		}
		in, err := wire.Decode(api, op, body)
		if err != nil {
			if e, ok := errors.AsType[*wire.Error](err); !ok || e.Fault != wire.BadBody {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		once, err := wire.EncodeInput(api, op, in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := wire.Decode(api, op, once)
		if err != nil {
			t.Fatalf("cannot read what was written, %s: %v", once, err)
		}
		if twice, err := wire.EncodeInput(api, op, again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("written as %s, then as %s (%v)", once, twice, err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	api := newSTS()
	in, out := services[1].types("AssumeRole")
	wire.HandleType(api, in, out, nil)
	for _, body := range []string{
		"Action=AssumeRole&RoleArn=x&DurationSeconds=900", "Tags.member.2.Key=a&Tags.member.1.Key=b&Tags.member.=",
		"PolicyArns.member.1.arn=%41&PolicyArns=", "a.b.c.d.e.f.g=1&.=&&==",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := wire.Decode(api, "AssumeRole", body); err != nil {
			if e, ok := errors.AsType[*wire.Error](err); !ok || e.Fault != wire.BadBody {
				t.Fatalf("refused with %v", err)
			}
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/ecs/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add("AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;;,Signature")
	f.Add("Bearer x")
	f.Fuzz(func(t *testing.T, header string) {
		if err := wire.CheckAuthorization(header); err != nil {
			if e, ok := errors.AsType[*wire.Error](err); !ok || e.Fault != wire.IncompleteToken && e.Fault != wire.MissingToken {
				t.Fatalf("refused with %v", err)
			}
		}
	})
}

// replay is a body that can be sent again.
type replay struct{ bytes.Reader }

func (*replay) Close() error { return nil }

// discard is a ResponseWriter that only counts.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// benchmark sends one signed request to a server again and again.
func benchmark(b *testing.B, api *wire.API, op, body string) {
	server := wire.NewServer(wire.Config{
		APIs: []*wire.API{api}, Credentials: credentials, Region: region,
		Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler),
	})
	r := httptest.NewRequest("POST", "http://havn.test/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if err := sign(r, body, "ecs", noon, longLived); err != nil {
		b.Fatal(err)
	}
	var again replay
	r.Body = &again
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		again.Reset([]byte(body))
		server.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatalf("answered %d", w.status)
		}
	}
}

func listClusters(context.Context, *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
	return &ecs.ListClustersOutput{ClusterArns: []string{"arn:aws:ecs:us-east-1:000000000000:cluster/default"}}, nil
}

func BenchmarkListClusters(b *testing.B) {
	api := newECS()
	wire.Handle(api, listClusters)
	benchmark(b, api, "ListClusters", `{}`)
}

// BenchmarkListClustersOverTCP counts the callers' work too, but for signing.
func BenchmarkListClustersOverTCP(b *testing.B) {
	api := newECS()
	wire.Handle(api, listClusters)
	server := httptest.NewServer(wire.NewServer(wire.Config{
		APIs: []*wire.API{api}, Credentials: credentials, Region: region,
		Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler),
	}))
	b.Cleanup(server.Close)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		r, err := http.NewRequest("POST", server.URL, strings.NewReader("{}"))
		if err != nil {
			b.Error(err)
			return
		}
		r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.ListClusters")
		if err := sign(r, "{}", "ecs", noon, longLived); err != nil {
			b.Error(err)
			return
		}
		for pb.Next() {
			r.Body = io.NopCloser(strings.NewReader("{}"))
			resp, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // the status tells
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				b.Errorf("answered %d", resp.StatusCode)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkRegisterTaskDefinition(b *testing.B) {
	api := newECS()
	var in ecs.RegisterTaskDefinitionInput
	fill(reflect.ValueOf(&in).Elem(), "", 0)
	wire.Handle(api, func(_ context.Context, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
		return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &types.TaskDefinition{ContainerDefinitions: in.ContainerDefinitions}}, nil
	})
	body, err := wire.EncodeInput(api, "RegisterTaskDefinition", &in)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	benchmark(b, api, "RegisterTaskDefinition", string(body))
}
