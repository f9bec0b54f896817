package wire_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"

	"havn/wire"
)

// tailed is an event, as the SDK has it.
type tailed = types.StartLiveTailResponseStream

// tailing serves StartLiveTail, and returns what a client of the SDK's gets: the events, and how the stream ended.
func tailing(t *testing.T, h func(context.Context, *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[tailed, error], error)) ([]tailed, error) {
	t.Helper()
	api := newLogs()
	wire.HandleStream(api, h)
	server := httptest.NewServer(newServer(api))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	client := cloudwatchlogs.NewFromConfig(config(func(r *http.Request) (*http.Response, error) {
		r.Host, r.URL.Host = r.URL.Host, address // the SDK puts a prefix before the host of this operation, and signs it
		return server.Client().Do(r)
	}))
	out, err := client.StartLiveTail(t.Context(), &cloudwatchlogs.StartLiveTailInput{LogGroupIdentifiers: []string{"g"}})
	if err != nil {
		return nil, err
	}
	var got []tailed
	for event := range out.GetStream().Events() {
		got = append(got, event)
	}
	err = out.GetStream().Err()
	out.GetStream().Close()
	return got, err
}

var tailEvents = []tailed{
	&types.StartLiveTailResponseStreamMemberSessionStart{Value: types.LiveTailSessionStart{SessionId: aws.String("s"), LogGroupIdentifiers: []string{"g"}}},
	&types.StartLiveTailResponseStreamMemberSessionUpdate{Value: types.LiveTailSessionUpdate{
		SessionMetadata: &types.LiveTailSessionMetadata{Sampled: true},
		SessionResults:  []types.LiveTailSessionLogEvent{{Message: aws.String(strings.Repeat("ä", 100_000)), Timestamp: aws.Int64(5)}},
	}},
}

func TestAStreamOfEventsIsReadAsTheSDKHasIt(t *testing.T) {
	for name, test := range map[string]struct {
		end  error
		want string
	}{
		"that ends":         {nil, ""},
		"an exception":      {&types.SessionTimeoutException{Message: aws.String("three hours")}, "SessionTimeoutException: three hours"},
		"a fault of ours":   {errors.New("the disk is on fire"), "ServerException: The service encountered an internal error"},
		"a panic of a sort": {nil, "ServerException: The service encountered an internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tailing(t, func(context.Context, *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[tailed, error], error) {
				return nil, func(yield func(tailed, error) bool) {
					for _, event := range tailEvents {
						if !yield(event, nil) {
							t.Error("the caller is there")
						}
					}
					if test.end != nil {
						yield(nil, test.end)
					} else if test.want != "" {
						panic("of a sort")
					}
				}, nil
			})
			if !reflect.DeepEqual(got, tailEvents) {
				t.Errorf("got %+v", got)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(errorText(err), test.want)) {
				t.Errorf("ended with %v, want %q", err, test.want)
			}
		})
	}
}

func errorText(err error) string {
	if coded, ok := errors.AsType[smithy.APIError](err); ok {
		return coded.ErrorCode() + ": " + coded.ErrorMessage()
	}
	return err.Error()
}

func TestAnOperationThatWouldStreamCanBeRefusedAsAnyOther(t *testing.T) {
	_, err := tailing(t, func(context.Context, *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[tailed, error], error) {
		return nil, nil, &types.LimitExceededException{Message: aws.String("15")}
	})
	if _, ok := errors.AsType[*types.LimitExceededException](err); !ok {
		t.Errorf("%v", err)
	}
}

// A handler that waits is told when its caller has gone, and the next call on the server is as any other.
func TestAStreamEndsWhenItsCallerGoes(t *testing.T) {
	gone := make(chan struct{})
	api := newLogs()
	wire.HandleStream(api, func(ctx context.Context, _ *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[tailed, error], error) {
		return nil, func(yield func(tailed, error) bool) {
			defer close(gone)
			yield(tailEvents[0], nil)
			<-ctx.Done()
		}, nil
	})
	server := httptest.NewServer(newServer(api))
	defer server.Close()
	client := cloudwatchlogs.NewFromConfig(config(func(r *http.Request) (*http.Response, error) {
		r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(server.URL, "http://")
		return server.Client().Do(r)
	}))
	out, err := client.StartLiveTail(t.Context(), &cloudwatchlogs.StartLiveTailInput{LogGroupIdentifiers: []string{"g"}})
	if err != nil {
		t.Fatal(err)
	}
	if event := <-out.GetStream().Events(); !reflect.DeepEqual(event, tailEvents[0]) {
		t.Errorf("%+v", event)
	}
	out.GetStream().Close()
	<-gone
}

func TestAPIsWithoutStreamsSaySoWhenTheProgramStarts(t *testing.T) {
	for what, register := range map[string]func(){
		"a dialect without streams": func() {
			wire.HandleStream(newSTS(), func(context.Context, *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[tailed, error], error) {
				return nil, nil, nil
			})
		},
		"events that are no union": func() {
			wire.HandleStream(newLogs(), func(context.Context, *cloudwatchlogs.StartLiveTailInput) (*cloudwatchlogs.StartLiveTailOutput, iter.Seq2[string, error], error) {
				return nil, nil, nil
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("registered")
				}
			}()
			register()
		})
	}
}
