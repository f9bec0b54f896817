package logs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/logquery"
)

// The limits of queries. CloudWatch Logs has 100 at a time, of 60 minutes, and keeps their results for seven days;
// these are for one machine, whose cores and memory are for containers.
const (
	maxQueries    = 30 // scheduled or running
	maxRunning    = 2
	maxQueryTime  = 15 * time.Minute
	keepQueryFor  = time.Hour // after its start, when it has ended
	maxKept       = 1000      // queries that have ended
	maxKeptBytes  = 128 << 20 // of their results
	rowFieldBytes = 48        // beside the value
)

// query is one query, from its start until it is forgotten.
type query struct {
	id      string
	text    string // as DescribeQueries shows it
	groups  []string
	created int64 // milliseconds since 1970
	parsed  logquery.Query
	options logquery.Options
	events  func(context.Context) iter.Seq2[logquery.Event, error]

	scanned, bytes atomic.Int64 // so far

	// Guarded by the lock of queries.
	status types.QueryStatus
	cancel context.CancelFunc
	result logquery.Result
	size   int // bytes of the result
	reason string
}

func (q *query) active() bool {
	return q.status == types.QueryStatusScheduled || q.status == types.QueryStatusRunning
}

// queries are the queries that a server knows. Each runs in a goroutine of its own, maxRunning of them at a time.
type queries struct {
	ctx  context.Context // ends with the server
	stop context.CancelFunc
	slot chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	known []*query // the earliest first
}

func newQueries() *queries {
	ctx, stop := context.WithCancel(context.Background())
	return &queries{ctx: ctx, stop: stop, slot: make(chan struct{}, maxRunning)}
}

// end cancels all queries and returns when they have ended.
func (qs *queries) end() {
	qs.mu.Lock()
	qs.stop()
	qs.mu.Unlock()
	qs.done.Wait()
}

// start schedules a query.
func (qs *queries) start(q *query) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.forget(q.created)
	active := 0
	for _, other := range qs.known {
		if other.active() {
			active++
		}
	}
	switch {
	case qs.ctx.Err() != nil:
		return unavailable(errors.New("the server is about to end"))
	case active >= maxQueries:
		return &types.LimitExceededException{Message: ptr(fmt.Sprintf("There are %d queries, which is the limit. Wait until one has ended, or stop one.", maxQueries))}
	}
	var ctx context.Context
	q.status = types.QueryStatusScheduled
	ctx, q.cancel = context.WithCancel(qs.ctx)
	qs.known = append(qs.known, q)
	qs.done.Go(func() {
		defer q.cancel()
		qs.run(ctx, q)
	})
	return nil
}

// run waits for its turn, evaluates the query and notes how it ended.
func (qs *queries) run(ctx context.Context, q *query) {
	result, err := logquery.Result{}, context.Canceled
	select {
	case qs.slot <- struct{}{}:
		qs.set(q, types.QueryStatusRunning)
		timed, cancel := context.WithTimeout(ctx, maxQueryTime)
		result, err = q.parsed.Run(q.options, q.counted(timed))
		cancel()
		<-qs.slot
	case <-ctx.Done():
	}
	qs.mu.Lock()
	defer qs.mu.Unlock()
	switch {
	case err == nil:
		q.status, q.result = types.QueryStatusComplete, result
		for _, row := range result.Rows {
			for _, f := range row {
				q.size += len(f.Value) + rowFieldBytes
			}
		}
	case errors.Is(err, context.Canceled):
		q.status = types.QueryStatusCancelled
	case errors.Is(err, context.DeadlineExceeded):
		q.status = types.QueryStatusTimeout
	default:
		q.status, q.reason = types.QueryStatusFailed, err.Error()
	}
	q.events, q.parsed = nil, logquery.Query{}
}

// counted counts the events as the query takes them.
func (q *query) counted(ctx context.Context) iter.Seq2[logquery.Event, error] {
	return func(yield func(logquery.Event, error) bool) {
		for e, err := range q.events(ctx) {
			if err == nil {
				q.scanned.Add(1)
				q.bytes.Add(int64(len(e.Message)))
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (qs *queries) set(q *query, status types.QueryStatus) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q.status = status
}

// forget lets go of queries that have ended, the earliest first, when their time is up or there are too many or too
// large ones. The lock is held.
func (qs *queries) forget(now int64) {
	ended, bytes := 0, 0
	for _, q := range qs.known {
		if !q.active() {
			ended++
			bytes += q.size
		}
	}
	qs.known = slices.DeleteFunc(qs.known, func(q *query) bool {
		due := now-q.created > keepQueryFor.Milliseconds() || ended > maxKept || bytes > maxKeptBytes
		if q.active() || !due {
			return false
		}
		ended--
		bytes -= q.size
		return true
	})
}

// with calls f on a query that there is, with the lock held.
func (qs *queries) with(id string, now int64, f func(*query) error) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.forget(now)
	for _, q := range qs.known {
		if q.id == id {
			return f(q)
		}
	}
	return &types.ResourceNotFoundException{Message: ptr(fmt.Sprintf("The specified query does not exist. Havn keeps a query for %v, and none when it restarts.", keepQueryFor))}
}

// all returns what f makes of the queries, the latest first.
func (qs *queries) all(now int64, f func(*query)) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.forget(now)
	for _, q := range slices.Backward(qs.known) {
		f(q)
	}
}
