package schedule

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxQuery is the longest expression there may be, in bytes. It bounds how
// deep an expression can nest, too.
const MaxQuery = 2000

// Query is an expression of the ECS cluster query language, made by ParseQuery.
//
//	expression = and { ("or" | "||") and }
//	and        = unary { ("and" | "&&") unary }
//	unary      = ("not" | "!") unary | "(" expression ")" | term
//	term       = subject operator [argument]
//	subject    = agentConnected | agentVersion | attribute:NAME | ec2InstanceId
//	           | registeredAt | runningTasksCount | task:group
//	operator   = "==" | "!=" | ">" | ">=" | "<" | "<=" | "exists" | "!exists"
//	           | "in" | "!in" | "=~" | "!~", or the word for it (not_equals, ...)
//	argument   = word | 'text' | "text" | "[" argument { "," argument } "]"
//
// A negative operator is true exactly where its positive is false, so that
// attribute:stack != prod holds on a node that has no such attribute; the
// orders (<, >=, ...) do not. A pattern is a regular expression of Go's syntax
// (no look-around or back-references) and has to match the whole value.
//
// The zero Query holds everywhere. A Query is immutable.
type Query struct {
	text string
	root expression
}

// String is the text that the query was parsed from.
func (q Query) String() string { return q.text }

// Match says whether the query holds on the node.
func (q Query) Match(n *Node) bool { return q.root == nil || q.root.holds(n) }

// QueryError says what is wrong in an expression, and where.
type QueryError struct {
	Query  string
	Offset int // in bytes; len(Query) when something is missing at the end
	Reason string
}

func (e *QueryError) Error() string {
	const shown = 20 // enough to find the place in a long expression
	rest := e.Query[min(e.Offset, len(e.Query)):]
	if runes := []rune(rest); len(runes) > shown {
		rest = string(runes[:shown]) + "..."
	}
	if rest == "" {
		return fmt.Sprintf("cannot parse the expression at its end: %s", e.Reason)
	}
	return fmt.Sprintf("cannot parse the expression at character %d, %q: %s", e.Offset+1, rest, e.Reason)
}

// ParseQuery parses an expression. Its errors are *QueryError.
func ParseQuery(text string) (Query, error) {
	if len(text) > MaxQuery {
		return Query{}, &QueryError{text, MaxQuery, fmt.Sprintf("an expression has at most %d characters", MaxQuery)}
	}
	p := &queryParser{lexer: lexer{text: text}}
	p.next()
	root := p.expression()
	if p.err == nil && p.tok.kind != tokenEnd {
		p.fail(p.tok, "expected and, or, or the end")
	}
	if p.err != nil {
		return Query{}, p.err
	}
	return Query{text, root}, nil
}

// queryParser goes down the grammar of Query, one method per rule. After the
// first error every token is tokenEnd, so the methods run out by themselves.
type queryParser struct {
	lexer
	tok token // the one to look at
	err *QueryError
}

func (p *queryParser) next() {
	tok, reason := p.lexer.next()
	if reason != "" {
		p.fail(tok, reason)
		return
	}
	p.tok = tok
}

func (p *queryParser) fail(at token, reason string) {
	if p.err == nil {
		p.err = &QueryError{p.text, at.offset, reason}
	}
	p.tok = token{kind: tokenEnd, offset: len(p.text)}
	p.lexer.offset = len(p.text)
}

// take steps over the token when it is one of the spellings.
func (p *queryParser) take(spellings ...string) bool {
	for _, s := range spellings {
		if p.tok.is(s) {
			p.next()
			return true
		}
	}
	return false
}

func (p *queryParser) expression() expression {
	e := p.and()
	for p.take("or", "||") {
		e = either{e, p.and()}
	}
	return e
}

func (p *queryParser) and() expression {
	e := p.unary()
	for p.take("and", "&&") {
		e = both{e, p.unary()}
	}
	return e
}

func (p *queryParser) unary() expression {
	switch open := p.tok; {
	case p.take("not", "!"):
		return not{p.unary()}
	case p.take("("):
		e := p.expression()
		if !p.take(")") && p.err == nil {
			if p.tok.kind == tokenEnd {
				p.fail(open, "this parenthesis is never closed")
			} else {
				p.fail(p.tok, "expected and, or, or a closing parenthesis")
			}
		}
		return e
	}
	return p.term()
}

func (p *queryParser) term() expression {
	at := p.tok
	if at.kind != tokenWord {
		p.fail(at, "expected a subject, such as attribute:NAME or agentVersion")
		return nil
	}
	subj, reason := parseSubject(at.text)
	if reason != "" {
		p.fail(at, reason)
		return nil
	}
	p.next()

	at = p.tok
	op, ok := operators[at.text]
	if !ok || at.kind != tokenWord && at.kind != tokenSign {
		p.fail(at, "expected an operator, such as ==, in or exists")
		return nil
	}
	if !subj.takes(op.test) {
		p.fail(at, fmt.Sprintf("%s does not take this operator", subj))
		return nil
	}
	var e expression
	switch op.test {
	case testExists:
		p.next()
		e = term{subject: subj, test: testExists}
	case testIn:
		p.next()
		e = term{subject: subj, test: testIn, values: p.list(subj)}
	case testMatches:
		e = p.pattern(subj)
	default:
		p.next()
		e = term{subject: subj, test: op.test, values: []value{p.value(subj)}}
	}
	if op.negate {
		e = not{e}
	}
	return e
}

func (p *queryParser) list(subj subject) []value {
	open := p.tok
	if !p.take("[") {
		p.fail(open, "expected a list, such as [a, b]")
		return nil
	}
	values := []value{p.value(subj)}
	for p.take(",") {
		values = append(values, p.value(subj))
	}
	if !p.take("]") && p.err == nil {
		if p.tok.kind == tokenEnd {
			p.fail(open, "this list is never closed")
		} else {
			p.fail(p.tok, "expected a comma or a closing bracket")
		}
	}
	return values
}

func (p *queryParser) value(subj subject) value {
	at := p.tok
	if at.kind != tokenWord && at.kind != tokenText {
		p.fail(at, "expected a value")
		return value{}
	}
	v, ok := subj.parse(at.text)
	if !ok {
		p.fail(at, fmt.Sprintf("%s is compared with %s", subj, subj.wants()))
		return value{}
	}
	p.next()
	return v
}

// pattern reads its argument by itself, since a bare pattern may hold signs.
func (p *queryParser) pattern(subj subject) expression {
	at, reason := p.lexer.pattern()
	if reason != "" {
		p.fail(at, reason)
		return nil
	}
	// Compiled alone first: wrapped, a stray parenthesis could close the wrapping.
	if _, err := regexp.Compile(at.text); err != nil {
		p.fail(at, "cannot read the pattern: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	re, err := regexp.Compile(`\A(?:` + at.text + `)\z`)
	if err != nil {
		p.fail(at, "cannot read the pattern: "+err.Error())
		return nil
	}
	p.next()
	return term{subject: subj, test: testMatches, pattern: re}
}

type operator struct {
	test   test
	negate bool
}

var operators = map[string]operator{
	"==": {testEqual, false}, "equals": {testEqual, false},
	"!=": {testEqual, true}, "not_equals": {testEqual, true},
	">": {testGreater, false}, "greater_than": {testGreater, false},
	">=": {testGreaterEqual, false}, "greater_than_equal": {testGreaterEqual, false},
	"<": {testLess, false}, "less_than": {testLess, false},
	"<=": {testLessEqual, false}, "less_than_equal": {testLessEqual, false},
	"exists": {testExists, false}, "!exists": {testExists, true}, "not_exists": {testExists, true},
	"in": {testIn, false}, "!in": {testIn, true}, "not_in": {testIn, true},
	"=~": {testMatches, false}, "matches": {testMatches, false},
	"!~": {testMatches, true}, "not_matches": {testMatches, true},
}

func parseSubject(word string) (subject, string) {
	if name, ok := strings.CutPrefix(word, "attribute:"); ok {
		if name == "" {
			return subject{}, "attribute: needs a name"
		}
		return subject{field: fieldAttribute, name: name}, ""
	}
	for f, name := range fieldNames {
		if name == word {
			return subject{field: f}, ""
		}
	}
	return subject{}, "unknown subject; there are " + strings.Join(subjectNames(), ", ")
}

func parseDate(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func parseNumber(text string) (float64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) // "nan" and "inf" are names like others
}
