package logs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/cockroachdb/pebble/v2/vfs"

	"havn/api/logs"
	"havn/control"
	"havn/expire"
	"havn/logstore"
	"havn/state"
	"havn/wire"
)

const (
	region  = "us-east-1"
	account = "000000000000"
)

var quiet = slog.New(slog.DiscardHandler)

// world is the API over HTTP, with a state and a disk in memory.
type world struct {
	*sdk.Client
	server  *logs.Server
	store   *state.Store
	events  *logstore.Store
	sweeper *expire.Sweeper
	loop    *control.Loop
	url     string
}

// newWorld makes a world in which it is now. The SDK's client signs with the real time, so a world that has another is
// for requests that are signed by hand.
func newWorld(t testing.TB, now func() time.Time) *world {
	t.Helper()
	w := &world{}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var ids atomic.Int64
	var err error
	if w.store, err = state.Open(ctx, &state.Memory{}, state.Config{NewID: func() string { return fmt.Sprintf("%032x", ids.Add(1)) }}); err != nil {
		t.Fatal(err)
	}
	if w.events, err = logstore.Open(logstore.Config{Dir: "logs", FS: vfs.NewMem(), Log: quiet}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.events.Close() })
	w.sweeper = expire.New(w.store, w.events, quiet)
	w.loop = control.NewLoop(control.Config{Store: w.store, Controllers: control.All(), Log: quiet})
	w.server = logs.NewServer(logs.Config{Store: w.store, Events: w.events, Region: region, Account: account})
	h := httptest.NewServer(wire.NewServer(wire.Config{
		APIs: []*wire.API{w.server.API()}, Region: region, Account: account, Now: now, Log: quiet,
		Credentials: func(context.Context, string, string) (wire.Credential, error) {
			return wire.Credential{Secret: "secret", Principal: wire.Principal{
				ARN: "arn:aws:iam::" + account + ":user/alice", UserID: "AIDAALICE", Account: account}}, nil
		},
	}))
	t.Cleanup(h.Close)
	w.url = h.URL
	w.Client = sdk.New(sdk.Options{
		Region: region, BaseEndpoint: aws.String(h.URL), HTTPClient: h.Client(), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
	})
	return w
}

// call sends one signed request and renders the answer.
func (w *world) call(t testing.TB, now time.Time, operation, body string) string {
	t.Helper()
	if body == "" {
		body = "{}"
	}
	r, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "Logs_20140328."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"},
		r, hex.EncodeToString(sum[:]), "logs", region, now)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if answer.StatusCode != http.StatusOK {
		e := v.(map[string]any)
		return fmt.Sprintf("%d %s: %s\n", answer.StatusCode, e["__type"], e["message"])
	}
	return render(v, "") + "\n"
}

// render writes JSON with what fits on a line on one line, so that a transcript can be read.
func render(v any, indent string) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	const width = 140
	if len(indent)+len(b) <= width {
		return string(b)
	}
	inner := indent + "  "
	var lines []string
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, inner+strconv.Quote(key)+": "+render(v[key], inner))
		}
		return "{\n" + strings.Join(lines, ",\n") + "\n" + indent + "}"
	case []any:
		for _, each := range v {
			lines = append(lines, inner+render(each, inner))
		}
		return "[\n" + strings.Join(lines, ",\n") + "\n" + indent + "]"
	}
	return string(b)
}
