package logs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/cockroachdb/pebble/v2/vfs"

	"havn/api/logs"
	"havn/logstore"
	"havn/state"
	"havn/wire"
)

// bubble is a server in virtual time, without HTTP.
type bubble struct {
	*logs.Server
	t   *testing.T
	end func()
}

func newBubble(t *testing.T) *bubble {
	ctx, cancel := context.WithCancel(t.Context())
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	events, err := logstore.Open(logstore.Config{Dir: "logs", FS: vfs.NewMem(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	b := &bubble{logs.NewServer(logs.Config{Store: store, Events: events, Region: region, Account: account}), t, func() {
		events.Close()
		cancel()
		store.Wait() //nolint:errcheck // it was told to
	}}
	for _, group := range []string{"g", "h"} {
		if _, err := b.CreateLogGroup(b.now(), &sdk.CreateLogGroupInput{LogGroupName: &group}); err != nil {
			t.Fatal(err)
		}
		for _, stream := range []string{"web/1", "api/1"} {
			if _, err := b.CreateLogStream(b.now(), &sdk.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// now is the context of a request that is made now.
func (b *bubble) now() context.Context {
	return wire.WithRequest(b.t.Context(), wire.Request{Now: time.Now(), ID: "request"})
}

func (b *bubble) put(group, stream string, messages ...string) {
	b.t.Helper()
	in := &sdk.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream}
	for _, m := range messages {
		in.LogEvents = append(in.LogEvents, types.InputLogEvent{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: &m})
	}
	if _, err := b.PutLogEvents(b.now(), in); err != nil {
		b.t.Fatal(err)
	}
}

// tail runs a session, and tells what it says a line an event. With each is called after each, and ends it by false.
func (b *bubble) tail(in *sdk.StartLiveTailInput, each func(n int) bool) (lines []string, err error) {
	began := time.Now()
	_, events, err := b.StartLiveTail(b.now(), in)
	if err != nil {
		return nil, err
	}
	for event, err := range events {
		if err != nil {
			return lines, err
		}
		switch e := event.(type) {
		case *types.StartLiveTailResponseStreamMemberSessionStart:
			lines = append(lines, "start "+*e.Value.SessionId+" "+strings.Join(e.Value.LogGroupIdentifiers, ","))
		case *types.StartLiveTailResponseStreamMemberSessionUpdate:
			var said []string
			for _, r := range e.Value.SessionResults {
				group := (*r.LogGroupIdentifier)[strings.LastIndexByte(*r.LogGroupIdentifier, ':')+1:]
				said = append(said, group+" "+*r.LogStreamName+" "+*r.Message)
			}
			if len(said) > 5 {
				said = []string{fmt.Sprint(len(said), " events")}
			}
			line := fmt.Sprint(time.Since(began), " ", said)
			if e.Value.SessionMetadata.Sampled {
				line += " sampled"
			}
			lines = append(lines, line)
		}
		if !each(len(lines)) {
			return lines, nil
		}
	}
	return append(lines, "end"), nil
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("the session says\n%s\nwant\n%s", g, w)
	}
}

func TestALiveTailShowsEachSecondWhatHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		defer b.end()
		b.put("g", "web/1", "before")
		got, err := b.tail(&sdk.StartLiveTailInput{LogGroupIdentifiers: []string{"g", "arn:aws:logs:us-east-1:000000000000:log-group:h"}}, func(n int) bool {
			switch n {
			case 1:
				b.put("g", "web/1", "one", "two")
				b.put("h", "api/1", "three")
			case 3:
				b.put("g", "api/1", "four")
			case 4:
				messages := make([]string, 600)
				for i := range messages {
					messages[i] = fmt.Sprint(i)
				}
				b.put("g", "web/1", messages...)
			}
			return n < 6
		})
		if err != nil {
			t.Error(err)
		}
		expect(t, got, "start request g,arn:aws:logs:us-east-1:000000000000:log-group:h",
			"1s [g web/1 one g web/1 two h api/1 three]", "2s []", "3s [g api/1 four]", "4s [500 events] sampled", "5s []")
	})
}

func TestALiveTailShowsOnlyWhatWasAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		in   sdk.StartLiveTailInput
		want string
	}{
		"by name":    {sdk.StartLiveTailInput{LogStreamNames: []string{"api/1", "none"}}, "1s [g api/1 an error g api/1 fine]"},
		"by prefix":  {sdk.StartLiveTailInput{LogStreamNamePrefixes: []string{"we"}}, "1s [g web/1 no error]"},
		"by pattern": {sdk.StartLiveTailInput{LogEventFilterPattern: aws.String("error -no")}, "1s [g api/1 an error]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				defer b.end()
				test.in.LogGroupIdentifiers = []string{"g"}
				got, err := b.tail(&test.in, func(n int) bool {
					if n == 1 {
						b.put("g", "web/1", "no error")
						b.put("g", "api/1", "an error", "fine")
						b.put("h", "api/1", "an error")
					}
					return n < 2
				})
				if err != nil {
					t.Error(err)
				}
				expect(t, got, "start request g", test.want)
			})
		})
	}
}

func TestALiveTailEnds(t *testing.T) {
	in := &sdk.StartLiveTailInput{LogGroupIdentifiers: []string{"g"}}
	t.Run("after three hours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t)
			defer b.end()
			began := time.Now()
			_, err := b.tail(in, func(int) bool { return true })
			if _, ok := errors.AsType[*types.SessionTimeoutException](err); !ok || time.Since(began) != 3*time.Hour {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	})
	t.Run("when the server does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t)
			defer b.end()
			got, err := b.tail(in, func(int) bool { b.EndSessions(); return true })
			if err != nil {
				t.Error(err)
			}
			expect(t, got, "start request g", "end")
		})
	})
	t.Run("at the sixteenth", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t)
			defer b.end()
			sessions := 0
			var refused error
			var more func(int) bool
			more = func(int) bool { // each session begins another, before its first second is over
				sessions++
				if _, err := b.tail(in, more); err != nil {
					refused = err
				}
				return false
			}
			b.tail(in, more) //nolint:errcheck // it is the first
			if _, ok := errors.AsType[*types.LimitExceededException](refused); !ok {
				t.Errorf("after 15 sessions: %v", refused)
			}
			if sessions != 15 {
				t.Errorf("%d sessions at a time", sessions)
			}
			if _, err := b.tail(in, func(int) bool { return false }); err != nil {
				t.Errorf("after they have ended: %v", err)
			}
		})
	})
}

func TestALiveTailIsRefusedByName(t *testing.T) {
	w := newWorld(t, time.Now)
	for _, body := range []string{
		`{"logGroupIdentifiers": ["none"]}`,
		`{"logGroupIdentifiers": ["g", "g"], "logStreamNames": ["s"]}`,
		`{"logGroupIdentifiers": ["g"], "logStreamNames": ["s"], "logStreamNamePrefixes": ["s"]}`,
		`{"logGroupIdentifiers": ["g"], "logEventFilterPattern": "{"}`,
		`{"logGroupIdentifiers": ["arn:aws:logs:eu-west-1:000000000000:log-group:g"]}`,
	} {
		if got := w.call(t, time.Now(), "StartLiveTail", body); !strings.HasPrefix(got, "400 InvalidParameterException: ") && !strings.HasPrefix(got, "400 ResourceNotFoundException: ") {
			t.Errorf("%s: %s", body, got)
		}
	}
}

// The stock SDK client, over HTTP, end to end.
func TestTheSDKTailsWhatItPuts(t *testing.T) {
	w := newWorld(t, time.Now)
	group, stream := aws.String("g"), aws.String("s")
	ctx := t.Context()
	if _, err := w.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
		t.Fatal(err)
	}
	// The SDK puts a prefix before the host, as AWS has it; there is none in front of an address.
	client := sdk.New(sdk.Options{
		Region: region, BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
			r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(w.url, "http://")
			return http.DefaultClient.Do(r)
		}),
	})
	out, err := client.StartLiveTail(ctx, &sdk.StartLiveTailInput{LogGroupIdentifiers: []string{"arn:aws:logs:us-east-1:000000000000:log-group:g"}})
	if err != nil {
		t.Fatal(err)
	}
	defer out.GetStream().Close()
	for event := range out.GetStream().Events() {
		switch e := event.(type) {
		case *types.StartLiveTailResponseStreamMemberSessionStart:
			_, err := w.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: []types.InputLogEvent{
				{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: aws.String("hello")},
			}})
			if err != nil {
				t.Fatal(err)
			}
		case *types.StartLiveTailResponseStreamMemberSessionUpdate:
			if len(e.Value.SessionResults) == 0 {
				continue
			}
			if got := *e.Value.SessionResults[0].Message; got != "hello" {
				t.Errorf("tailed %q", got)
			}
			return
		}
	}
	t.Errorf("the session ended: %v", out.GetStream().Err())
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }
