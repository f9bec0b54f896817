package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"havn/wire"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newVerifier() *wire.Verifier {
	return &wire.Verifier{Credentials: credentials, Region: region, Now: func() time.Time { return noon }}
}

func hash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// sign signs a request as the SDK does.
func sign(r *http.Request, body, service string, at time.Time, creds aws.Credentials) error {
	return signFor(r, body, service, region, at, creds)
}

func signFor(r *http.Request, body, service, region string, at time.Time, creds aws.Credentials) error {
	return v4.NewSigner().SignHTTP(context.Background(), creds, r, hash(body), service, region, at)
}

var longLived = aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}

// received is what a server makes of a request after it crossed a network.
func received(r *http.Request) (*http.Request, []byte, error) {
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return nil, nil, err
	}
	got, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(got.Body)
	return got, body, err
}

// drawRequest draws a request of any shape, and its body.
func drawRequest(t *rapid.T) (*http.Request, string) {
	method := rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE"}).Draw(t, "method")
	body := rapid.StringN(0, 100, 200).Draw(t, "body")
	if method == "GET" {
		body = ""
	}
	u := url.URL{Scheme: "http", Host: rapid.SampledFrom([]string{"havn.test", "127.0.0.1:4566", "[::1]:4566"}).Draw(t, "host")}
	path := rapid.SliceOfN(rapid.StringN(0, 8, 16), 0, 4).Draw(t, "path")
	u.Path = "/" + strings.Join(path, "/")
	query := make(url.Values)
	for range rapid.IntRange(0, 5).Draw(t, "parameters") {
		query.Add(rapid.StringN(1, 6, 12).Draw(t, "name"), rapid.StringN(0, 8, 16).Draw(t, "value"))
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequest(method, u.String(), strings.NewReader(body))
	if err != nil {
		t.Skip("not a URL: ", err)
	}
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		r.Header.Add(rapid.StringMatching(`X-[A-Za-z]{1,8}`).Draw(t, "header"), rapid.StringMatching(` {0,3}[!-~]{0,4} {0,3}[!-~]{0,4} {0,2}`).Draw(t, "text"))
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	return r, body
}

func drawCredentials(t *rapid.T) aws.Credentials {
	if rapid.Bool().Draw(t, "session") {
		return aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: secret, SessionToken: token}
	}
	return longLived
}

func TestWhateverTheSDKSignsIsVerified(t *testing.T) {
	v := newVerifier()
	rapid.Check(t, func(t *rapid.T) {
		r, body := drawRequest(t)
		if rapid.Bool().Draw(t, "claims its hash") {
			r.Header.Set("X-Amz-Content-Sha256", hash(body))
		}
		skew := time.Duration(rapid.IntRange(-300, 300).Draw(t, "skew")) * time.Second
		if err := sign(r, body, "ecs", noon.Add(skew), drawCredentials(t)); err != nil {
			t.Fatal(err)
		}
		got, gotBody, err := received(r)
		if err != nil {
			t.Fatal(err)
		}
		who, err := v.Verify(got, gotBody, "ecs")
		if err != nil {
			t.Fatalf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
		}
		if who != root {
			t.Fatalf("signed by %v, want %v", who, root)
		}
	})
}

func TestWhateverTheSDKPresignsIsVerified(t *testing.T) {
	v := newVerifier()
	rapid.Check(t, func(t *rapid.T) {
		r, body := drawRequest(t)
		age := time.Duration(rapid.IntRange(0, 900).Draw(t, "age")) * time.Second
		query := r.URL.Query()
		query.Set("X-Amz-Expires", "900")
		r.URL.RawQuery = query.Encode()
		signed, headers, err := v4.NewSigner().PresignHTTP(context.Background(), drawCredentials(t), r, hash(body), "sts", region, noon.Add(-age))
		if err != nil {
			t.Fatal(err)
		}
		p, err := http.NewRequest(r.Method, signed, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range headers {
			if name != "Content-Length" {
				p.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		got, gotBody, err := received(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(got, gotBody, "sts"); err != nil {
			t.Fatalf("%s %s: %v", r.Method, signed, err)
		}
	})
}

func TestAChangedRequestIsRefused(t *testing.T) {
	v := newVerifier()
	changes := map[string]func(r *http.Request, body *[]byte){
		"body":      func(_ *http.Request, body *[]byte) { *body = append(*body, ' ') },
		"method":    func(r *http.Request, _ *[]byte) { r.Method = "PATCH" },
		"path":      func(r *http.Request, _ *[]byte) { r.URL.Path += "x"; r.URL.RawPath = "" },
		"query":     func(r *http.Request, _ *[]byte) { r.URL.RawQuery += "&x=y" },
		"host":      func(r *http.Request, _ *[]byte) { r.Host += "x" },
		"header":    func(r *http.Request, _ *[]byte) { r.Header.Set("Content-Type", "text/plain") },
		"target":    func(r *http.Request, _ *[]byte) { r.Header.Set("X-Amz-Target", "A.DeleteCluster") },
		"token":     func(r *http.Request, _ *[]byte) { r.Header.Set("X-Amz-Security-Token", "another") },
		"time":      func(r *http.Request, _ *[]byte) { r.Header.Set("X-Amz-Date", "20261122T115959Z") },
		"signature": func(r *http.Request, _ *[]byte) { flip(r, "Signature=") },
	}
	rapid.Check(t, func(t *rapid.T) {
		r, body := drawRequest(t)
		if err := sign(r, body, "ecs", noon, drawCredentials(t)); err != nil {
			t.Fatal(err)
		}
		got, gotBody, err := received(r)
		if err != nil {
			t.Fatal(err)
		}
		for what, change := range changes {
			changed, changedBody := got.Clone(context.Background()), bytes.Clone(gotBody)
			change(changed, &changedBody)
			if _, err := v.Verify(changed, changedBody, "ecs"); err == nil {
				t.Errorf("another %s was not noticed", what)
			}
		}
		if _, err := v.Verify(got, gotBody, "ecs"); err != nil {
			t.Errorf("unchanged: %v", err)
		}
	})
}

// flip changes the first hexadecimal digit after the word.
func flip(r *http.Request, word string) {
	auth := r.Header.Get("Authorization")
	i := strings.Index(auth, word) + len(word)
	digit := "0"
	if auth[i] == '0' {
		digit = "1"
	}
	r.Header.Set("Authorization", auth[:i]+digit+auth[i+1:])
}

// The node's websocket and its telemetry frames are signed like requests; their
// receiver makes requests of them.
func TestAFrameIsVerifiedAsARequest(t *testing.T) {
	const endpoint = "http://127.0.0.1:4566/tcs/ws?cluster=demo&agentVersion=1.105.0"
	const frame = `{"type":"PublishMetricsRequest","message":{}}`
	r, err := http.NewRequest("GET", endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(r, frame, "ecs", noon, longLived); err != nil {
		t.Fatal(err)
	}
	head := "Authorization: " + r.Header.Get("Authorization") + "\r\nHost: 127.0.0.1:4566\r\nX-Amz-Date: " + r.Header.Get("X-Amz-Date") + "\r\n\r\n"
	got, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /tcs/ws?cluster=demo&agentVersion=1.105.0 HTTP/1.1\r\n" + head)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier().Verify(got, []byte(frame), "ecs"); err != nil {
		t.Error(err)
	}
	if _, err := newVerifier().Verify(got, nil, "ecs"); err == nil {
		t.Error("a frame without its content was not noticed")
	}
}

func TestAFailingCredentialStoreIsNotTheCallersFault(t *testing.T) {
	r, err := http.NewRequest("GET", "http://havn.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(r, "", "ecs", noon, aws.Credentials{AccessKeyID: "AKIDBROKEN", SecretAccessKey: secret}); err != nil {
		t.Fatal(err)
	}
	r.Host = r.URL.Host
	_, err = newVerifier().Verify(r, nil, "ecs")
	if _, ok := errors.AsType[*wire.Error](err); err == nil || ok {
		t.Errorf("got %v, want an error that is no API error", err)
	}
}
