package logs

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logquery"
)

// GetQueryResults shows how a query is, and its rows once it is complete: those that come before are none. A query that
// failed has a row that says why, which CloudWatch Logs has no place for.
func (s *Server) GetQueryResults(ctx context.Context, in *cloudwatchlogs.GetQueryResultsInput) (*cloudwatchlogs.GetQueryResultsOutput, error) {
	out := &cloudwatchlogs.GetQueryResultsOutput{QueryLanguage: types.QueryLanguageCwli, Results: [][]types.ResultField{}}
	err := s.queries.with(*in.QueryId, now(ctx), func(q *query) error {
		rows := q.result.Rows
		if q.reason != "" {
			rows = []logquery.Row{{{Name: "@error", Value: q.reason}}}
		}
		from, to, next, err := placesOf(len(rows), in.NextToken, in.MaxItems, logquery.MaxRows)
		if err != nil {
			return err
		}
		out.Status, out.NextToken = q.status, next
		out.Statistics = &types.QueryStatistics{
			RecordsMatched: q.result.Statistics.RecordsMatched, RecordsScanned: float64(q.scanned.Load()), BytesScanned: float64(q.bytes.Load()),
			LogGroupsScanned: float64(len(q.groups)), ResultCount: float64(len(rows)),
		}
		for _, row := range rows[from:to] {
			fields := make([]types.ResultField, len(row))
			for i := range row {
				fields[i] = types.ResultField{Field: &row[i].Name, Value: &row[i].Value}
			}
			out.Results = append(out.Results, fields)
		}
		return nil
	})
	return out, err
}

// placesOf is the part of n things that a token and a number ask for, and the token of the next; most is how many there
// are on a page at most, and without a number.
func placesOf(n int, token *string, size *int32, most int) (from, to int, next *string, err error) {
	if token != nil {
		if from, err = strconv.Atoi(*token); err != nil || from < 0 || from > n {
			return 0, 0, nil, invalid("The specified nextToken is invalid.")
		}
	}
	if size != nil && *size > 0 {
		most = min(most, int(*size))
	}
	if to = min(from+most, n); to < n {
		next = ptr(strconv.Itoa(to))
	}
	return from, to, next, nil
}

// StopQuery ends a query that has not ended.
func (s *Server) StopQuery(ctx context.Context, in *cloudwatchlogs.StopQueryInput) (*cloudwatchlogs.StopQueryOutput, error) {
	err := s.queries.with(*in.QueryId, now(ctx), func(q *query) error {
		if !q.active() {
			return invalid("The query %s is not running: its status is %s.", q.id, q.status)
		}
		q.cancel()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.StopQueryOutput{Success: true}, nil
}

// maxDescribed is how many queries a page of DescribeQueries has (maxResults in the API's model).
const maxDescribed = 1000

// DescribeQueries lists the queries that are known, the latest first.
func (s *Server) DescribeQueries(ctx context.Context, in *cloudwatchlogs.DescribeQueriesInput) (*cloudwatchlogs.DescribeQueriesOutput, error) {
	infos := []types.QueryInfo{}
	s.queries.all(now(ctx), func(q *query) {
		switch {
		case in.LogGroupName != nil && !slices.Contains(q.groups, *in.LogGroupName):
		case in.Status != "" && in.Status != q.status:
		case in.QueryLanguage != "" && in.QueryLanguage != types.QueryLanguageCwli:
		default:
			info := types.QueryInfo{
				QueryId: &q.id, QueryString: &q.text, CreateTime: &q.created, Status: q.status, QueryLanguage: types.QueryLanguageCwli,
				BytesScanned: ptr(float64(q.bytes.Load())),
			}
			if len(q.groups) == 1 {
				info.LogGroupName = &q.groups[0]
			}
			infos = append(infos, info)
		}
	})
	from, to, next, err := placesOf(len(infos), in.NextToken, in.MaxResults, maxDescribed)
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.DescribeQueriesOutput{Queries: infos[from:to], NextToken: next}, nil
}
