package logs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// The largest batches that CloudWatch Logs takes are taken, however large JSON makes them.
func TestTheLargestBatchesAreTaken(t *testing.T) {
	w := newWorld(t, time.Now)
	group, stream := aws.String("g"), aws.String("s")
	if _, err := w.CreateLogGroup(t.Context(), &sdk.CreateLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateLogStream(t.Context(), &sdk.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
		t.Fatal(err)
	}
	put := func(n int, message string) error {
		events := make([]types.InputLogEvent, n)
		for i := range events {
			events[i] = types.InputLogEvent{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: &message}
		}
		_, err := w.PutLogEvents(t.Context(), &sdk.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: events})
		return err
	}
	const limit = 1 << 20
	if err := put(1, strings.Repeat("\x01", limit-26)); err != nil {
		t.Errorf("a megabyte that JSON writes with six: %v", err)
	}
	if err := put(10_000, strings.Repeat("\x01", limit/10_000-26)); err != nil {
		t.Errorf("10,000 events of that kind: %v", err)
	}
	if err := put(1, strings.Repeat("x", limit-25)); err == nil || !strings.Contains(err.Error(), "Upload too large: 1048577 bytes exceeds limit of 1048576") {
		t.Errorf("a byte too many: %v", err)
	}
	if err := put(10_001, "x"); err == nil || !strings.Contains(err.Error(), "InvalidParameterException") {
		t.Errorf("an event too many: %v", err)
	}
	page, err := w.GetLogEvents(t.Context(), &sdk.GetLogEventsInput{LogGroupName: group, LogStreamName: stream, StartFromHead: aws.Bool(true)})
	if err != nil || len(page.Events) != 1 {
		t.Errorf("a page has a megabyte, and so one event here: %v", err)
	}
}

// A search for what is not there comes to an end in pages that find nothing, however large the events are.
func TestASearchLooksAtSoManyBytesAtATime(t *testing.T) {
	w := newWorld(t, time.Now)
	group, stream := aws.String("g"), aws.String("s")
	if _, err := w.CreateLogGroup(t.Context(), &sdk.CreateLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateLogStream(t.Context(), &sdk.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
		t.Fatal(err)
	}
	at := time.Now().UnixMilli()
	put := func(message string) {
		t.Helper()
		_, err := w.PutLogEvents(t.Context(), &sdk.PutLogEventsInput{LogGroupName: group, LogStreamName: stream,
			LogEvents: []types.InputLogEvent{{Timestamp: &at, Message: &message}}})
		if err != nil {
			t.Fatal(err)
		}
		at++
	}
	large := strings.Repeat("x", 1<<20-26)
	for range 70 { // of which 64 MiB hold 64
		put(large)
	}
	put("needle")
	for _, test := range []struct {
		head  bool
		found []int // on each page
	}{{true, []int{0, 1}}, {false, []int{1, 0, 0}}} {
		var token *string
		for page, want := range test.found {
			out, err := w.FilterLogEvents(t.Context(), &sdk.FilterLogEventsInput{LogGroupName: group, FilterPattern: aws.String("needle"),
				StartFromHead: &test.head, NextToken: token})
			if err != nil {
				t.Fatal(err)
			}
			if last := page == len(test.found)-1; len(out.Events) != want || (out.NextToken == nil) != last {
				t.Errorf("from the head %v, page %d: %d events, next token %v", test.head, page, len(out.Events), out.NextToken != nil)
			}
			token = out.NextToken
		}
	}
}
