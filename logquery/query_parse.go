package logquery

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// queryParser goes down the grammar of Query. After the first error every token is
// tokenEnd, so the methods run out by themselves.
type queryParser struct {
	lexer queryLexer
	tok   token // the one to look at
	last  int   // where the token before it ended
	err   *QueryError
	depth int

	query   Query
	segment segment
	shown   []string // the columns of the fields commands
	display bool     // a display command said which to show

	stats *statsCommand // while its columns are parsed
	// known are the fields that there are, nil before a stats command: then every
	// field may be found in an event.
	known   map[string]bool
	outside []token // the fields that a stats command names outside its aggregations
}

func (p *queryParser) next() {
	p.last = p.tok.end
	if p.tok = p.lexer.next(); p.tok.kind == tokenBad {
		p.fail(p.tok, p.tok.text)
	}
}

func (p *queryParser) fail(at token, reason string) {
	if p.err == nil {
		p.err = &QueryError{p.lexer.text, at.start, at.end, reason}
	}
	n := len(p.lexer.text)
	p.tok, p.lexer.at = token{kind: tokenEnd, start: n, end: n}, n
}

// take steps over a sign.
func (p *queryParser) take(sign string) bool {
	if !p.tok.sign(sign) {
		return false
	}
	p.next()
	return true
}

// takeWord steps over a keyword.
func (p *queryParser) takeWord(word string) bool {
	if !p.tok.word(word) {
		return false
	}
	p.next()
	return true
}

func (p *queryParser) expect(sign string) {
	if !p.take(sign) {
		p.fail(p.tok, "expected "+sign)
	}
}

// elsewhere are commands of Insights that Havn has not.
var elsewhere = []string{"source", "pattern", "diff", "anomaly", "unmask", "join", "lookup", "unnest", "filterindex", "expand", "relevantfields",
	"search", "tail", "subquery", "compare", "append"}

func (p *queryParser) commands() {
	for p.err == nil {
		at := p.tok
		name := strings.ToLower(at.text)
		command, ok := commands[name]
		switch {
		case at.kind == tokenName && slices.Contains(elsewhere, name):
			p.fail(at, "the command "+name+" is not supported; there are "+commandNames)
		case at.kind != tokenName || !ok:
			p.fail(at, "expected a command: "+commandNames)
		case len(p.query.segments) > 0 && p.query.segments[len(p.query.segments)-1].end == endDedup && name != "limit" && name != "head":
			p.fail(at, "the only command after dedup is limit")
		default:
			p.next()
			command(p)
		}
		if p.err == nil && p.tok.kind == tokenEnd {
			break
		}
		if p.err == nil && !p.take("|") {
			p.fail(p.tok, "expected | or the end")
		}
	}
	p.close(endOutput)
	p.query.display = p.shown
}

const commandNames = "fields, display, filter, parse, stats, sort, limit, dedup"

var commands map[string]func(*queryParser)

func init() {
	commands = map[string]func(*queryParser){
		"fields": func(p *queryParser) { p.fields(false) }, "display": func(p *queryParser) { p.fields(true) },
		"filter": (*queryParser).filter, "parse": (*queryParser).parse, "stats": (*queryParser).statistics,
		"sort": (*queryParser).sort, "order": (*queryParser).sort, "limit": (*queryParser).limit, "head": (*queryParser).limit,
		"dedup": (*queryParser).dedup,
	}
}

func (p *queryParser) add(c rowCommand) { p.segment.commands = append(p.segment.commands, c) }

func (p *queryParser) close(end segmentEnd) {
	p.segment.end = end
	p.query.segments = append(p.query.segments, p.segment)
	p.segment = segment{}
}

// fields is fields and display.
func (p *queryParser) fields(only bool) {
	if only {
		p.shown, p.display = nil, true
	}
	for _, c := range p.columns() {
		if ref, ok := c.value.(fieldRef); !ok || ref.name != c.name {
			p.add(bindCommand(c))
			p.learn(c.name)
		}
		if (only || !p.display) && !slices.Contains(p.shown, c.name) {
			p.shown = append(p.shown, c.name)
		}
	}
}

// learn notes that there is a field now.
func (p *queryParser) learn(name string) {
	if p.known != nil {
		p.known[name] = true
	}
}

func (p *queryParser) columns() (found []column) {
	for {
		start := p.tok.start
		c := column{value: p.expression()}
		c.name = p.lexer.text[start:max(p.last, start)]
		if ref, ok := c.value.(fieldRef); ok {
			c.name = ref.name
		}
		if p.takeWord("as") {
			c.name = p.name("a name for the column")
		}
		found = append(found, c)
		if p.err != nil || !p.take(",") {
			return found
		}
	}
}

// name reads a name that a command gives.
func (p *queryParser) name(what string) string {
	at := p.tok
	if at.kind != tokenName {
		p.fail(at, "expected "+what)
		return ""
	}
	p.next()
	return at.text
}

func (p *queryParser) filter() { p.add(filterCommand{p.expression()}) }

func (p *queryParser) parse() {
	var from expression = fieldRef{"@message"}
	if p.tok.kind != tokenText && !p.tok.sign("/") {
		from = p.primary()
	}
	at := p.tok
	switch {
	case at.sign("/"):
		re := p.regex()
		if re == nil {
			return
		}
		names := re.SubexpNames()
		if !slices.ContainsFunc(names, func(s string) bool { return s != "" }) {
			p.fail(at, "the regular expression has no named group, such as (?<name>.*)")
			return
		}
		for _, name := range names {
			p.learn(name)
		}
		p.add(parseRegexCommand{from, re, names})
	case at.kind == tokenText:
		p.next()
		if !p.takeWord("as") {
			p.fail(p.tok, "expected as and a name for each * of the glob")
			return
		}
		var names []string
		for more := true; more && p.err == nil; more = p.take(",") {
			names = append(names, p.name("a name for a * of the glob"))
			p.learn(names[len(names)-1])
		}
		parts := strings.Split(at.text, "*")
		if p.err == nil && len(parts)-1 != len(names) {
			p.fail(at, fmt.Sprintf("the glob has %d * for %d names", len(parts)-1, len(names)))
			return
		}
		p.add(parseGlobCommand{from, parts, names})
	default:
		p.fail(at, "expected a glob in quotes, or a regular expression between slashes")
	}
}

func (p *queryParser) sort() {
	var order []orderBy
	for more := true; more && p.err == nil; more = p.take(",") {
		o := orderBy{by: p.expression()}
		if !p.takeWord("asc") {
			o.descending = p.takeWord("desc")
		}
		order = append(order, o)
	}
	p.segment.order = order
	p.add(sortCommand(order))
}

func (p *queryParser) limit() {
	p.segment.any = p.takeWord("any")
	at := p.tok
	n, err := strconv.Atoi(at.text)
	if at.kind != tokenNumber || err != nil || n < 1 {
		p.fail(at, "expected how many rows")
		return
	}
	if n > MaxRows {
		p.fail(at, fmt.Sprintf("a query returns at most %d rows here", MaxRows))
		return
	}
	p.next()
	p.segment.limit, p.query.limited = n, true
	p.close(endLimit)
}

func (p *queryParser) dedup() {
	for more := true; more && p.err == nil; more = p.take(",") {
		at := p.tok
		if name := p.name("a field"); p.err == nil {
			p.see(at)
			p.segment.fields = append(p.segment.fields, name)
		}
	}
	p.close(endDedup)
}

func (p *queryParser) statistics() {
	p.stats, p.outside = &statsCommand{}, nil
	s := p.stats
	s.columns = p.columns()
	outside := p.outside
	p.stats = nil
	if p.takeWord("by") {
		s.by = p.columns()
	}
	if p.err == nil && len(s.aggregations) == 0 {
		p.fail(p.tok, "a stats command has an aggregation, such as count(*)")
		return
	}
	p.shown, p.display = nil, false
	p.known = map[string]bool{}
	for _, c := range s.by {
		p.known[c.name] = true
		p.shown = append(p.shown, c.name)
	}
	for _, c := range s.columns {
		// A column that is a field alone does not make that field.
		if ref, ok := c.value.(fieldRef); !ok || ref.name != c.name {
			p.known[c.name] = true
		}
		p.shown = append(p.shown, c.name)
	}
	for _, at := range outside {
		p.see(at)
	}
	p.segment.stats = s
	p.close(endStats)
}

// see notes that a field is asked for, which must be there after a stats command.
func (p *queryParser) see(at token) {
	if p.known == nil || p.known[at.text] || p.err != nil {
		return
	}
	if before, _, ok := strings.Cut(at.text, "."); ok && p.known[before] {
		return
	}
	p.fail(at, "Unknown symbols found in or after stats: "+at.text)
}

// regex reads a regular expression between slashes, of which the first is the token.
func (p *queryParser) regex() *regexp.Regexp {
	at := p.lexer.regex(p.tok.start)
	if at.kind == tokenBad {
		p.fail(at, at.text)
		return nil
	}
	p.next()
	return p.compile(at)
}

func (p *queryParser) compile(at token) *regexp.Regexp {
	re, err := regexp.Compile(at.text)
	if err != nil {
		p.fail(at, "cannot read the regular expression: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re
}
