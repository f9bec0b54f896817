package logging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
)

// The limits of PutLogEvents. Amazon CloudWatch Logs API Reference, "PutLogEvents".
const (
	maxPutBytes   = 1 << 20
	maxPutEvents  = 10_000
	maxPutSpan    = 24 * time.Hour
	eventOverhead = 26 // bytes that an event counts for beside its text
)

// mostParts is how many puts one may become that is refused for one of its events. It takes 2*log2(maxPutEvents), which is
// 28, to find one; so several are found, and a destination that refuses all is not asked for each.
const mostParts = 100

// awslogs gives messages to CloudWatch Logs.
type awslogs struct {
	api           *cloudwatchlogs.Client
	group, stream string
	createGroup   bool
	prepared      bool
	warn          func(msg string, args ...any)
}

func (s *Shipper) awslogs(c Container) (*awslogs, error) {
	a := &awslogs{group: c.option("awslogs-group"), stream: c.option("awslogs-stream"), warn: s.config.Log.With("task", c.TaskARN, "container", c.Name).Warn}
	if a.group == "" {
		return nil, errors.New("must specify a value for log opt 'awslogs-group'")
	}
	if a.stream == "" {
		a.stream = c.ID // as Docker does it where there is no prefix
	}
	if text := c.option("awslogs-create-group"); text != "" {
		var err error
		if a.createGroup, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("cannot read the log option awslogs-create-group: %w", err)
		}
	}
	endpoint := c.option("awslogs-endpoint")
	if endpoint == "" {
		endpoint = s.config.Endpoint
	}
	a.api = cloudwatchlogs.New(cloudwatchlogs.Options{
		Region: c.option("awslogs-region"), Credentials: s.config.Credentials, BaseEndpoint: presentString(endpoint),
		Retryer: retry.AddWithMaxAttempts(retry.NewStandard(), 2), // who calls send tries on
	})
	return a, nil
}

// presentString is nil for none: then the SDK knows one.
func presentString(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// prepare makes the stream, and the group if that is wanted.
func (a *awslogs) prepare(ctx context.Context) error {
	err := a.createStream(ctx)
	if code(err) == "ResourceNotFoundException" && a.createGroup {
		_, err = a.api.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &a.group})
		if err != nil && code(err) != "ResourceAlreadyExistsException" {
			return fmt.Errorf("failed to create Cloudwatch log group: %w", err)
		}
		err = a.createStream(ctx)
	}
	if err != nil {
		return fmt.Errorf("failed to create Cloudwatch log stream: %w", err)
	}
	a.prepared = true
	return nil
}

func (a *awslogs) createStream(ctx context.Context) error {
	_, err := a.api.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &a.group, LogStreamName: &a.stream})
	if code(err) == "ResourceAlreadyExistsException" {
		return nil
	}
	return err
}

func code(err error) string {
	var coded smithy.APIError
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// refused reports whether a destination has said no to what was asked for, so that trying again is of no use.
func refused(err error) bool {
	if answer, ok := errors.AsType[*splunkRefusal](err); ok {
		return answer.final()
	}
	var coded smithy.APIError
	return errors.As(err, &coded) && coded.ErrorFault() != smithy.FaultServer &&
		!retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
}

func (a *awslogs) send(ctx context.Context, batch []Message) error {
	for _, put := range puts(batch) {
		left := mostParts
		if err := a.put(ctx, put, &left); err != nil {
			return err
		}
	}
	return nil
}

// put sends events, and if they are refused for one of them, all but that one.
func (a *awslogs) put(ctx context.Context, events []types.InputLogEvent, left *int) error {
	if !a.prepared {
		if err := a.prepare(ctx); err != nil {
			return err
		}
	}
	out, err := a.api.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &a.group, LogStreamName: &a.stream, LogEvents: events})
	switch {
	case err == nil:
		if r := out.RejectedLogEventsInfo; r != nil {
			a.warn("CloudWatch Logs takes no events that are so old, or so far ahead", "group", a.group, "events", len(events))
		}
		return nil
	case code(err) == "DataAlreadyAcceptedException":
		return nil
	case code(err) == "InvalidParameterException":
		return a.divide(ctx, events, left, err)
	case code(err) == "ResourceNotFoundException":
		a.prepared = false // somebody has deleted the stream
	}
	return err
}

// divide sends the halves of events that were refused together.
func (a *awslogs) divide(ctx context.Context, events []types.InputLogEvent, left *int, refusal error) error {
	if len(events) == 1 || *left < 2 {
		size := 0
		for _, e := range events {
			size += len(*e.Message)
		}
		a.warn("CloudWatch Logs does not take what a container printed; it is left out", "group", a.group, "stream", a.stream,
			"events", len(events), "bytes", size, "time", time.UnixMilli(*events[0].Timestamp).UTC().Format(time.RFC3339Nano), "error", refusal)
		return nil
	}
	*left -= 2
	half := len(events) / 2
	if err := a.put(ctx, events[:half], left); err != nil {
		return err
	}
	return a.put(ctx, events[half:], left)
}

func (a *awslogs) Close() error { return nil }

// puts divides messages into what each PutLogEvents can take, in the order of time.
func puts(batch []Message) (all [][]types.InputLogEvent) {
	var events []types.InputLogEvent
	for _, m := range batch {
		for _, part := range parts(m.Text, maxMessage) {
			events = append(events, types.InputLogEvent{Message: aws.String(part), Timestamp: aws.Int64(m.Time.UnixMilli())})
		}
	}
	slices.SortStableFunc(events, func(x, y types.InputLogEvent) int { return int(*x.Timestamp - *y.Timestamp) })
	begin, size := 0, 0
	for i, e := range events {
		n := len(*e.Message) + eventOverhead
		if i > begin && (size+n > maxPutBytes || i-begin == maxPutEvents || *e.Timestamp-*events[begin].Timestamp > maxPutSpan.Milliseconds()) {
			all = append(all, events[begin:i])
			begin, size = i, 0
		}
		size += n
	}
	if begin < len(events) {
		all = append(all, events[begin:])
	}
	return all
}

// parts divides a text into what one event can hold, between characters. An event holds one at least, so that an empty
// line, which Docker leaves out, has none.
func parts(text []byte, limit int) (all []string) {
	for len(text) > limit {
		end := limit
		for end > limit-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		all = append(all, string(text[:end]))
		text = text[end:]
	}
	if len(text) > 0 {
		all = append(all, string(text))
	}
	return all
}
