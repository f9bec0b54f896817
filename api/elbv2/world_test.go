package elbv2_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"havn/api/elbv2"
	"havn/state"
	"havn/wire"
)

const (
	region  = "us-east-1"
	account = "000000000000"
	prefix  = "arn:aws:elasticloadbalancing:" + region + ":" + account + ":"
)

// world is the API over HTTP, with a state in memory.
type world struct {
	*sdk.Client
	store *state.Store
	url   string
}

// newWorld makes a world in which it is now. The SDK's client signs with the real time, so a world that has another is
// for requests that are signed by hand.
func newWorld(t testing.TB, now func() time.Time) *world {
	t.Helper()
	w := &world{}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var ids atomic.Int64
	ids.Store(-1) // the store takes 0, so that the first thing made is #1
	var err error
	if w.store, err = state.Open(ctx, &state.Memory{}, state.Config{NewID: func() string { return fmt.Sprintf("%032x", ids.Add(1)) }}); err != nil {
		t.Fatal(err)
	}
	server := elbv2.NewServer(elbv2.Config{Store: w.store, Region: region, Account: account})
	h := httptest.NewServer(wire.NewServer(wire.Config{
		APIs: []*wire.API{server.API()}, Region: region, Account: account, Now: now, Log: slog.New(slog.DiscardHandler),
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

// update writes to the state as others than the API do.
func (w *world) update(t testing.TB, f func(tx *state.Tx)) {
	t.Helper()
	if err := w.store.Update(context.Background(), func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// In transcripts, elb: stands for the beginning of ELB's ARNs here, and #1 for the identifier 0000000000000001.
var (
	shortened = regexp.MustCompile(`#([0-9a-f]+)`)
	long      = regexp.MustCompile(`\b0{12,15}([1-9a-f][0-9a-f]*)\b`)
)

func expand(text string) string {
	text = shortened.ReplaceAllStringFunc(text, func(s string) string {
		n, err := strconv.ParseInt(s[1:], 16, 64)
		if err != nil {
			return s
		}
		return fmt.Sprintf("%016x", n)
	})
	return strings.ReplaceAll(text, "elb:", prefix)
}

func shorten(text string) string {
	return long.ReplaceAllString(strings.ReplaceAll(text, prefix, "elb:"), "#$1")
}

// call sends one signed request, a parameter on each line, and renders the answer.
func (w *world) call(t testing.TB, now time.Time, operation, input string) string {
	t.Helper()
	form := url.Values{"Action": {operation}, "Version": {"2015-12-01"}}
	for line := range strings.Lines(expand(input)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			t.Fatalf("no parameter: %q", line)
		}
		form.Set(name, value)
	}
	body := form.Encode()
	r, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"},
		r, hex.EncodeToString(sum[:]), "elasticloadbalancing", region, now)
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
	v, err := readXML(b)
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	root := v.(map[string]any)
	if answer.StatusCode != http.StatusOK {
		e := root["Error"].(map[string]any)
		return shorten(fmt.Sprintf("%d %s: %s\n", answer.StatusCode, e["Code"], e["Message"]))
	}
	return shorten(render(root[operation+"Result"], "") + "\n")
}

// readXML reads an element's content: a text, a list of members, or elements by their names.
func readXML(b []byte) (any, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		if _, ok := tok.(xml.StartElement); ok {
			return readElement(d)
		}
	}
}

func readElement(d *xml.Decoder) (any, error) {
	var text strings.Builder
	var list []any
	members := map[string]any{}
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, errors.Join(errors.New("not closed"), err)
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text.Write(tok)
		case xml.StartElement:
			inner, err := readElement(d)
			if err != nil {
				return nil, err
			}
			if tok.Name.Local == "member" {
				list = append(list, inner)
			} else {
				members[tok.Name.Local] = inner
			}
		case xml.EndElement:
			switch {
			case list != nil:
				return list, nil
			case len(members) > 0:
				return members, nil
			}
			return text.String(), nil
		}
	}
}

// render writes JSON with what fits on a line on one line, so that a transcript can be read.
func render(v any, indent string) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	const width = 140
	if len(indent)+len(shorten(string(b))) <= width {
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
