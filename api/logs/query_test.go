package logs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// put makes a group with one stream, and appends messages to it, a second apart, the last of them now.
func (w *world) put(t testing.TB, group string, messages ...string) {
	t.Helper()
	ctx := t.Context()
	if _, err := w.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: &group}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: &group, LogStreamName: aws.String("web/1")}); err != nil {
		t.Fatal(err)
	}
	in := &sdk.PutLogEventsInput{LogGroupName: &group, LogStreamName: aws.String("web/1")}
	first := time.Now().Add(-time.Duration(len(messages)-1) * time.Second)
	for i, m := range messages {
		in.LogEvents = append(in.LogEvents, types.InputLogEvent{Message: &m, Timestamp: aws.Int64(first.Add(time.Duration(i) * time.Second).UnixMilli())})
	}
	if _, err := w.PutLogEvents(ctx, in); err != nil {
		t.Fatal(err)
	}
}

// query runs a query over the last hour to its end, and returns its rows as texts.
func (w *world) query(t testing.TB, in *sdk.StartQueryInput) (*sdk.GetQueryResultsOutput, []string) {
	t.Helper()
	in.StartTime, in.EndTime = aws.Int64(time.Now().Add(-time.Hour).Unix()), aws.Int64(time.Now().Unix())
	started, err := w.StartQuery(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	w.server.AwaitQueries()
	out, err := w.GetQueryResults(t.Context(), &sdk.GetQueryResultsInput{QueryId: started.QueryId})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range out.Results {
		var fields []string
		for _, f := range row {
			if *f.Field != "@ptr" {
				fields = append(fields, *f.Field+"="+*f.Value)
			}
		}
		rows = append(rows, strings.Join(fields, " "))
	}
	return out, rows
}

func TestQueriesReadGroups(t *testing.T) {
	w := newWorld(t, time.Now)
	w.put(t, "/app/web", `{"level":"INFO","ms":12}`, `{"level":"ERROR","ms":800}`, `plain`, `{"level":"ERROR","ms":200}`)
	w.put(t, "/app/job", `{"level":"ERROR","ms":50}`)
	arn := "arn:aws:logs:" + region + ":" + account + ":log-group:/app/job"
	for _, c := range []struct {
		text string
		in   sdk.StartQueryInput
		want []string
	}{
		{"fields level, ms | filter level = 'ERROR'", sdk.StartQueryInput{LogGroupName: aws.String("/app/web")}, []string{"level=ERROR ms=200", "level=ERROR ms=800"}},
		{"fields @message, @logStream, @log | limit 1", sdk.StartQueryInput{LogGroupIdentifiers: []string{arn}}, []string{
			`@message={"level":"ERROR","ms":50} @logStream=web/1 @log=` + account + ":/app/job"}},
		{"stats count(*) as n, avg(ms) as ms by level | sort level", sdk.StartQueryInput{LogGroupNames: []string{"/app/web", "/app/job", "/app/web"}}, []string{
			"n=1", "level=ERROR n=3 ms=350", "level=INFO n=1 ms=12"}},
		{"sort ms desc | display ms", sdk.StartQueryInput{LogGroupName: aws.String("/app/web"), Limit: aws.Int32(2)}, []string{"ms=800", "ms=200"}},
	} {
		c.in.QueryString = &c.text
		out, rows := w.query(t, &c.in)
		if out.Status != types.QueryStatusComplete || !slices.Equal(rows, c.want) {
			t.Errorf("%s: %s %q, want %q", c.text, out.Status, rows, c.want)
		}
	}
	out, _ := w.query(t, &sdk.StartQueryInput{LogGroupName: aws.String("/app/web"), QueryString: aws.String("filter ms > 100")})
	if s := out.Statistics; s.RecordsScanned != 4 || s.RecordsMatched != 2 || s.BytesScanned != 81 || s.LogGroupsScanned != 1 {
		t.Errorf("%+v", s)
	}
}

func TestAPointerLeadsToItsRecord(t *testing.T) {
	w := newWorld(t, time.Now)
	w.put(t, "/app/web", "before", `{"user":{"name":"ann"},"ok":true}`, "after")
	out, _ := w.query(t, &sdk.StartQueryInput{LogGroupName: aws.String("/app/web"), QueryString: aws.String("filter user.name = 'ann'")})
	row := out.Results[0]
	record, err := w.GetLogRecord(t.Context(), &sdk.GetLogRecordInput{LogRecordPointer: row[len(row)-1].Value})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"@message": `{"user":{"name":"ann"},"ok":true}`, "user.name": "ann", "ok": "1", "@logStream": "web/1", "@log": account + ":/app/web"} {
		if record.LogRecord[name] != want {
			t.Errorf("%s is %s, want %s", name, record.LogRecord[name], want)
		}
	}
	for _, pointer := range []string{"nonsense", strings.Repeat("AAAA", 16)} {
		if _, err := w.GetLogRecord(t.Context(), &sdk.GetLogRecordInput{LogRecordPointer: &pointer}); err == nil {
			t.Errorf("%s leads somewhere", pointer)
		}
	}
	if _, err := w.DeleteLogGroup(t.Context(), &sdk.DeleteLogGroupInput{LogGroupName: aws.String("/app/web")}); err != nil {
		t.Fatal(err)
	}
	_, err = w.GetLogRecord(t.Context(), &sdk.GetLogRecordInput{LogRecordPointer: row[len(row)-1].Value})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
		t.Errorf("the record of a deleted group: %v", err)
	}
}

func TestResultsComeInPages(t *testing.T) {
	w := newWorld(t, time.Now)
	w.put(t, "/app/web", "1", "2", "3", "4", "5")
	started, err := w.StartQuery(t.Context(), &sdk.StartQueryInput{LogGroupName: aws.String("/app/web"), QueryString: aws.String("display @message"),
		StartTime: aws.Int64(0), EndTime: aws.Int64(time.Now().Unix())})
	if err != nil {
		t.Fatal(err)
	}
	w.server.AwaitQueries()
	var seen []string
	in := &sdk.GetQueryResultsInput{QueryId: started.QueryId, MaxItems: aws.Int32(2)}
	for {
		out, err := w.GetQueryResults(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range out.Results {
			seen = append(seen, *row[0].Value)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if got := strings.Join(seen, ""); got != "54321" {
		t.Errorf("%s", got)
	}
}

func TestDescribeQueriesShowsTheLatestFirst(t *testing.T) {
	w := newWorld(t, time.Now)
	w.put(t, "/app/web", "x")
	w.put(t, "/app/job", "y")
	for _, group := range []string{"/app/web", "/app/job", "/app/web"} {
		w.query(t, &sdk.StartQueryInput{LogGroupName: &group, QueryString: aws.String("fields @message")})
	}
	for _, c := range []struct {
		in   sdk.DescribeQueriesInput
		want string
	}{
		{sdk.DescribeQueriesInput{}, "/app/web /app/job /app/web"},
		{sdk.DescribeQueriesInput{LogGroupName: aws.String("/app/job")}, "/app/job"},
		{sdk.DescribeQueriesInput{Status: types.QueryStatusRunning}, ""},
		{sdk.DescribeQueriesInput{MaxResults: aws.Int32(1), NextToken: aws.String("1")}, "/app/job"},
	} {
		out, err := w.DescribeQueries(t.Context(), &c.in)
		if err != nil {
			t.Fatal(err)
		}
		var groups []string
		for _, q := range out.Queries {
			groups = append(groups, *q.LogGroupName)
			if !strings.HasPrefix(*q.QueryString, `SOURCE "`+*q.LogGroupName+`" START=`) || !strings.HasSuffix(*q.QueryString, "999 | fields @message") || q.Status != types.QueryStatusComplete {
				t.Errorf("%s %s", *q.QueryString, q.Status)
			}
		}
		if got := strings.Join(groups, " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestWhatIsWrongWithAQueryIsSaid(t *testing.T) {
	w := newWorld(t, time.Now)
	w.put(t, "/app/web", "x")
	hour := sdk.StartQueryInput{StartTime: aws.Int64(1), EndTime: aws.Int64(2), QueryString: aws.String("fields @message"), LogGroupName: aws.String("/app/web")}
	for want, change := range map[string]func(in *sdk.StartQueryInput){
		"MalformedQueryException: unexpected symbol found count at line 1 and position 17":     func(in *sdk.StartQueryInput) { in.QueryString = aws.String("fields @message |count()") },
		"MalformedQueryException: unexpected symbol found pattern at line 1 and position 0":    func(in *sdk.StartQueryInput) { in.QueryString = aws.String("pattern @message") },
		"ResourceNotFoundException: Log group '/none' does not exist for account ID '00000000": func(in *sdk.StartQueryInput) { in.LogGroupName = aws.String("/none") },
		"InvalidParameterException: Specify the log groups to query with exactly one":          func(in *sdk.StartQueryInput) { in.LogGroupNames = []string{"/app/web"} },
		"InvalidParameterException: The query's start time must not be":                        func(in *sdk.StartQueryInput) { in.EndTime = aws.Int64(0) },
		"InvalidParameterException: Havn does not support the query language SQL":              func(in *sdk.StartQueryInput) { in.QueryLanguage = types.QueryLanguageSql },
		"InvalidParameterException: Havn does not support a limit of more than 10000 rows":     func(in *sdk.StartQueryInput) { in.Limit = aws.Int32(10001) },
	} {
		in := hour
		change(&in)
		_, err := w.StartQuery(t.Context(), &in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if wrong, ok := errors.AsType[*types.MalformedQueryException](err); ok {
			if l := wrong.QueryCompileError; l == nil || l.Location == nil || *l.Location.EndCharOffset <= *l.Location.StartCharOffset {
				t.Errorf("%s does not say where", want)
			}
		}
	}
	_, err := w.GetQueryResults(t.Context(), &sdk.GetQueryResultsInput{QueryId: aws.String("12345678-1234-1234-1234-123456789012")})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
		t.Errorf("an unknown query: %v", err)
	}
}

func TestAQueryThatIsTooLargeFailsAndSaysWhy(t *testing.T) {
	w := newWorld(t, time.Now)
	var messages []string
	for i := range 60 {
		messages = append(messages, strings.Repeat(fmt.Sprint(i%10), 15_000))
	}
	w.put(t, "/app/web", messages...)
	text := "fields @message" + strings.Repeat(", concat(@message, @message, @message, @message, @message, @message, @message) as a", 1)
	for i := range 20 {
		text += fmt.Sprintf(", concat(a, %d) as a%d", i, i)
	}
	out, rows := w.query(t, &sdk.StartQueryInput{LogGroupName: aws.String("/app/web"), QueryString: &text})
	if out.Status != types.QueryStatusFailed || len(rows) != 1 || !strings.Contains(rows[0], "64 MiB") {
		t.Errorf("%s, %.200q", out.Status, rows)
	}
}

func TestQueriesEndWithTheServer(t *testing.T) {
	w := newWorld(t, time.Now)
	w.put(t, "/app/web", "x")
	w.server.EndSessions()
	_, err := w.StartQuery(context.Background(), &sdk.StartQueryInput{LogGroupName: aws.String("/app/web"), QueryString: aws.String("fields @message"), StartTime: aws.Int64(0), EndTime: aws.Int64(1)})
	if _, ok := errors.AsType[*types.ServiceUnavailableException](err); !ok {
		t.Errorf("%v", err)
	}
}
