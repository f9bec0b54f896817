package wire_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/cockroachdb/datadriven"

	"havn/wire"
)

// runTask does what the name of the cluster says.
func runTask(ctx context.Context, in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	switch aws.ToString(in.Cluster) {
	case "missing":
		return nil, &types.ClusterNotFoundException{Message: aws.String("Cluster not found.")}
	case "conflict":
		return nil, fmt.Errorf("cannot run: %w", &types.ConflictException{Message: aws.String("in use"), ResourceIds: []string{"a", "b"}})
	case "denied":
		return nil, &types.AccessDeniedException{Message: aws.String("no")}
	case "down":
		return nil, &types.ServerException{Message: aws.String("later")}
	case "broken":
		return nil, errors.New("cannot read the secret file /etc/secret")
	case "panic":
		panic("index out of range")
	case "nothing":
		return nil, nil
	}
	at := wire.Now(ctx)
	return &ecs.RunTaskOutput{
		Failures: []types.Failure{},
		Tasks: []types.Task{{
			TaskDefinitionArn: in.TaskDefinition,
			StartedBy:         aws.String(wire.Caller(ctx).ARN),
			CreatedAt:         &at,
			LaunchType:        in.LaunchType,
			Tags:              in.Tags,
		}},
	}, nil
}

func getCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	who := wire.Caller(ctx)
	return &sts.GetCallerIdentityOutput{Account: &who.Account, Arn: &who.ARN, UserId: &who.UserID}, nil
}

func assumeRole(context.Context, *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	return nil, errors.New("cannot read the secret file /etc/secret")
}

func assumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return &sts.AssumeRoleWithWebIdentityOutput{Provider: in.ProviderId, Audience: aws.String("caller <" + wire.Caller(ctx).ARN + ">")}, nil
}

// apis returns ECS and STS with a few operations handled.
func apis() []*wire.API {
	e, s := newECS(), newSTS()
	e.BodyLimit = 4 << 10
	wire.Handle(e, runTask)
	wire.Handle(s, getCallerIdentity)
	wire.Handle(s, assumeRole)
	wire.Handle(s, assumeRoleWithWebIdentity)
	return []*wire.API{e, s}
}

var randomID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// TestTranscripts plays testdata: each call is signed as its arguments say, and
// answered by a server whose clock stands at noon.
func TestTranscripts(t *testing.T) {
	var logged bytes.Buffer
	server := wire.NewServer(wire.Config{
		APIs: apis(), Credentials: credentials, Region: region, Account: root.Account,
		Now: func() time.Time { return noon },
		Log: slog.New(slog.NewTextHandler(&logged, nil)),
		Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "this is Havn; %s %s %q is no AWS call", r.Method, r.URL.Path, body)
		}),
	})
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			logged.Reset()
			w := httptest.NewRecorder()
			server.ServeHTTP(w, newCall(t, d))
			return answered(t, w, logged.String())
		})
	})
}

// newCall makes the request that a directive describes.
func newCall(t *testing.T, d *datadriven.TestData) *http.Request {
	args := map[string]string{
		"key": keyID, "secret": secret, "service": d.Cmd, "age": "0s", "method": "POST", "path": "/", "region": region,
		"type": "application/x-amz-json-1.1", "target": "AmazonEC2ContainerServiceV20141113",
	}
	if d.Cmd == "sts" {
		args["type"], args["target"] = "application/x-www-form-urlencoded", ""
	}
	for _, a := range d.CmdArgs {
		args[a.Key] = strings.Join(a.Vals, ",")
	}
	body := d.Input
	if n, err := strconv.Atoi(args["pad"]); err == nil {
		body += strings.Repeat(" ", n)
	}
	if _, ok := args["gzip"]; ok {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		io.WriteString(zw, body)
		zw.Close()
		body = b.String()
	}
	r := httptest.NewRequest(args["method"], "http://havn.test"+args["path"], strings.NewReader(body))
	r.Header.Set("Content-Type", args["type"])
	if args["target"] != "" && args["op"] != "" {
		r.Header.Set("X-Amz-Target", args["target"]+"."+args["op"])
	}
	if _, ok := args["gzip"]; ok {
		r.Header.Set("Content-Encoding", "gzip")
	}
	if encoding, ok := args["encoding"]; ok {
		r.Header.Set("Content-Encoding", encoding)
	}
	if _, ok := args["unsigned"]; ok {
		return r
	}
	age, err := time.ParseDuration(args["age"])
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	r.Header.Set("X-Amz-Content-Sha256", hash(body))
	if err := signFor(r, body, args["service"], args["region"], noon.Add(-age), aws.Credentials{
		AccessKeyID: args["key"], SecretAccessKey: args["secret"], SessionToken: args["token"],
	}); err != nil {
		d.Fatalf(t, "%v", err)
	}
	if _, ok := args["tamper"]; ok {
		r.Body = io.NopCloser(strings.NewReader(body + " "))
		r.ContentLength++
	}
	if auth, ok := args["authorization"]; ok {
		r.Header.Set("Authorization", strings.ReplaceAll(auth, "_", " "))
	}
	if _, ok := args["undated"]; ok {
		r.Header.Del("X-Amz-Date")
	}
	return r
}

// answered is an answer as a transcript shows it.
func answered(t *testing.T, w *httptest.ResponseRecorder, logged string) string {
	id := w.Header().Get("X-Amzn-Requestid")
	text := fmt.Sprintf("%d %s\n%s\n", w.Code, w.Header().Get("Content-Type"), w.Body)
	if id == "" {
		return text
	}
	if !randomID.MatchString(id) {
		t.Errorf("request id %q is no UUID", id)
	}
	if n := w.Header().Get("Content-Length"); n != strconv.Itoa(w.Body.Len()) {
		t.Errorf("Content-Length is %s, of %d bytes", n, w.Body.Len())
	}
	for line := range strings.Lines(logged) {
		_, line, _ = strings.Cut(line, " ")           // the time
		line, _, _ = strings.Cut(line, `\ngoroutine`) // a stack is logged, and never the same
		text += "log: " + strings.TrimSpace(line) + "\n"
	}
	return strings.ReplaceAll(text, id, "REQUEST-ID")
}
