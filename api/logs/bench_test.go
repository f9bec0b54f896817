package logs_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// BenchmarkPutLogEvents is what goes in through the API, from four clients of the SDK at a time, in this process too:
// JSON is written and read, and requests are signed and verified. logstore's own benchmark has the disk.
func BenchmarkPutLogEvents(b *testing.B) {
	w := newWorld(b, time.Now)
	const batch, clients = 1000, 4
	group := aws.String("g")
	if _, err := w.CreateLogGroup(b.Context(), &sdk.CreateLogGroupInput{LogGroupName: group}); err != nil {
		b.Fatal(err)
	}
	events := make([]types.InputLogEvent, batch)
	for i := range events {
		events[i] = types.InputLogEvent{
			Timestamp: aws.Int64(time.Now().UnixMilli()),
			Message:   aws.String(fmt.Sprintf(`{"level":"info","request":"%032d","took":%d,"path":"/api/items"}`, i, i)),
		}
	}
	var work sync.WaitGroup
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	b.ResetTimer()
	for client := range clients {
		stream := aws.String(fmt.Sprint(client))
		if _, err := w.CreateLogStream(b.Context(), &sdk.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
			b.Fatal(err)
		}
		work.Go(func() {
			for range left {
				if _, err := w.PutLogEvents(b.Context(), &sdk.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: events}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
}
