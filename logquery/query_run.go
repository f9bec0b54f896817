package logquery

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// MaxHeld is how many bytes of rows, groups and values a query may hold at once;
// one that needs more fails. MaxGroups is how many groups a stats command may make.
const (
	MaxHeld   = 64 << 20
	MaxGroups = 100_000
)

// Options are what a query is told besides events.
type Options struct {
	Now        time.Time // for now()
	Start, End time.Time // the range that the events are of
	Limit      int       // how many rows without a limit command; 0 is MaxRows
	// Pointer makes an event's @ptr, with which GetLogRecord finds it.
	Pointer func(Event) string
}

// Result is the outcome of a query.
type Result struct {
	Rows       []Row
	Statistics Statistics
}

// Row is a row's fields in their order. Those that are missing are left out.
type Row []Field

// Field is a field's name, and its value as GetQueryResults shows it.
type Field struct{ Name, Value string }

// Statistics say how much a query saw.
type Statistics struct {
	RecordsMatched float64 // events that the filters let through
}

// Run evaluates the query over events, which may come in any order; of rows that are
// alike to its order, the one that comes first is first. It stops at the first
// error of theirs. A query holds the rows that it may return, or the
// groups of its stats commands, and no others: see MaxRows, MaxGroups, MaxHeld.
func (q Query) Run(options Options, events iter.Seq2[Event, error]) (Result, error) {
	run := &run{options: options}
	rest := MaxRows
	if options.Limit > 0 && !q.limited {
		rest = min(options.Limit, MaxRows)
	}
	out := &output{display: q.display}
	var sink sink = out
	for i := len(q.segments) - 1; i >= 0; i-- {
		s := &q.segments[i]
		limit := s.limit
		if s.end == endOutput {
			limit = rest
		}
		sink = run.sink(s, sink, limit, i == 0)
	}
	r := &row{run: run}
	for event, err := range events {
		if err != nil {
			return Result{}, err
		}
		*r = row{run: run, event: &event, bound: r.bound[:0], nodes: r.nodes, keys: r.keys[:0], place: r.place + 1}
		more := sink.push(r)
		if run.err != nil {
			return Result{}, run.err
		}
		if !more {
			break
		}
	}
	if sink.flush(); run.err != nil {
		return Result{}, run.err
	}
	return Result{out.rows, run.statistics}, nil
}

// run is a query while it runs.
type run struct {
	options    Options
	statistics Statistics
	held       int // bytes, by all sinks
	err        error
}

func (r *run) hold(bytes int) {
	if r.held += bytes; r.held > MaxHeld && r.err == nil {
		r.err = fmt.Errorf("the query holds more than %d MiB of rows and values: ask for fewer rows, fields or groups", MaxHeld>>20)
	}
}

// sink takes rows; push says whether more are wanted.
type sink interface {
	push(r *row) bool
	flush()
}

// sink is a segment: its commands, and its end before what comes after.
func (r *run) sink(s *segment, after sink, limit int, first bool) sink {
	var end sink
	newest := first && s.order == nil
	switch {
	case s.end == endStats:
		end = &grouping{run: r, stats: s.stats, after: after, groups: map[string]*group{}}
	case s.end == endDedup:
		end = &best{run: r, order: s.order, newest: newest, after: after, unique: s.fields, byKey: map[string]int{}}
	case s.any || s.order == nil && !first:
		end = &head{left: limit, after: after}
	default:
		end = &best{run: r, order: s.order, newest: newest, after: after, limit: limit}
	}
	return &chain{run: r, commands: s.commands, after: end, counts: first}
}

// chain applies the commands of a segment.
type chain struct {
	run      *run
	commands []rowCommand
	after    sink
	counts   bool // the rows that come through are the matched ones
}

func (c *chain) push(r *row) bool {
	for _, command := range c.commands {
		if !command.apply(r) {
			return true
		}
	}
	if c.counts {
		c.run.statistics.RecordsMatched++
	}
	return c.after.push(r)
}
func (c *chain) flush() { c.after.flush() }

// head lets the first rows through.
type head struct {
	left  int
	after sink
}

func (h *head) push(r *row) bool {
	if h.left == 0 {
		return false
	}
	h.left--
	return h.after.push(r) && h.left > 0
}
func (h *head) flush() { h.after.flush() }

// output keeps the rows to return.
type output struct {
	display []string
	rows    []Row
}

func (o *output) push(r *row) bool {
	names := o.display
	if len(names) == 0 {
		names = []string{"@timestamp", "@message"}
	}
	shown := make(Row, 0, len(names)+1)
	for _, name := range names {
		if v := r.field(name); v.kind != kindNull {
			shown = append(shown, Field{name, v.String()})
		}
	}
	if r.event != nil && !slices.Contains(names, "@ptr") {
		shown = append(shown, Field{"@ptr", r.run.options.Pointer(*r.event)})
	}
	for _, f := range shown {
		r.run.hold(len(f.Value) + 48)
	}
	o.rows = append(o.rows, shown)
	return r.run.err == nil
}
func (*output) flush() {}

// groupKey is a text that is the same for rows with equal values only.
func groupKey(b *strings.Builder, v value) {
	s := v.String()
	fmt.Fprintf(b, "%t%d:%s", v.kind == kindNull, len(s), s)
}

// grouping is the end of a stats command.
type grouping struct {
	run    *run
	stats  *statsCommand
	after  sink
	groups map[string]*group
	sorted []*group // in the order in which they came up
}

type group struct {
	by      []value
	tallies []tally
}

func (g *grouping) push(r *row) bool {
	by := make([]value, len(g.stats.by))
	var key strings.Builder
	size := 200
	for i, c := range g.stats.by {
		by[i] = c.value.eval(r)
		groupKey(&key, by[i])
		size += 48 + len(by[i].text)
	}
	found := g.groups[key.String()]
	if found == nil {
		if len(g.sorted) == MaxGroups {
			g.run.err = fmt.Errorf("the query has more than %d groups", MaxGroups)
			return false
		}
		found = g.newGroup(by)
		g.groups[key.String()] = found
		g.run.hold(size + key.Len() + 100*len(found.tallies))
	}
	for i := range g.stats.aggregations {
		v := literalOne
		if arg := g.stats.aggregations[i].arg; arg != nil {
			v = arg.eval(r)
		}
		if v.kind != kindNull {
			g.run.hold(found.tallies[i].add(r, v))
		}
	}
	return g.run.err == nil
}

var literalOne = numberValue(1)

func (g *grouping) newGroup(by []value) *group {
	found := &group{by: by}
	for i := range g.stats.aggregations {
		a := &g.stats.aggregations[i]
		found.tallies = append(found.tallies, aggregations[a.name](a))
	}
	g.sorted = append(g.sorted, found)
	return found
}

func (g *grouping) flush() {
	if len(g.stats.by) == 0 && len(g.sorted) == 0 {
		g.newGroup(nil) // of no events there is still a count
	}
	for i, found := range g.sorted {
		r := &row{run: g.run, place: i}
		for _, t := range found.tallies {
			r.aggregates = append(r.aggregates, t.outcome())
		}
		for j, c := range g.stats.by {
			r.bind(c.name, found.by[j])
		}
		for _, c := range g.stats.columns {
			r.bind(c.name, c.value.eval(r))
		}
		if !g.after.push(r) {
			break
		}
	}
	g.after.flush()
}
