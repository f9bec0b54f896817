package logquery

import (
	"hash/fnv"
	"math"
	"slices"
)

// aggregation is a function of a stats command over the rows of a group.
type aggregation struct {
	name    string
	arg     expression // nil for count(*)
	percent float64    // for pct
}

// tally collects what an aggregation needs of one group.
type tally interface {
	add(r *row, v value) (grown int) // by how many bytes it grew
	outcome() value
}

// aggregations make the tallies, by their names in lower case ("stats" in the
// CloudWatch Logs User Guide).
var aggregations = map[string]func(*aggregation) tally{
	"count":          func(*aggregation) tally { return new(counted) },
	"count_distinct": func(*aggregation) tally { return &distinct{seen: map[uint64]struct{}{}} },
	"sum":            func(*aggregation) tally { return &moments{what: 's'} },
	"avg":            func(*aggregation) tally { return &moments{what: 'a'} },
	"stddev":         func(*aggregation) tally { return &moments{what: 'd'} },
	"min":            func(*aggregation) tally { return &extreme{sign: -1} },
	"max":            func(*aggregation) tally { return &extreme{sign: 1} },
	"sortsfirst":     func(*aggregation) tally { return &extreme{sign: -1} },
	"sortslast":      func(*aggregation) tally { return &extreme{sign: 1} },
	"earliest":       func(*aggregation) tally { return &timely{sign: -1} },
	"latest":         func(*aggregation) tally { return &timely{sign: 1} },
	"pct":            func(a *aggregation) tally { return &percentile{percent: a.percent} },
}

type counted struct{ n float64 }

func (t *counted) add(*row, value) int { t.n++; return 0 }
func (t *counted) outcome() value      { return numberValue(t.n) }

// distinct counts different values by their hashes: of a million, two are likely
// to be taken for one in one of 30 million queries.
type distinct struct{ seen map[uint64]struct{} }

func (t *distinct) add(_ *row, v value) int {
	h := fnv.New64a()
	h.Write([]byte(v.String())) //nolint:errcheck // a hash does not fail
	before := len(t.seen)
	t.seen[h.Sum64()] = struct{}{}
	return 32 * (len(t.seen) - before)
}
func (t *distinct) outcome() value { return numberValue(float64(len(t.seen))) }

// moments is sum, average and standard deviation (of a sample) of what are
// numbers, by Welford's method.
type moments struct {
	what              byte
	n, sum, mean, dev float64
}

func (t *moments) add(_ *row, v value) int {
	if x, ok := v.number(); ok {
		t.n++
		t.sum += x
		d := x - t.mean
		t.mean += d / t.n
		t.dev += d * (x - t.mean)
	}
	return 0
}

func (t *moments) outcome() value {
	switch {
	case t.n == 0:
		return value{}
	case t.what == 's':
		return finite(t.sum)
	case t.what == 'a':
		return finite(t.sum / t.n)
	case t.n == 1:
		return numberValue(0)
	}
	return finite(math.Sqrt(t.dev / (t.n - 1)))
}

// extreme is the value that sorts first or last.
type extreme struct {
	sign int
	best value
}

func (t *extreme) add(_ *row, v value) int {
	if t.best.kind != kindNull && order(v, t.best)*t.sign <= 0 {
		return 0
	}
	grown := len(v.text) - len(t.best.text)
	t.best = v
	return grown
}
func (t *extreme) outcome() value { return t.best }

// timely is the value of the earliest or the latest event.
type timely struct {
	sign int64
	at   int64
	best value
}

func (t *timely) add(r *row, v value) int {
	var at int64
	if r.event != nil {
		at = r.event.Timestamp
	}
	if t.best.kind != kindNull && (at-t.at)*t.sign <= 0 {
		return 0
	}
	grown := len(v.text) - len(t.best.text)
	t.at, t.best = at, v
	return grown
}
func (t *timely) outcome() value { return t.best }

// percentile is exact while there are few numbers. Of more than maxExact it keeps
// how many there are in buckets whose bounds differ by bucketWidth, so that the
// outcome is wrong by half a percent at most.
type percentile struct {
	percent float64
	exact   []float64
	buckets map[int]float64
	n       float64
}

const (
	maxExact    = 1000
	bucketWidth = 1.01
)

func (t *percentile) add(_ *row, v value) int {
	x, ok := v.number()
	if !ok {
		return 0
	}
	t.n++
	if t.buckets == nil && len(t.exact) < maxExact {
		t.exact = append(t.exact, x)
		return 8
	}
	if t.buckets == nil {
		t.buckets = map[int]float64{}
		for _, x := range t.exact {
			t.buckets[bucket(x)]++
		}
		t.exact = nil
	}
	before := len(t.buckets)
	t.buckets[bucket(x)]++
	return 40 * (len(t.buckets) - before)
}

// bucket is the bucket of x; those of negative numbers are negative, and what is
// nearly nothing is in 0.
func bucket(x float64) int {
	const least = 1e-9
	b := int(math.Log(max(math.Abs(x), least)/least)/math.Log(bucketWidth)) + 1
	switch {
	case math.Abs(x) < least:
		return 0
	case x < 0:
		return -b
	}
	return b
}

func (t *percentile) outcome() value {
	if t.n == 0 {
		return value{}
	}
	place := max(math.Ceil(t.percent/100*t.n), 1)
	if t.buckets == nil {
		slices.Sort(t.exact)
		return numberValue(t.exact[int(place)-1])
	}
	keys := make([]int, 0, len(t.buckets))
	for b := range t.buckets {
		keys = append(keys, b)
	}
	slices.Sort(keys)
	for _, b := range keys {
		if place -= t.buckets[b]; place <= 0 {
			return numberValue(middle(b))
		}
	}
	return value{}
}

// middle is a number in the middle of a bucket.
func middle(b int) float64 {
	switch {
	case b == 0:
		return 0
	case b < 0:
		return -middle(-b)
	}
	return 1e-9 * math.Pow(bucketWidth, float64(b)-0.5)
}
