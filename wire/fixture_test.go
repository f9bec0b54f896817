package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"havn/wire"
)

// These tests hold this package against the SDK modules' own wire fixtures and
// clients: whatever the SDK writes we read, and whatever we write the SDK reads.

const (
	keyID  = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	region = "us-east-1"
	token  = "SESSIONTOKEN"
)

var root = wire.Principal{ARN: "arn:aws:iam::000000000000:root", UserID: "000000000000", Account: "000000000000"}

// credentials knows one long-lived key, and one that goes with a session token.
func credentials(_ context.Context, id, session string) (wire.Credential, error) {
	switch {
	case id == keyID && session == "", id == "ASIAEXAMPLE" && session == token:
		return wire.Credential{Secret: secret, Principal: root}, nil
	case id == "ASIAEXPIRED":
		return wire.Credential{}, wire.ErrTokenExpired
	case id == "AKIDBROKEN":
		return wire.Credential{}, errors.New("the credential store is on fire")
	}
	return wire.Credential{}, wire.ErrUnknownKey
}

func newECS() *wire.API {
	return &wire.API{
		Name: "ecs", Dialect: wire.AWSJSON, Target: "AmazonEC2ContainerServiceV20141113",
		Operations: ecsOperations, Shapes: ecsShapes, ValidationCode: "InvalidParameterException",
	}
}

func newSTS() *wire.API {
	return &wire.API{
		Name: "sts", Dialect: wire.Query, Version: "2011-06-15", Namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		Operations: stsOperations, Unsigned: stsUnsigned, Shapes: stsShapes,
	}
}

// newLogs has no limits: those of its model are too many and too particular for values that a test makes up.
func newLogs() *wire.API {
	shapes := *logsShapes
	shapes.Rules = nil
	return &wire.API{Name: "logs", Dialect: wire.AWSJSON, Target: "Logs_20140328", Operations: logsOperations, Shapes: &shapes}
}

// newELB has no limits, as newLogs has none.
func newELB() *wire.API {
	shapes := *elbShapes
	shapes.Rules = nil
	return &wire.API{
		Name: "elasticloadbalancing", Dialect: wire.Query, Version: "2015-12-01",
		Namespace:  "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
		Operations: elbOperations, Shapes: &shapes,
	}
}

// newACM has no limits, as newLogs has none.
func newACM() *wire.API {
	shapes := *acmShapes
	shapes.Rules = nil
	return &wire.API{Name: "acm", Dialect: wire.AWSJSON, Target: "CertificateManager", Operations: acmOperations, Shapes: &shapes}
}

func newServer(apis ...*wire.API) *wire.Server {
	return wire.NewServer(wire.Config{
		APIs: apis, Credentials: credentials, Region: region, Account: root.Account,
		Log: slog.New(slog.DiscardHandler),
	})
}

// doer answers an SDK client's requests.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// into answers a client's requests from a handler, without a network.
func into(h http.Handler) doer {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if r.Body == nil {
			r.Body = http.NoBody
		}
		if r.ContentLength > 0 {
			r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
		}
		r.Host = r.URL.Host
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}
}

func config(d doer) aws.Config {
	return aws.Config{
		Region:       region,
		BaseEndpoint: aws.String("http://havn.test"),
		HTTPClient:   d,
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, nil
		}),
	}
}

// service is an SDK client under test.
type service struct {
	name       string
	api        func() *wire.API
	operations []string
	client     func(doer) reflect.Value
}

var services = []service{
	{"ecs", newECS, ecsOperations, func(d doer) reflect.Value { return reflect.ValueOf(ecs.NewFromConfig(config(d))) }},
	{"sts", newSTS, stsOperations, func(d doer) reflect.Value { return reflect.ValueOf(sts.NewFromConfig(config(d))) }},
	{"cloudwatchlogs", newLogs, withoutStreams(logsOperations), func(d doer) reflect.Value { return reflect.ValueOf(cloudwatchlogs.NewFromConfig(config(d))) }},
	{"acm", newACM, withoutSearch(acmOperations), func(d doer) reflect.Value { return reflect.ValueOf(acm.NewFromConfig(config(d))) }},
	{"elasticloadbalancingv2", newELB, elbOperations, func(d doer) reflect.Value {
		return reflect.ValueOf(elasticloadbalancingv2.NewFromConfig(config(d)))
	}},
}

// withoutResponses are the services whose modules have no response fixtures.
var withoutResponses = []string{"sts", "elasticloadbalancingv2"}

// withoutSearch are the operations of ACM that wire can carry: the filter of SearchCertificates is a union of itself.
func withoutSearch(operations []string) []string {
	return slices.DeleteFunc(slices.Clone(operations), func(op string) bool { return op == "SearchCertificates" })
}

// withoutStreams are the operations whose answers do not go on: the SDK has no fixtures of the others.
func withoutStreams(operations []string) []string {
	return slices.DeleteFunc(slices.Clone(operations), func(op string) bool { return op == "StartLiveTail" || op == "GetLogObject" })
}

// types are the input and output structs of an operation.
func (s service) types(op string) (in, out reflect.Type) {
	m, ok := s.client(nil).Type().MethodByName(op)
	if !ok {
		panic("the SDK has no operation " + op)
	}
	return m.Type.In(2).Elem(), m.Type.Out(0).Elem()
}

// call calls an operation on an SDK client that d answers.
func (s service) call(d doer, op string, in any) (any, error) {
	results := s.client(d).MethodByName(op).Call([]reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(in)})
	if err, _ := results[1].Interface().(error); err != nil {
		return nil, err
	}
	out := results[0]
	if m := out.Elem().FieldByName("ResultMetadata"); m.IsValid() {
		m.SetZero()
	}
	return out.Interface(), nil
}

// server serves every operation of the model with h.
func (s service) server(h func(op string, in any) (any, error)) *wire.Server {
	api := s.api()
	for _, op := range s.operations {
		in, out := s.types(op)
		wire.HandleType(api, in, out, func(_ context.Context, in any) (any, error) { return h(op, in) })
	}
	return newServer(api)
}

// fixtures returns the names and contents of the module's fixture files.
func (s service) fixtures(t *testing.T, folder, suffix string) map[string]string {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+s.name).Output()
	if err != nil {
		t.Fatalf("cannot find the module of %s: %v", s.name, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), folder, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(file), suffix)] = string(text)
	}
	return found
}

// errCaptured ends a client's call once its request has been seen.
var errCaptured = errors.New("captured")

// written is the body that the SDK's client writes for an input.
func (s service) written(t *testing.T, op string, in any) string {
	t.Helper()
	var body string
	_, err := s.call(func(r *http.Request) (*http.Response, error) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
		return nil, errCaptured
	}, op, in)
	if !errors.Is(err, errCaptured) {
		t.Fatalf("client did not get as far as writing: %v", err)
	}
	return body
}

func TestEveryRequestFixtureIsReadAsTheSDKWroteIt(t *testing.T) {
	for _, s := range services {
		fixtures := s.fixtures(t, "request_snapshot", ".request.snap")
		delete(fixtures, "SearchCertificates")
		if !slices.Equal(slices.Sorted(maps.Keys(fixtures)), s.operations) {
			t.Errorf("%s has %d fixtures for %d operations", s.name, len(fixtures), len(s.operations))
		}
		for op, fixture := range fixtures {
			t.Run(s.name+"/"+op, func(t *testing.T) {
				_, rest, _ := strings.Cut(fixture, "\n\n") // the request line
				_, body, _ := strings.Cut(rest, "\n\n")    // the headers
				in, _ := s.types(op)
				api := s.api()
				wire.HandleType(api, in, in, nil)
				got, err := wire.Decode(api, op, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				if again := s.written(t, op, got); again != body {
					t.Errorf("read and written again:\n%s\nwant:\n%s", again, body)
				}
			})
		}
	}
}

func TestEveryOperationTravelsToTheHandlerAndBack(t *testing.T) {
	for _, s := range services {
		var gotIn, giveOut any
		server := s.server(func(_ string, in any) (any, error) {
			gotIn = in
			return giveOut, nil
		})
		for _, op := range s.operations {
			t.Run(s.name+"/"+op, func(t *testing.T) {
				inType, outType := s.types(op)
				in, out := reflect.New(inType), reflect.New(outType)
				fill(in.Elem(), op, 0)
				fill(out.Elem(), op, 0)
				gotIn, giveOut = nil, out.Interface()
				gotOut, err := s.call(into(server), op, in.Interface())
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(gotIn, in.Interface()) {
					t.Errorf("handler got\n%s\nwant\n%s", s.written(t, op, gotIn), s.written(t, op, in.Interface()))
				}
				if !reflect.DeepEqual(gotOut, giveOut) {
					t.Errorf("client got\n%+v\nwant\n%+v", gotOut, giveOut)
				}
			})
		}
	}
}

// fill sets every member that a plain value can be made for. Every text is long
// enough and plain enough for the limits of the model, and enums are legal.
func fill(v reflect.Value, name string, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, depth)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMilli(946684800250).UTC()))
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "ResultMetadata" && f.Name != "ErrorCodeOverride" {
				fill(v.Field(i), f.Name, depth+1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte{0, 1, 254, 255})
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), name, depth+1)
		}
	case reflect.Map:
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(elem, name, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("some-key").Convert(v.Type().Key()), elem)
	case reflect.String:
		v.SetString(text(name))
		if values, ok := v.Type().MethodByName("Values"); ok {
			if all := values.Func.Call([]reflect.Value{v})[0]; all.Len() > 0 {
				v.Set(all.Index(all.Len() - 1))
			}
		}
	case reflect.Interface: // a union
		for _, member := range slices.Concat(ecsShapes.Unions, logsShapes.Unions, acmShapes.Unions) {
			if m := reflect.TypeOf(member); m.Implements(v.Type()) {
				v.Set(reflect.New(m.Elem()))
				fill(v.Elem().Elem(), name, depth+1)
			}
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(60) // within every range of ECS
		if name == "DurationSeconds" {
			v.SetInt(900)
		}
	case reflect.Float64:
		v.SetFloat(12.5)
	}
}

// text is a value for a text member that no limit of the model forbids.
func text(name string) string {
	switch {
	case strings.HasSuffix(name, "Code"):
		return "123456"
	case name == "AccessKeyId":
		return "AKIAIOSFODNN7EXAMPLE"
	case name == "SigningAlgorithm":
		return "ES384"
	case name == "Name" || name == "Key" || strings.HasSuffix(name, "Types"):
		return "plain-name"
	}
	return "some-text-that-is-long-enough"
}

// response splits a response fixture.
func response(t *testing.T, fixture string) (status int, op, body string) {
	head, body, ok := strings.Cut(fixture, "\n\n")
	lines := strings.Split(head, "\n")
	status, err := strconv.Atoi(lines[0])
	if !ok || err != nil {
		t.Fatalf("cannot read fixture: %.60q", fixture)
	}
	_, target, _ := strings.Cut(head, "X-Amz-Target: ")
	_, op, _ = strings.Cut(target, ".")
	return status, strings.TrimSpace(op), body
}

// answering is a server that answers with a fixture.
func answering(status int, body string) doer {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
			Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
}

func TestEveryResponseFixtureIsWrittenAsTheSDKReadsIt(t *testing.T) {
	for _, s := range services {
		if !slices.Contains(withoutResponses, s.name) {
			t.Run(s.name, s.testResponses)
		}
	}
}

func (s service) testResponses(t *testing.T) {
	var give any
	server := s.server(func(string, any) (any, error) { return give, nil })
	fixtures := s.fixtures(t, "response_snapshot", ".response.snap")
	delete(fixtures, "SearchCertificates")
	if len(fixtures) != len(s.operations) {
		t.Errorf("%d fixtures for %d operations", len(fixtures), len(s.operations))
	}
	for op, fixture := range fixtures {
		t.Run(op, func(t *testing.T) {
			status, _, body := response(t, fixture)
			inType, _ := s.types(op)
			in := reflect.New(inType)
			fill(in.Elem(), op, 0)
			want, err := s.call(answering(status, body), op, in.Interface())
			if err != nil {
				t.Fatalf("cannot read the fixture: %v", err)
			}
			give = want
			var wrote []byte
			got, err := s.call(func(r *http.Request) (*http.Response, error) {
				resp, err := into(server)(r)
				if err == nil {
					wrote, err = io.ReadAll(resp.Body)
					resp.Body = io.NopCloser(bytes.NewReader(wrote))
				}
				return resp, err
			}, op, in.Interface())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("client got\n%+v\nwant\n%+v", got, want)
			}
			if string(wrote) != body {
				t.Errorf("wrote\n%s\nwant\n%s", wrote, body)
			}
		})
	}
}

func TestEveryErrorFixtureComesBackAsTheSameException(t *testing.T) {
	for _, s := range services {
		if !slices.Contains(withoutResponses, s.name) {
			t.Run(s.name, s.testErrors)
		}
	}
}

func (s service) testErrors(t *testing.T) {
	var give error
	server := s.server(func(string, any) (any, error) { return nil, give })
	fixtures := s.fixtures(t, "response_snapshot", ".error.snap")
	if len(fixtures) == 0 {
		t.Fatal("no fixtures")
	}
	for name, fixture := range fixtures {
		t.Run(name, func(t *testing.T) {
			status, op, body := response(t, fixture)
			inType, _ := s.types(op)
			in := reflect.New(inType)
			fill(in.Elem(), op, 0)
			want := s.refusal(t, answering(status, body), op, in.Interface())
			give = want
			var wrote []byte
			var wroteStatus int
			got := s.refusal(t, func(r *http.Request) (*http.Response, error) {
				resp, err := into(server)(r)
				if err == nil {
					wroteStatus = resp.StatusCode
					wrote, err = io.ReadAll(resp.Body)
					resp.Body = io.NopCloser(bytes.NewReader(wrote))
				}
				return resp, err
			}, op, in.Interface())
			if !reflect.DeepEqual(got, want) {
				t.Errorf("client got %#v, want %#v", got, want)
			}
			// Nearly all have "message", which is what is written for all; a client reads either.
			body = strings.Replace(body, `"Message":`, `"message":`, 1)
			if string(wrote) != body || wroteStatus != status {
				t.Errorf("wrote %d %s, want %d %s", wroteStatus, wrote, status, body)
			}
		})
	}
}

// refusal calls an operation and returns the typed exception that it ends in.
func (s service) refusal(t *testing.T, d doer, op string, in any) error {
	t.Helper()
	_, err := s.call(d, op, in)
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.HasSuffix(reflect.TypeOf(e).String(), "Exception") {
			return e
		}
	}
	t.Fatalf("no typed exception in %v", err)
	return nil
}

func TestEverySTSErrorComesBackAsTheSameException(t *testing.T) {
	s := services[1]
	message := aws.String("no, because of <that> & \"this\"")
	for op, give := range map[string]error{
		"AssumeRole":                 &ststypes.MalformedPolicyDocumentException{Message: message},
		"AssumeRoot":                 &ststypes.ExpiredTokenException{Message: message},
		"AssumeRoleWithSAML":         &ststypes.IDPRejectedClaimException{Message: message},
		"AssumeRoleWithWebIdentity":  &ststypes.InvalidIdentityTokenException{Message: message},
		"DecodeAuthorizationMessage": &ststypes.InvalidAuthorizationMessageException{Message: message},
		"GetFederationToken":         &ststypes.PackedPolicyTooLargeException{Message: message},
		"GetSessionToken":            &ststypes.RegionDisabledException{Message: message},
	} {
		t.Run(fmt.Sprintf("%T", give), func(t *testing.T) {
			server := s.server(func(string, any) (any, error) { return nil, give })
			inType, _ := s.types(op)
			in := reflect.New(inType)
			fill(in.Elem(), op, 0)
			if got := s.refusal(t, into(server), op, in.Interface()); !reflect.DeepEqual(got, give) {
				t.Errorf("client got %#v, want %#v", got, give)
			}
		})
	}
}
