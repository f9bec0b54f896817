package logquery

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxQuery is the longest query there may be, in characters (QueryString in the
// API's model), and maxNesting how deep its expressions may nest.
const (
	MaxQuery   = 10000
	maxNesting = 100
)

// MaxRows is how many rows a query returns at most, and without a limit command
// or parameter. The User Guide ("limit") has the same default; its most is 100,000,
// which is more than a server should hold for someone who may never ask.
const MaxRows = 10000

// Query is a query in the CloudWatch Logs Insights query language ("CloudWatch
// Logs Insights language query syntax" in the CloudWatch Logs User Guide).
//
//	query   = command { "|" command }
//	command = "fields" column { "," column }            shows these, and makes fields of expressions
//	        | "display" column { "," column }           shows these and no others
//	        | "filter" expression                       goes on with rows of which it is true
//	        | "parse" [ field ] "glob *" "as" name { "," name }
//	        | "parse" [ field ] /regex with (?<name>groups)/
//	        | "stats" column { "," column } [ "by" column { "," column } ]
//	        | "sort" expression [ "asc" | "desc" ] { "," expression [ "asc" | "desc" ] }
//	        | "limit" [ "any" ] number
//	        | "dedup" field { "," field }
//	column  = expression [ "as" name ]
//
// An expression has, from what binds least to what binds most: or; and; not; the
// comparisons = != < <= > >= like, not like, =~, in, not in; + and -; * / and %;
// ^; a sign. Names of commands, keywords and functions may be written in any case.
//
// The commands pattern, diff, anomaly, unmask, join, lookup and others, subqueries
// and SOURCE are not known, and refused by name. The zero Query cannot be run.
type Query struct {
	segments []segment
	display  []string // the columns to show, when a command says which
	limited  bool     // has a limit command
}

// segment is a run of commands that look at one row at a time, and how it ends.
type segment struct {
	commands []rowCommand
	order    []orderBy // of sort; nil when the rows come as they are, or newest first
	end      segmentEnd

	limit  int           // for endLimit
	any    bool          // for endLimit: any rows will do
	fields []string      // for endDedup
	stats  *statsCommand // for endStats
}

type segmentEnd uint8

const (
	endOutput segmentEnd = iota
	endLimit
	endDedup
	endStats
)

// orderBy is one thing that sort sorts by.
type orderBy struct {
	by         expression
	descending bool
}

// column is an expression with the name of its field.
type column struct {
	name  string
	value expression
}

// QueryError says what is wrong in a query, and where: it is a QueryCompileError.
type QueryError struct {
	Query      string
	Start, End int // in bytes; both are len(Query) when something is missing at the end
	Reason     string
}

func (e *QueryError) Error() string {
	before := e.Query[:e.Start]
	line := strings.Count(before, "\n") + 1
	position := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	found := e.Query[e.Start:e.End]
	if found == "" {
		found = "<EOF>"
	}
	return fmt.Sprintf("unexpected symbol found %s at line %d and position %d: %s", found, line, position, e.Reason)
}

// CharOffsets is where the wrong symbol begins and ends, in characters.
func (e *QueryError) CharOffsets() (start, end int) {
	return utf8.RuneCountInString(e.Query[:e.Start]), utf8.RuneCountInString(e.Query[:e.End])
}

// ParseQuery parses a query. Its errors are *QueryError, and suit a
// MalformedQueryException.
func ParseQuery(text string) (Query, error) {
	if utf8.RuneCountInString(text) > MaxQuery {
		return Query{}, &QueryError{text, len(text), len(text), fmt.Sprintf("a query has at most %d characters", MaxQuery)}
	}
	p := &queryParser{lexer: queryLexer{text: text}}
	p.next()
	p.commands()
	if p.err != nil {
		return Query{}, p.err
	}
	return p.query, nil
}
