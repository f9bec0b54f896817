package logquery

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxPattern is the longest pattern there may be, in characters (FilterPattern
// in the API's model). It bounds how deep parentheses nest, too.
const MaxPattern = 1024

// MaxPatternRegexes and MaxPatternWildcards are how many regular expressions and
// how many selectors with a wildcard a pattern may have ("Quotas" in "Filter
// pattern syntax" of the CloudWatch Logs User Guide).
const (
	MaxPatternRegexes   = 2
	MaxPatternWildcards = 3
)

// Pattern is a filter pattern, as "Filter pattern syntax for metric filters,
// subscription filters, filter log events, and Live Tail" in the CloudWatch Logs
// User Guide has it. What the guide leaves open is as AWS answers TestMetricFilter.
//
//	pattern   = { [ "?" | "-" ] term }            every term is in the message, no -term is; of
//	                                              ?terms one is, and next to others they do not count
//	term      = word | "text" | %regex%
//
//	pattern   = "{" condition "}"                 the message is a JSON object of which this holds
//	condition = and { "||" and }
//	and       = test { "&&" test }
//	test      = "(" condition ")" | selector comparison
//	          | selector "IS" ( "NULL" | "TRUE" | "FALSE" ) | selector "NOT" "EXISTS"
//	selector  = "$" { ".name" | ".*" | "[number]" | "[*]" | ".['name']" }
//
//	pattern   = "[" [ field { "," field } ] "]"   the message's fields, by their places
//	field     = "..." | [ name [ comparison { ( "&&" | "||" ) name comparison } ] ]
//
//	comparison = ( "=" | "!=" ) ( word | "text" | %regex% ) | ( "<" | ">" | "<=" | ">=" ) number
//
// Letters' case counts. A * in a word or text stands for any characters. A
// message's fields are apart by white space, and what is in "" or [] is one
// field. Without an ellipsis the last field takes all the rest.
//
// The zero Pattern, as the empty one, matches everything. A Pattern is immutable.
type Pattern struct {
	root matcher
}

// matcher is a pattern of one of the three kinds.
type matcher interface {
	match(message string) bool
	extract(message string) (values map[string]string, matches bool)
}

// Match says whether the pattern wants an event with this message.
func (p Pattern) Match(message string) bool { return p.root == nil || p.root.match(message) }

// Extract is Match, with the fields that a pattern of fields found in the
// message: $name, or $1, $2 and so on by their places where an ellipsis stood.
// Patterns of the other kinds find none (extractedValues of TestMetricFilter).
func (p Pattern) Extract(message string) (map[string]string, bool) {
	if p.root == nil {
		return nil, true
	}
	return p.root.extract(message)
}

// PatternError says what is wrong in a pattern, and where. Its text suits the
// message of an InvalidParameterException.
type PatternError struct {
	Pattern string
	Offset  int    // in bytes; len(Pattern) when something is missing at the end
	Summary string // in the words of CloudWatch Logs
	Reason  string // what to do about it
}

func (e *PatternError) Error() string {
	if e.Offset >= len(e.Pattern) {
		return fmt.Sprintf("%s (at the end: %s)", e.Summary, e.Reason)
	}
	return fmt.Sprintf("%s (at character %d: %s)", e.Summary, utf8.RuneCountInString(e.Pattern[:e.Offset])+1, e.Reason)
}

// ParsePattern parses a filter pattern. Its errors are *PatternError.
func ParsePattern(text string) (Pattern, error) {
	if utf8.RuneCountInString(text) > MaxPattern {
		return Pattern{}, &PatternError{text, len(text), invalidPattern, fmt.Sprintf("a pattern has at most %d characters", MaxPattern)}
	}
	p := &patternParser{text: text}
	p.space()
	var root matcher
	switch p.peek() {
	case 0:
	case '{':
		root = p.json()
	case '[':
		root = p.fields()
	default:
		root = p.terms()
	}
	if p.err != nil {
		return Pattern{}, p.err
	}
	return Pattern{root}, nil
}

const invalidPattern = "Invalid filter pattern"

func invalidTerm(term string) string { return fmt.Sprintf("Invalid character(s) in term '%s'", term) }

// patternParser goes down the grammars of Pattern. After the first error it
// stands at the end of the text, so the methods run out by themselves.
type patternParser struct {
	text      string
	at        int
	err       *PatternError
	regexes   int
	wildcards int
}

func (p *patternParser) fail(at int, summary, reason string) {
	if p.err == nil {
		p.err = &PatternError{p.text, at, summary, reason}
	}
	p.at = len(p.text)
}

// bad refuses the character at i, which ends the term that starts at start.
func (p *patternParser) bad(start, i int, reason string) {
	_, width := utf8.DecodeRuneInString(p.text[i:])
	p.fail(i, invalidTerm(p.text[start:i+width]), reason)
}

func (p *patternParser) space() {
	for p.at < len(p.text) && isSpace(p.text[p.at]) {
		p.at++
	}
}

// peek is the byte to look at, 0 at the end.
func (p *patternParser) peek() byte {
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

// take steps over s, and white space after it.
func (p *patternParser) take(s string) bool {
	if !strings.HasPrefix(p.text[p.at:], s) {
		return false
	}
	p.at += len(s)
	p.space()
	return true
}

// end sees that nothing comes after the pattern.
func (p *patternParser) end() {
	if p.space(); p.err == nil && p.at < len(p.text) {
		p.bad(p.at, p.at, "nothing comes after the pattern's end")
	}
}

// quoted reads a text in double quotes, in which \" and \\ stand for " and \.
func (p *patternParser) quoted() string {
	start := p.at
	var b strings.Builder
	for i := start + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '\\' && i+1 < len(p.text) && (p.text[i+1] == '"' || p.text[i+1] == '\\'):
			b.WriteByte(p.text[i+1])
			i++
		case c == '"':
			p.at = i + 1
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	p.fail(start, invalidTerm(p.text[start:]), "this quote is never closed")
	return ""
}

// word reads the characters that in says yes to.
func (p *patternParser) word(in func(rune) bool) string {
	start := p.at
	for p.at < len(p.text) {
		r, width := utf8.DecodeRuneInString(p.text[p.at:])
		if !in(r) {
			break
		}
		p.at += width
	}
	return p.text[start:p.at]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
