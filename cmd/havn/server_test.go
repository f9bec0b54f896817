package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"havn/api/logs"
	"havn/state"
	"havn/wire"
)

// A signed call is answered at the path that it was signed for, and what is for nodes goes to the dispatcher.
func TestAPathIsAnsweredAsItIsWritten(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	c := upConfig{region: "us-east-1", account: "000000000000"}
	keys := map[string]wire.Credential{"AKIA": {Secret: "secret", Principal: wire.Principal{Account: c.account}}}
	h, _ := c.handler(serverInfo{}, store, logs.NewServer(logs.Config{}), keys, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(h)
	defer server.Close()
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	for _, test := range []struct {
		method, path string
		status       int
		body         string // a part of it
	}{
		{"POST", "/", 200, `"clusterArns":[]`},
		{"POST", "//a/../b", 200, `"clusterArns":[]`},
		{"POST", "/acs", 200, `"clusterArns":[]`},
		{"POST", "/acs/ws", 405, "Method Not Allowed"}, // the dispatcher's
		{"POST", "/tcs/ws", 405, "Method Not Allowed"},
		{"GET", "/acs/nothing", 404, "404 page not found"},
	} {
		const body = "{}"
		r, err := http.NewRequestWithContext(ctx, test.method, server.URL+test.path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.ListClusters")
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		sum := sha256.Sum256([]byte(body))
		if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, r,
			hex.EncodeToString(sum[:]), "ecs", c.region, time.Now()); err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != test.status || !strings.Contains(string(text), test.body) {
			t.Errorf("%s %s: %d %s", test.method, test.path, answer.StatusCode, text)
		}
	}
}
